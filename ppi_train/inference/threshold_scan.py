"""A scan that keeps every pair, or those above a probability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch

from ppi_train.inference.pair_grid import PairGrid, PairList, cell_proteins, cell_values
from ppi_train.inference.scan import (
    EncodedProteins,
    Parts,
    ScoredPairs,
    Threshold,
    require_finite,
    score_cells,
)
from ppi_train.inference.screen import Screen
from ppi_train.inference.task_blocks import task_runs


class ThresholdScan:
    """Keeps every pair of a grid or list above a probability.

    Args:
        proteins: All proteins of the pairs, encoded.
        pairs: The pairs to score.
        min_probability: None keeps all.
        uncertainty: Whether to compute the standard deviation of each logit.
    """

    def __init__(
        self,
        proteins: EncodedProteins,
        pairs: PairGrid | PairList,
        *,
        min_probability: float | None = None,
        uncertainty: bool = False,
    ) -> None:
        self._proteins, self._pairs, self.uncertainty = proteins, pairs, uncertainty
        self._threshold = Threshold(min_probability)
        self._screen = None
        if isinstance(pairs, PairGrid) and not self._threshold.keeps_all:
            self._screen = Screen(proteins, pairs)

    @cached_property
    def tasks(self) -> Sequence[Sequence[int]]:
        return task_runs(self._pairs, self._proteins.device.type)

    @torch.inference_mode()
    def run(self, number: int) -> dict[str, np.ndarray]:
        pairs = self._pairs
        blocks = [
            self._of_list(pairs, block) if isinstance(pairs, PairList) else self._of_grid(pairs, block)
            for block in self.tasks[number]
        ]
        columns = [block.columns for block in blocks]
        return {name: np.concatenate([block[name] for block in columns]) for name in columns[0]}

    def _of_list(self, pairs: PairList, number: int) -> ScoredPairs:
        index = torch.from_numpy(pairs.index[pairs.blocks[number]]).to(self._proteins.device)
        a, b = index[:, 0], index[:, 1]
        logits, deviations = self._proteins.score(a, b, uncertainty=self.uncertainty)
        require_finite(logits)
        return self._threshold.scored(
            self._proteins, (a, b), logits, deviations=deviations, uncertainty=self.uncertainty
        )

    def _of_grid(self, grid: PairGrid, number: int) -> ScoredPairs:
        if self._screen is not None:
            pairs, logits = self._screen.reaching(number, self._threshold.logit)
            return self._threshold.scored(
                self._proteins, pairs, logits, deviations=None, uncertainty=self.uncertainty
            )
        a, b, logits, deviations = score_cells(self._proteins, grid, number, uncertainty=self.uncertainty)
        ignored = grid.not_counted(grid.blocks[number], self._proteins.device)
        counted = None if ignored is None else (~ignored).flatten().nonzero().squeeze(1)
        return self._threshold.scored(
            self._proteins,
            cell_proteins(a, b, counted),
            cell_values(logits, counted),
            deviations=None if deviations is None else cell_values(deviations, counted),
            uncertainty=self.uncertainty,
        )

    def collect(self, parts: Parts) -> KeptAbove:
        return KeptAbove(self._pairs, parts, filtered=not self._threshold.keeps_all)


class KeptAbove:
    """The pairs that a `ThresholdScan` keeps.

    Of a grid whose pairs are filtered they are in ascending order, for any size of the blocks: such rows are
    sorted in memory, those of one row of blocks at a time. All pairs of a grid, which may be too many for
    that, stay in the order of the blocks, and those of a list in its own.

    Args:
        pairs: The pairs that were scored.
        parts: The partial results.
        filtered: Whether some pairs were not kept.
    """

    def __init__(self, pairs: PairGrid | PairList, parts: Parts, *, filtered: bool) -> None:
        self._pairs, self._parts, self._filtered = pairs, parts, filtered

    def rows(self) -> Iterator[ScoredPairs]:
        taken = self._parts()
        if isinstance(self._pairs, PairGrid) and self._filtered:
            taken = _rows_of_blocks(taken, self._pairs.side)
        for columns in taken:
            yield ScoredPairs(**columns)

    def proteins(self) -> np.ndarray:
        found = np.zeros(self._pairs.proteins, np.bool_)
        for columns in self._parts():
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
