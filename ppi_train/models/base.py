"""What every pair model is: encode each protein once, score its state with that of a partner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, embedding

from ppi_train.errors import ConfigError

# Pairs of a block that are scored at once, by a model without a faster way.
_PAIRS_AT_ONCE = 8192


class PairModel(nn.Module, ABC):
    """A pair model over protein embeddings, symmetric in its two proteins.

    Args:
        input_dim: Numbers in an embedding, d.

    Embeddings are standardised with mean and deviation over the training data, which are part
    of the weights, and clipped, since a lone outlier of a rare feature would drown the rest.
    """

    GRANULARITY: ClassVar[str] = "protein"
    """What `encode` takes: `protein`, features (n, d), or `residue`, their residues as `Packed`."""
    BATCH_SIZE: ClassVar[int] = 4096
    """Pairs of a training batch, if nothing else is asked for."""
    CLIP = 5.0
    mean: Tensor
    scale: Tensor
    encoder: nn.Module
    """The part that `encode` learns, which finetuning may leave as it is."""
    described_width: int = 0
    """Numbers of a protein that `describe` gives; 0 if there is nothing that is worth keeping."""
    temperature: float = 1.0
    """What scores are divided by outside training; see `ppi_train.training.scoring.calibrated`."""

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        self._frozen = False
        self.register_buffer("mean", torch.zeros(input_dim))
        self.register_buffer("scale", torch.ones(input_dim))

    def fit_input_statistics(self, proteins: Iterable[Any]) -> None:
        """Takes mean and deviation from the training proteins.

        Args:
            proteins: Some at a time, as `encode` takes them; of granularity `protein`: (n, d). May be gone
                through more than once.
        """
        self._standardise_to(torch.cat([one.cpu() for one in proteins]))

    def refit_scale(self, proteins: Iterable[Any]) -> None:
        """Takes the scale of other proteins, where the weights stay what they are; see above."""
        self.fit_input_statistics(proteins)

    def _standardise_to(self, features: Tensor) -> None:
        """Mean and deviation of features (n, d)."""
        self._take_scale(features.mean(dim=0), features.std(dim=0, correction=0))

    def _take_scale(self, mean: Tensor, deviation: Tensor) -> None:
        self.mean.copy_(mean)
        # A constant feature says nothing; it must not become a division by zero on other data.
        self.scale.copy_(torch.where(deviation > 1e-8, 1 / deviation, torch.zeros_like(deviation)))

    def freeze_encoder(self) -> None:
        """Leaves the encoder as it is from now on: no gradients, and no dropout in it."""
        self.encoder.requires_grad_(False)
        self._frozen = True

    @torch.no_grad()
    def shrink(self, factor: float, proteins: Iterable[Any]) -> None:
        """Readies trained weights for other data: smaller matrices, and the scale of the new features.

        Weights that have grown in one training are slow to change in the next; the factor, from Ash &
        Adams 2020 ("On warm-starting neural network training"), keeps their direction and gives back
        their pace. Does nothing to a frozen encoder's model.

        Args:
            factor: 1 leaves the matrices as they are.
            proteins: The new training proteins; see `fit_input_statistics`.
        """
        if self._frozen:
            return
        for weight in self.parameters():
            if weight.ndim > 1:
                weight.mul_(factor)
        self.refit_scale(proteins)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self._frozen:
            self.encoder.eval()
        return self

    def standardise(self, features: Tensor) -> Tensor:
        """Features (n, d), or the first of them, in units of the training data's deviation."""
        first = features.shape[1]
        return ((features - self.mean[:first]) * self.scale[:first]).clamp(-self.CLIP, self.CLIP)

    @abstractmethod
    def encode(self, proteins: Any) -> Any:
        """Proteins, see `GRANULARITY`, -> their states: a tensor (n, h), or what `select` can take from."""

    def describe(self, proteins: Any) -> Tensor:
        """What `encode` makes of proteins whatever the weights, (n, described_width), so that it may be kept.

        Not to be asked where `described_width` is 0. See `Packed.described`.
        """
        raise NotImplementedError

    @abstractmethod
    def score_members(self, state_a: Any, state_b: Any) -> Tensor:
        """States of m proteins on both sides -> logits (m, k) of the k members of an ensemble; k may be 1.

        The same bits with the sides exchanged.
        """

    def select(self, states: Any, rows: Tensor) -> Any:
        """The states of the proteins at `rows` (m,)."""
        # `embedding` and not `states[rows]`: its backward sums in a fixed order, and in parallel.
        return embedding(rows, states)

    def join(self, states: Sequence[Any]) -> Any:
        """The states of several calls of `encode` as those of one."""
        return torch.cat(list(states))

    def score(self, state_a: Any, state_b: Any) -> Tensor:
        """States of m proteins on both sides -> logits (m,); the same bits with the sides exchanged."""
        return self.score_members(state_a, state_b).mean(dim=1)

    def score_with_uncertainty(self, state_a: Any, state_b: Any) -> tuple[Tensor, Tensor]:
        """Logits (m,), and the standard deviation (m,) of each by what the model does not know."""
        members = self.score_members(state_a, state_b)
        return members.mean(dim=1), members.std(dim=1, correction=0)

    def score_block(self, states_a: Any, states_b: Any) -> Tensor:
        """Each of n states with each of m others -> logits (n, m), those of `score` to rounding.

        What a scan of many proteins spends its time in: a model that can share work among the
        pairs of a protein does so here.
        """
        # Into one tensor: small ones, kept among large ones that come and go, would pin their memory.
        logits = torch.empty(self.count(states_a), self.count(states_b), device=self.mean.device)
        for rows, *pair in self._expanded(states_a, states_b):
            logits[rows] = self.score(*pair).view(-1, logits.shape[1]).float()
        return logits

    def score_block_with_uncertainty(self, states_a: Any, states_b: Any) -> tuple[Tensor, Tensor]:
        """The same by `score_with_uncertainty`: logits and their standard deviations, each (n, m)."""
        logits = torch.empty(self.count(states_a), self.count(states_b), device=self.mean.device)
        deviations = torch.empty_like(logits)
        for rows, *pair in self._expanded(states_a, states_b):
            scores = self.score_with_uncertainty(*pair)
            logits[rows], deviations[rows] = (one.view(-1, logits.shape[1]).float() for one in scores)
        return logits, deviations

    def count(self, states: Any) -> int:
        """How many proteins the states are of."""
        return len(states)

    def _expanded(self, states_a: Any, states_b: Any) -> Iterator[tuple[Tensor, Any, Any]]:
        """Some rows of a block at a time: their numbers, and the states of both sides of their pairs."""
        device = self.mean.device
        columns = torch.arange(self.count(states_b), device=device)
        for rows in torch.arange(self.count(states_a), device=device).split(
            max(1, _PAIRS_AT_ONCE // len(columns))
        ):
            a, b = rows.repeat_interleave(len(columns)), columns.repeat(len(rows))
            yield rows, self.select(states_a, a), self.select(states_b, b)

    def explain(self, proteins: Any, pairs: Tensor) -> tuple[list[Tensor], list[Tensor]]:  # noqa: ARG002
        """How much each residue of a and of b carried the score of a pair, for m pairs; see `forward`.

        Returns:
            The weights of a's residues, m tensors (length of a,), and those of b's. Not negative; what
            they measure is the model's own matter, so they compare within a model only.

        Raises:
            ConfigError: this model cannot tell.
        """
        raise ConfigError(
            "this model cannot explain a score by residues",
            got=type(self).__name__,
            expected="a model of residues: v3 or contact_map",
        )

    def losses(self, proteins: Any, pairs: Tensor, targets: Tensor) -> Tensor:
        """What training minimises, a pair: the mean over the members of their cross entropies.

        Args:
            proteins: Distinct ones, as `encode` takes them.
            pairs: (m, 2) rows of these.
            targets: (m,) between 0 and 1.

        Returns:
            (m,), in nats.
        """
        return member_losses(self(proteins, pairs), targets)

    def forward(self, proteins: Any, pairs: Tensor) -> Tensor:
        """Logits (m, k) of the members, of pairs (m, 2), which are rows of distinct proteins."""
        states = self.encode(proteins)
        return self.score_members(self.select(states, pairs[:, 0]), self.select(states, pairs[:, 1]))


def member_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean (m,) over k members of the cross entropies of their logits (m, k) with targets (m,)."""
    wanted = targets[:, None].expand_as(logits)
    return binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none").mean(dim=1)
