"""A scan that keeps the best partners of each protein."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from ppi_train.inference.pair_grid import PairGrid, in_chunks
from ppi_train.inference.scan import EncodedProteins, Parts, ScoredPairs, Threshold
from ppi_train.inference.screen import Screen
from ppi_train.inference.task_blocks import task_tiles
from ppi_train.inference.top_partners import TopPartners

# Rows of the best partners that are yielded at once.
_ROWS = 1 << 20


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
        self._proteins, self._grid, self.uncertainty = proteins, grid, uncertainty
        self._threshold = Threshold(min_probability)
        self._ranks = np.arange(grid.proteins) if ranks is None else ranks
        self._k, self._queries = min(k, grid.proteins), queries
        self._screen = Screen(proteins, grid)

    @cached_property
    def tasks(self) -> Sequence[Sequence[int]]:
        return task_tiles(self._grid, self._proteins.device.type)

    def _no_partners(self) -> TopPartners:
        return TopPartners(self._ranks, self._k, self._proteins.device, queries=self._queries)

    @torch.inference_mode()
    def run(self, number: int) -> dict[str, np.ndarray]:
        best = self._no_partners()
        for block in self.tasks[number]:
            ignored = self._grid.not_counted(self._grid.blocks[block], self._proteins.device)
            a, b, logits = self._screen.score(block, partial(_may_be_best, best, ignored))
            best.add(a, b, _counted(logits.float(), ignored))
        return best.state()

    def collect(self, parts: Parts) -> KeptBest:
        best = self._no_partners()
        for part in parts():
            best.merge(part)
        return KeptBest(
            self._proteins, self._grid, best.pairs(),
            ranks=self._ranks, threshold=self._threshold, uncertainty=self.uncertainty,
        )  # fmt: skip


def _may_be_best(
    best: TopPartners, ignored: Tensor | None, a: Tensor, b: Tensor, lower: Tensor, upper: Tensor
) -> Tensor:
    """The pairs (n, m) that may be among the best, given bounds on their logits; see `MayKeep`."""
    return best.may_be_kept(a, b, _counted(lower, ignored), _counted(upper, ignored))


def _counted(logits: Tensor, ignored: Tensor | None) -> Tensor:
    """Logits of a block, -inf for the ignored pairs."""
    return logits if ignored is None else logits.masked_fill(ignored, -torch.inf)


class KeptBest:
    """The pairs that a `TopScan` keeps, the highest logit first; equal ones by the ranks of their proteins.

    Args:
        proteins: All proteins of the grid, encoded.
        grid: The pairs that were scored.
        pairs: Protein, partner and logit of the best pairs, (p,) each.
        ranks: (proteins,) int64.
        threshold: Pairs below it are not kept.
        uncertainty: Whether to compute the standard deviation of each logit.
    """

    def __init__(
        self,
        proteins: EncodedProteins,
        grid: PairGrid,
        pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
        *,
        ranks: np.ndarray,
        threshold: Threshold,
        uncertainty: bool,
    ) -> None:
        self._proteins, self._grid, self._pairs = proteins, grid, pairs
        self._ranks, self._threshold, self._uncertainty = ranks, threshold, uncertainty

    @torch.inference_mode()
    def rows(self) -> Iterator[ScoredPairs]:
        proteins, partners, logits = self._pairs
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

    def proteins(self) -> np.ndarray:
        proteins, partners, logits = self._pairs
        kept = logits >= self._threshold.logit
        return np.union1d(proteins[kept], partners[kept])
