"""Block-wise scoring of encoded proteins: what all scans have in common.

The pairs to keep, those above a threshold or the best partners of each protein, are selected on whole blocks
of logits; probabilities, and uncertainties if a filter removes most pairs, are computed only for the kept
pairs. A scan is divided into tasks, whose partial results are merged at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ppi_train.errors import CheckpointError
from ppi_train.inference.pair_grid import PairGrid, in_chunks
from ppi_train.inference.scoring import Scorer, calibrated
from ppi_train.models.rough_block import RoughBlock

# Pairs per batch when single pairs are scored; on a CPU, as many as stay in its cache.
_AT_ONCE = 8192
_ON_CPU = 1024
# Largest float32 rounding error near 1.
_SLACK = 2.4e-7

Parts = Callable[[], Iterator[Mapping[str, np.ndarray]]]
"""Iterates over partial results, each as columns by name; may be called more than once."""


class BlockScorer(Scorer, Protocol):
    """The functions of `PairModel` that a scan needs."""

    def score_block(self, states_a: Any, states_b: Any) -> Tensor: ...

    def score_block_with_uncertainty(self, states_a: Any, states_b: Any) -> tuple[Tensor, Tensor]: ...

    def rough_block(self, states_a: Any, states_b: Any) -> RoughBlock | None: ...

    def state_tensors(self, states: Any) -> dict[str, Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class EncodedProteins:
    """A model in evaluation mode with all proteins' states.

    Attributes:
        model: The model.
        states: The states of the proteins.
        device: Where both are.
        rough: Whether scans that keep few pairs score all roughly first, which changes no result; None: if
            the processor has instructions for bf16.
    """

    model: BlockScorer
    states: Any
    device: torch.device
    rough: bool | None = None

    def at(self, numbers: np.ndarray | Tensor) -> Any:
        """The states of the given proteins."""
        return self.model.select(self.states, torch.as_tensor(numbers, device=self.device).long())

    @torch.inference_mode()
    def score(self, a: Tensor, b: Tensor, *, uncertainty: bool) -> tuple[Tensor, Tensor | None]:
        """Calibrated logits of pairs, and optionally their deviations, (m,) each.

        The pairs are (m,) and (m,).
        """
        # Into one tensor: small tensors allocated between large temporary ones would fragment the memory.
        logits = torch.empty(len(a), device=self.device)
        deviations = torch.empty_like(logits) if uncertainty else None
        for rows in in_chunks(len(a), _ON_CPU if self.device.type == "cpu" else _AT_ONCE):
            states = self.at(a[rows]), self.at(b[rows])
            if deviations is None:
                logits[rows] = calibrated(self.model, self.model.score(*states))
            else:
                scores = self.model.score_with_uncertainty(*states)
                logits[rows], deviations[rows] = (calibrated(self.model, values) for values in scores)
        return logits, deviations

    def have_uncertainty(self, proteins: int) -> bool:
        """Whether the model gives non-zero deviations, tested on a few pairs."""
        numbers = torch.arange(min(proteins, 64), device=self.device)
        _, deviations = self.score(numbers, numbers.flip(0), uncertainty=True)
        assert deviations is not None
        return bool((deviations != 0).any())


@dataclass(frozen=True, kw_only=True)
class ScoredPairs:
    """Scored pairs as columns.

    `a` and `b` (m,) int32 are the numbers of their proteins; the scores are (m,) float32.

    `uncertainty` is the standard deviation of the logit; None if it is not requested.
    """

    a: np.ndarray
    b: np.ndarray
    probability: np.ndarray
    logit: np.ndarray
    uncertainty: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.a)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        found = {"a": self.a, "b": self.b, "probability": self.probability, "logit": self.logit}
        return found if self.uncertainty is None else found | {"uncertainty": self.uncertainty}


class KeptPairs(Protocol):
    """The pairs that a finished scan keeps."""

    def rows(self) -> Iterator[ScoredPairs]:
        """The pairs in their final order, some at a time."""

    def proteins(self) -> np.ndarray:
        """The numbers of their proteins, ascending, and perhaps a few more."""


class Scan(Protocol):
    """Scores pairs in numbered tasks.

    The result of a task depends on its number alone, so that tasks may run in any order and process.
    """

    @property
    def uncertainty(self) -> bool:
        """Whether the kept pairs have the standard deviation of their logits."""

    @property
    def tasks(self) -> Sequence[Sequence[int]]:
        """The numbers of the blocks of each task; together they are all blocks."""

    def run(self, number: int) -> dict[str, np.ndarray]:
        """Scores the blocks of a task, and returns its partial result as columns.

        Raises:
            CheckpointError: a score is not finite.
        """

    def collect(self, parts: Parts) -> KeptPairs:
        """Merges the partial results.

        Args:
            parts: Iterates over the columns of all tasks in their order, each time that it is called.
        """


class Threshold:
    """A lower bound on the probability of kept pairs.

    Args:
        probability: None keeps all.
    """

    def __init__(self, probability: float | None) -> None:
        # In float32, as written probabilities are compared.
        self._least = np.float32(probability or 0).item()
        low = self._least - _SLACK
        self.logit = math.log(low / (1 - low)) if low > 0 else -math.inf
        """Logits below this are certainly not kept."""

    @property
    def keeps_all(self) -> bool:
        return self._least == 0

    def scored(
        self, proteins: EncodedProteins, pairs: tuple[Tensor, Tensor], logits: Tensor, *,
        deviations: Tensor | None, uncertainty: bool,
    ) -> ScoredPairs:  # fmt: skip
        """Filters pairs by probability, and computes deviations if requested.

        The pairs are (m,) and (m,), their logits (m,).
        """
        # In float64: with float32 the last digit would depend on the position in the block.
        (a, b), probability = pairs, logits.double().sigmoid().float()
        if not self.keeps_all:
            kept = probability >= self._least
            a, b, logits, probability = a[kept], b[kept], logits[kept], probability[kept]
            deviations = None if deviations is None else deviations[kept]
        if uncertainty and deviations is None:
            deviations = proteins.score(a, b, uncertainty=True)[1]
        return ScoredPairs(
            a=a.int().cpu().numpy(),
            b=b.int().cpu().numpy(),
            probability=probability.cpu().numpy(),
            logit=logits.float().cpu().numpy(),
            uncertainty=None if deviations is None else deviations.float().cpu().numpy(),
        )


def score_cells(
    proteins: EncodedProteins, grid: PairGrid, number: int, *, uncertainty: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Scores all cells of a block that count; others may be 0.

    Returns the proteins of the rows (n,) and of the columns (m,), the calibrated logits (n, m) and their
    deviations.

    Raises:
        CheckpointError: a score is not finite.
    """
    a, b = (torch.from_numpy(numbers).to(proteins.device) for numbers in grid.numbers(grid.blocks[number]))
    logits = torch.zeros(len(a), len(b), device=proteins.device)
    deviations = torch.zeros_like(logits) if uncertainty else None
    for rows, first in grid.strips(grid.blocks[number]):
        states, model = (proteins.at(a[rows]), proteins.at(b[first:])), proteins.model
        if deviations is None:
            logits[rows, first:] = calibrated(model, model.score_block(*states))
        else:
            scores = model.score_block_with_uncertainty(*states)
            logits[rows, first:], deviations[rows, first:] = (calibrated(model, part) for part in scores)
    require_finite(logits)
    return a, b, logits, deviations


def require_finite(logits: Tensor) -> None:
    """Checks that all scores are finite.

    A NaN compares as below any threshold, so its pair would be lost silently.

    Raises:
        CheckpointError: a score is not finite.
    """
    if not torch.isfinite(logits.sum()) and not torch.isfinite(logits).all():
        raise CheckpointError(
            "the model gives scores that are not finite",
            got=f"{int((~torch.isfinite(logits)).sum()):,} of {logits.numel():,} pairs",
            remedy="the training has diverged: take another run, or train with a lower learning_rate",
        )
