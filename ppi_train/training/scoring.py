"""Encode once, score many: how a model is applied to pairs outside the training step."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ppi_train.training.batches import PairData


class Scorer(Protocol):
    """The two functions that every model is."""

    def encode(self, proteins: Tensor) -> Tensor:
        """Features (n, d) -> states (n, h)."""

    def score(self, state_a: Tensor, state_b: Tensor) -> Tensor:
        """States (m, h) of both sides -> logits (m,)."""


@torch.inference_mode()
def score_pairs(model: Scorer, data: PairData, *, batch_size: int = 8192) -> Tensor:
    """Logits (n_pairs,) float32: each protein is encoded once, its state scored with all its partners.

    The model must be in evaluation mode.
    """
    states = torch.cat([model.encode(chunk) for chunk in data.features.split(batch_size)])
    logits = [model.score(states[one[:, 0]], states[one[:, 1]]) for one in data.pairs.split(batch_size)]
    return torch.cat(logits).float() if logits else torch.empty(0)
