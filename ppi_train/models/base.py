"""The base class of all pair models, and the proteins that it takes.

A pair model encodes each protein once, and scores the states of two proteins. Proteins of any lengths are
packed in one tensor without padding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, embedding

from ppi_train.errors import ConfigError
from ppi_train.models.rough_block import RoughBlock

# Pairs of a block that are scored at once by a model that has no faster implementation.
_PAIRS_AT_ONCE = 8192


@dataclass(frozen=True)
class Packed:
    """Rows of several proteins.

    Attributes:
        values: (sum of the lengths, d).
        offsets: (n + 1,) int64, on the CPU: protein i has the rows offsets[i] to offsets[i + 1].
        described: (n, t), the cached output of the model's `describe`, if there is any.
    """

    values: Tensor
    offsets: Tensor
    described: Tensor | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """Rows of each protein, (n,) int64."""
        return self.offsets.diff()

    @classmethod
    def one_row_each(cls, values: Tensor) -> Packed:
        """Proteins of one row each, such as their pooled vectors (n, d)."""
        return cls(values, torch.arange(len(values) + 1))

    def take(self, rows: Tensor, memory: Callable[[int], Tensor] | None = None) -> Packed:
        """The proteins at `rows` (m,), in that order; repeats are allowed.

        Args:
            memory: Gives a tensor (n, d), of the type of the values, to write n rows to.
        """
        rows = rows.cpu()
        lengths = self.lengths[rows]
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        # Source of row r of the result: its position in its protein plus that protein's start.
        shift = (self.offsets[:-1][rows] - offsets[:-1]).repeat_interleave(lengths)
        source = torch.arange(int(offsets[-1])) + shift
        out = memory(len(source)) if memory else None
        return Packed(torch.index_select(self.values, 0, source.to(self.values.device), out=out), offsets)

    def padded(self) -> tuple[Tensor, Tensor]:
        """Padded values (n, longest, d), and the mask of real rows.

        The mask is (n, longest).

        Values are zero beyond a protein's end.
        """
        longest = int(self.lengths.max()) if len(self) else 0
        own = (torch.arange(longest) < self.lengths[:, None]).to(self.values.device)
        values = self.values.new_zeros(len(self), longest, self.values.shape[-1])
        values[own] = self.values
        return values, own

    def to(self, device: torch.device) -> Packed:
        return Packed(self.values.to(device, non_blocking=True), self.offsets)

    @staticmethod
    def join(parts: Sequence[Packed]) -> Packed:
        """The proteins of all parts, in order."""
        ends = torch.tensor([0] + [int(part.offsets[-1]) for part in parts]).cumsum(0)
        shifted = [part.offsets[1:] + end for part, end in zip(parts, ends, strict=False)]
        return Packed(
            torch.cat([part.values for part in parts]),
            torch.cat([torch.zeros(1, dtype=torch.int64), *shifted]),
        )


class PairModel(nn.Module, ABC):
    """A pair model over protein embeddings, symmetric in its two proteins.

    Args:
        input_dim: Numbers in an embedding, d.

    Embeddings are standardised with mean and deviation over the training data, which are part
    of the weights, and clipped, since a single outlier of a rare feature would dominate the rest.
    """

    GRANULARITY: ClassVar[str] = "protein"
    """What `encode` takes: `protein`, features (n, d), or `residue`, their residues as `Packed`."""
    CLIP = 5.0
    mean: Tensor
    scale: Tensor
    encoder: nn.Module
    """The trainable part of `encode`, which finetuning may freeze."""
    described_width: int = 0
    """Width of the output of `describe`; 0 if there is nothing that is worth caching."""
    temperature: float = 1.0
    """Divisor of scores outside training; see `ppi_train.inference.scoring.calibrated`."""

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        self._frozen = False
        self.register_buffer("mean", torch.zeros(input_dim))
        self.register_buffer("scale", torch.ones(input_dim))

    def fit_input_statistics(self, proteins: Iterable[Any]) -> None:
        """Sets mean and deviation from the training proteins.

        Args:
            proteins: In chunks, as `encode` takes them; (n, d) for granularity `protein`. May be iterated
                more than once.
        """
        self._standardise_to(torch.cat([chunk.cpu() for chunk in proteins]))

    def refit_scale(self, proteins: Iterable[Any]) -> None:
        """Refits the input scale to other proteins; the weights stay unchanged."""
        self.fit_input_statistics(proteins)

    def _standardise_to(self, features: Tensor) -> None:
        """Sets mean and deviation to those of features (n, d)."""
        self._take_scale(features.mean(dim=0), features.std(dim=0, correction=0))

    def _take_scale(self, mean: Tensor, deviation: Tensor) -> None:
        self.mean.copy_(mean)
        # A constant feature carries no information; it must not cause a division by zero on other data.
        self.scale.copy_(torch.where(deviation > 1e-8, 1 / deviation, torch.zeros_like(deviation)))

    def freeze_encoder(self) -> None:
        """Freezes the encoder: no gradients, and no dropout in it."""
        self.encoder.requires_grad_(False)
        self._frozen = True

    @torch.no_grad()
    def shrink(self, factor: float, proteins: Iterable[Any]) -> None:
        """Prepares trained weights for new data: shrinks matrices, refits the scale.

        Weights that have grown in one training are slow to change in the next; the factor, from Ash &
        Adams 2020 ("On warm-starting neural network training"), keeps their direction and restores their
        learning speed. Does nothing if the encoder is frozen.

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
        """Standardises features (n, d) with the training data's mean and deviation.

        Features may also be only the leading ones of the d.
        """
        first = features.shape[1]
        return (features - self.mean[:first]).mul_(self.scale[:first]).clamp_(-self.CLIP, self.CLIP)

    @abstractmethod
    def encode(self, proteins: Any) -> Any:
        """Encodes proteins into their states.

        Input as `GRANULARITY` says; the result is a tensor (n, h), or anything that `select` can index.
        """

    def describe(self, proteins: Any) -> Tensor:
        """Weight-independent features of proteins (n, described_width), which can be cached.

        Must not be called if `described_width` is 0. See `Packed.described`.
        """
        raise NotImplementedError

    @abstractmethod
    def score_members(self, state_a: Any, state_b: Any) -> Tensor:
        """Logits (m, k) of m pairs from k ensemble members.

        k may be 1.

        The result is bitwise identical with the sides exchanged.
        """

    def select(self, states: Any, rows: Tensor) -> Any:
        """The states of the proteins at `rows` (m,)."""
        # `embedding` and not `states[rows]`: its backward sums in a fixed order, and in parallel.
        return embedding(rows, states)

    def join(self, states: Sequence[Any]) -> Any:
        """Concatenates the states of several calls of `encode`."""
        return torch.cat(list(states))

    def take_reference(self, states: Any) -> None:
        """Takes reference proteins, from their states; see `ppi_train.models.reference`."""

    def set_reference_share(self, share: float) -> None:
        """Sets the share of the mean logits with the reference proteins that is taken off, from 0 to 1."""

    def means_with_reference(self, states: Any) -> Tensor | None:  # noqa: ARG002
        """The mean logits (n,) of proteins with the reference proteins; None for a model without these."""
        return None

    def state_tensors(self, states: Any) -> dict[str, Tensor]:
        """The tensors of which states consist, by name."""
        return {"states": states}

    def states_of(self, tensors: Mapping[str, Tensor]) -> Any:
        """The states of which these are the tensors."""
        return tensors["states"]

    def score(self, state_a: Any, state_b: Any) -> Tensor:
        """Scores m pairs of states: logits (m,).

        The result is bitwise identical with the sides exchanged.
        """
        return self.score_members(state_a, state_b).mean(dim=1)

    def score_with_uncertainty(self, state_a: Any, state_b: Any) -> tuple[Tensor, Tensor]:
        """Logits (m,) and their standard deviations (m,) from model uncertainty."""
        members = self.score_members(state_a, state_b)
        return members.mean(dim=1), members.std(dim=1, correction=0)

    def score_block(self, states_a: Any, states_b: Any) -> Tensor:
        """Scores all n x m pairs of states: logits (n, m).

        The same as `score`, to rounding.

        A scan of many proteins spends most of its time here: a model that can share work among the
        pairs of a protein does so in this function.
        """
        # Into one tensor: small tensors allocated between large temporary ones would fragment the memory.
        logits = torch.empty(self.count(states_a), self.count(states_b), device=self.mean.device)
        for rows, *pair in self._expanded(states_a, states_b):
            logits[rows] = self.score(*pair).view(-1, logits.shape[1]).float()
        return logits

    def rough_block(self, states_a: Any, states_b: Any) -> RoughBlock | None:  # noqa: ARG002
        """Scores all n x m pairs of states roughly, faster than `score_block`.

        For processors with instructions for bf16; None if this model has no such implementation.
        """
        return None

    def score_block_with_uncertainty(self, states_a: Any, states_b: Any) -> tuple[Tensor, Tensor]:
        """Logits and standard deviations of all n x m pairs.

        Each is (n, m).
        """
        logits = torch.empty(self.count(states_a), self.count(states_b), device=self.mean.device)
        deviations = torch.empty_like(logits)
        for rows, *pair in self._expanded(states_a, states_b):
            scores = self.score_with_uncertainty(*pair)
            logits[rows], deviations[rows] = (values.view(-1, logits.shape[1]).float() for values in scores)
        return logits, deviations

    def count(self, states: Any) -> int:
        """The number of proteins in the states."""
        return len(states)

    def _expanded(self, states_a: Any, states_b: Any) -> Iterator[tuple[Tensor, Any, Any]]:
        """Yields chunks of a block's rows, with the states of each pair.

        Each item is the row numbers, the states of a and the states of b.
        """
        device = self.mean.device
        columns = torch.arange(self.count(states_b), device=device)
        for rows in torch.arange(self.count(states_a), device=device).split(
            max(1, _PAIRS_AT_ONCE // len(columns))
        ):
            a, b = rows.repeat_interleave(len(columns)), columns.repeat(len(rows))
            yield rows, self.select(states_a, a), self.select(states_b, b)

    def explain(self, proteins: Any, pairs: Tensor) -> tuple[list[Tensor], list[Tensor]]:  # noqa: ARG002
        """Weights of how much each residue contributed to a pair's score.

        For m pairs; the arguments are those of `forward`.

        Returns:
            The weights of a's residues, m tensors (length of a,), and those of b's. Not negative; their
            meaning depends on the model, so they are comparable within a model only.

        Raises:
            ConfigError: this model has no residue weights.
        """
        raise ConfigError(
            "this model cannot explain a score by residues",
            got=type(self).__name__,
            expected="a model of residues: v3 or contact_map",
        )

    def losses(self, proteins: Any, pairs: Tensor, targets: Tensor) -> Tensor:
        """Training loss per pair: mean cross entropy over the members.

        Args:
            proteins: Distinct proteins, as `encode` takes them.
            pairs: (m, 2) row numbers of these.
            targets: (m,) between 0 and 1.

        Returns:
            (m,), in nats.
        """
        return member_losses(self(proteins, pairs), targets)

    def forward(self, proteins: Any, pairs: Tensor) -> Tensor:
        """Logits (m, k) of the members for m pairs.

        The pairs (m, 2) are row numbers of distinct proteins.
        """
        states = self.encode(proteins)
        return self.score_members(self.select(states, pairs[:, 0]), self.select(states, pairs[:, 1]))


def member_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy (m,) over the k members.

    Takes logits (m, k) and targets (m,).
    """
    wanted = targets[:, None].expand_as(logits)
    return binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none").mean(dim=1)
