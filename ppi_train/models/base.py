"""What every pair model is: encode each protein once, score its state with that of a partner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding


class PairModel(nn.Module, ABC):
    """A pair model over protein embeddings, symmetric in its two proteins.

    Args:
        input_dim: Numbers in a protein's embedding, d.

    Embeddings are standardised with the mean and deviation of the training proteins, which are part
    of the weights, and clipped, since a lone outlier of a rare feature would drown the rest.
    """

    CLIP = 5.0
    mean: Tensor
    scale: Tensor
    encoder: nn.Module
    """The part that `encode` learns, which finetuning may leave as it is."""

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        self._frozen = False
        self.register_buffer("mean", torch.zeros(input_dim))
        self.register_buffer("scale", torch.ones(input_dim))

    def fit_input_statistics(self, features: Tensor) -> None:
        """Takes mean and deviation from the training proteins' features (n, d)."""
        deviation = features.std(dim=0, correction=0)
        self.mean.copy_(features.mean(dim=0))
        # A constant feature says nothing; it must not become a division by zero on other data.
        self.scale.copy_(torch.where(deviation > 1e-8, 1 / deviation, torch.zeros_like(deviation)))

    def freeze_encoder(self) -> None:
        """Leaves the encoder as it is from now on: no gradients, and no dropout in it."""
        self.encoder.requires_grad_(False)
        self._frozen = True

    @torch.no_grad()
    def shrink(self, factor: float, features: Tensor) -> None:
        """Readies trained weights for other data: smaller matrices, and the scale of the new features.

        Weights that have grown in one training are slow to change in the next; the factor, from Ash &
        Adams 2020 ("On warm-starting neural network training"), keeps their direction and gives back
        their pace. Does nothing to a frozen encoder's model.

        Args:
            factor: 1 leaves the matrices as they are.
            features: (n, d) of the new training proteins.
        """
        if self._frozen:
            return
        for weight in self.parameters():
            if weight.ndim > 1:
                weight.mul_(factor)
        self.fit_input_statistics(features)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self._frozen:
            self.encoder.eval()
        return self

    def standardise(self, features: Tensor) -> Tensor:
        """Features (n, d) in units of the training proteins' deviation."""
        return ((features - self.mean) * self.scale).clamp(-self.CLIP, self.CLIP)

    @abstractmethod
    def encode(self, proteins: Tensor) -> Tensor:
        """Features (n, d) -> states (n, h)."""

    @abstractmethod
    def score(self, state_a: Tensor, state_b: Tensor) -> Tensor:
        """States (m, h) of both sides -> logits (m,); the same bits with the sides exchanged."""

    def forward(self, features: Tensor, pairs: Tensor) -> Tensor:
        """Logits (m,) of pairs (m, 2), which are rows of the features (n, d) of distinct proteins."""
        states = self.encode(features)
        # `embedding` and not `states[rows]`: its backward sums in a fixed order, and in parallel.
        return self.score(embedding(pairs[:, 0], states), embedding(pairs[:, 1], states))
