"""Block-wise scoring of encoded proteins, which keeps the pairs asked for.

The pairs to keep, those above a threshold or the best partners of each protein, are selected on whole blocks
of logits; probabilities, and uncertainties if a filter removes most pairs, are computed only for the kept
pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ppi_train.errors import CheckpointError
from ppi_train.inference.pair_grid import PairGrid, PairList, cell_proteins, cell_values, in_chunks
from ppi_train.inference.scoring import Scorer, calibrated
from ppi_train.inference.top_partners import TopPartners

# Pairs per batch when single pairs are scored.
_AT_ONCE = 8192
# Rows of the best partners that are yielded at once.
_ROWS = 1 << 20
# Largest float32 rounding error near 1.
_SLACK = 2.4e-7


class BlockScorer(Scorer, Protocol):
    """The functions of `PairModel` that a scan needs."""

    def score_block(self, states_a: Any, states_b: Any) -> Tensor: ...

    def score_block_with_uncertainty(self, states_a: Any, states_b: Any) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class EncodedProteins:
    """A model in evaluation mode with all proteins' states.

    Both are on one device.
    """

    model: BlockScorer
    states: Any
    device: torch.device

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
        for rows in in_chunks(len(a), _AT_ONCE):
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


class Scan(Protocol):
    """Scores blocks by number, and collects the kept pairs.

    The results are taken from it from time to time.
    """

    cumulative: bool
    """Whether a taken result replaces the previous one, or must be appended to it."""

    def score(self, number: int) -> None:
        """Scores a block."""

    @property
    def held(self) -> int:
        """The number of rows not yet taken."""

    def take(self) -> dict[str, np.ndarray]:
        """Result columns of the blocks since the last call.

        Of all blocks for a cumulative scan.
        """

    def restore(self, taken: Mapping[str, np.ndarray]) -> None:
        """Restores the last taken state of a cumulative scan."""

    def result(self, taken: Iterator[Mapping[str, np.ndarray]]) -> Iterator[ScoredPairs]:
        """The kept pairs, from all taken results."""

    def proteins(self, taken: Iterator[Mapping[str, np.ndarray]]) -> np.ndarray:
        """The numbers of the proteins of the kept pairs, ascending, and perhaps a few more."""


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


class ThresholdScan:
    """Keeps every pair of a grid or list above a probability.

    Args:
        proteins: All proteins of the pairs, encoded.
        pairs: The pairs to score.
        min_probability: None keeps all.
        uncertainty: Whether to compute the standard deviation of each logit.
    """

    cumulative = False

    def __init__(
        self,
        proteins: EncodedProteins,
        pairs: PairGrid | PairList,
        *,
        min_probability: float | None = None,
        uncertainty: bool = False,
    ) -> None:
        self._proteins, self._pairs, self._uncertainty = proteins, pairs, uncertainty
        self._threshold = Threshold(min_probability)
        self._held: list[ScoredPairs] = []

    @torch.inference_mode()
    def score(self, number: int) -> None:
        pairs = self._pairs
        found = self._of_list(pairs, number) if isinstance(pairs, PairList) else self._of_grid(pairs, number)
        self._held.append(found)

    def _of_list(self, pairs: PairList, number: int) -> ScoredPairs:
        index = torch.from_numpy(pairs.index[pairs.blocks[number]]).to(self._proteins.device)
        a, b = index[:, 0], index[:, 1]
        logits, deviations = self._proteins.score(a, b, uncertainty=self._uncertainty)
        require_finite(logits)
        return self._threshold.scored(
            self._proteins, (a, b), logits, deviations=deviations, uncertainty=self._uncertainty
        )

    def _of_grid(self, grid: PairGrid, number: int) -> ScoredPairs:
        at_once = self._uncertainty and self._threshold.keeps_all
        a, b, logits, deviations = score_cells(self._proteins, grid, number, uncertainty=at_once)
        ignored = grid.not_counted(grid.blocks[number], self._proteins.device)
        chosen = None
        if ignored is not None or not self._threshold.keeps_all:
            kept = logits >= self._threshold.logit
            chosen = (kept if ignored is None else kept & ~ignored).flatten().nonzero().squeeze(1)
        return self._threshold.scored(
            self._proteins,
            cell_proteins(a, b, chosen),
            cell_values(logits, chosen),
            deviations=None if deviations is None else cell_values(deviations, chosen),
            uncertainty=self._uncertainty,
        )

    @property
    def held(self) -> int:
        return sum(map(len, self._held))

    def take(self) -> dict[str, np.ndarray]:
        columns: Sequence[dict[str, np.ndarray]] = [scored.columns for scored in self._held]
        self._held = []
        return {name: np.concatenate([block[name] for block in columns]) for name in columns[0]}

    def restore(self, taken: Mapping[str, np.ndarray]) -> None:
        """Blocks do not depend on one another."""

    def result(self, taken: Iterator[Mapping[str, np.ndarray]]) -> Iterator[ScoredPairs]:
        """The kept pairs; of a grid whose pairs are filtered, in ascending order, for any size of the blocks.

        Such rows are sorted in memory, those of one row of blocks at a time. All pairs of a grid, which may
        be too many for that, stay in the order of the blocks, and those of a list in its own.
        """
        if isinstance(self._pairs, PairGrid) and not self._threshold.keeps_all:
            taken = _rows_of_blocks(taken, self._pairs.side)
        for columns in taken:
            yield ScoredPairs(**columns)

    def proteins(self, taken: Iterator[Mapping[str, np.ndarray]]) -> np.ndarray:
        count = self._pairs.proteins
        found = np.zeros(count, np.bool_)
        for columns in taken:
            found[columns["a"]] = found[columns["b"]] = True
        return np.flatnonzero(found)


def _rows_of_blocks(taken: Iterator[Mapping[str, np.ndarray]], side: int) -> Iterator[dict[str, np.ndarray]]:
    """The results of each row of blocks, in ascending order of their pairs."""
    pieces: list[dict[str, np.ndarray]] = []
    current = 0
    for columns in taken:
        numbers = columns["a"] // side
        for number in np.unique(numbers).tolist():
            if number != current and pieces:
                yield _sorted(pieces)
                pieces = []
            current = number
            pieces.append({name: values[numbers == number] for name, values in columns.items()})
    if pieces:
        yield _sorted(pieces)


def _sorted(pieces: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    order = np.lexsort((columns["b"], columns["a"]))
    return {name: values[order] for name, values in columns.items()}


class TopScan:
    """Keeps each protein's k best pairs of a grid.

    A pair is kept if it is among the k best of either of its proteins.

    Args:
        proteins: All proteins of the grid, encoded.
        grid: The pairs to score.
        k: Number of partners to keep per protein.
        ranks: (proteins,) int64, by which partners with equal scores are chosen and sorted, the lowest first;
            None: by their numbers.
        queries: How many proteins, from the first on, have their best pairs kept; None: all.
        min_probability: Kept pairs below this are removed.
        uncertainty: Whether to compute the standard deviation of each logit.
    """

    cumulative = True
    held = 0

    def __init__(
        self,
        proteins: EncodedProteins,
        grid: PairGrid,
        k: int,
        *,
        ranks: np.ndarray | None = None,
        queries: int | None = None,
        min_probability: float | None = None,
        uncertainty: bool = False,
    ) -> None:
        self._proteins, self._grid, self._uncertainty = proteins, grid, uncertainty
        self._threshold = Threshold(min_probability)
        self._ranks = np.arange(grid.proteins) if ranks is None else ranks
        self._best = TopPartners(self._ranks, min(k, grid.proteins), proteins.device, queries=queries)

    @torch.inference_mode()
    def score(self, number: int) -> None:
        a, b, logits, _ = score_cells(self._proteins, self._grid, number, uncertainty=False)
        ignored = self._grid.not_counted(self._grid.blocks[number], self._proteins.device)
        if ignored is not None:
            logits = logits.masked_fill(ignored, -torch.inf)
        self._best.add(a, b, logits.float())

    def take(self) -> dict[str, np.ndarray]:
        return self._best.state()

    def restore(self, taken: Mapping[str, np.ndarray]) -> None:
        self._best.restore(taken)

    @torch.inference_mode()
    def result(self, taken: Iterator[Mapping[str, np.ndarray]]) -> Iterator[ScoredPairs]:
        """The kept pairs, the highest logit first; equal ones by the ranks of their proteins.

        The scores are in this object; `taken` is not used.
        """
        del taken
        proteins, partners, logits = self._best.pairs()
        a, b = self._grid.oriented(proteins, partners)
        # Distinct pairs in the order of their ranks, which a stable sort by logit keeps.
        _, first = np.unique(self._ranks[a] * self._grid.proteins + self._ranks[b], return_index=True)
        order = first[np.argsort(-logits[first], kind="stable")]
        for rows in in_chunks(len(order), _ROWS):
            chosen_a, chosen_b, score = (
                torch.from_numpy(column[order[rows]]).to(self._proteins.device) for column in (a, b, logits)
            )
            yield self._threshold.scored(
                self._proteins, (chosen_a, chosen_b), score, deviations=None, uncertainty=self._uncertainty
            )

    def proteins(self, taken: Iterator[Mapping[str, np.ndarray]]) -> np.ndarray:
        del taken
        proteins, partners, logits = self._best.pairs()
        kept = logits >= self._threshold.logit
        return np.union1d(proteins[kept], partners[kept])


def score_cells(
    proteins: EncodedProteins, grid: PairGrid, number: int, *, uncertainty: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Scores all cells of a block.

    Returns the proteins of the rows (n,) and of the columns (m,), the calibrated logits (n, m) and their
    deviations.

    Raises:
        CheckpointError: a score is not finite.
    """
    a, b = (torch.from_numpy(numbers).to(proteins.device) for numbers in grid.numbers(grid.blocks[number]))
    states, model = (proteins.at(a), proteins.at(b)), proteins.model
    deviations = None
    if uncertainty:
        logits, deviations = (
            calibrated(model, values) for values in model.score_block_with_uncertainty(*states)
        )
    else:
        logits = calibrated(model, model.score_block(*states))
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
