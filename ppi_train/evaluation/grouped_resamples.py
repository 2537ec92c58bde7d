"""Resamples of millions of pairs, by groups of pairs with nearly the same score.

The metrics of a resample follow from how much weight each score and class has. With a hundred thousand groups
what is lost by giving all pairs of a group their mean score is far below the width of an interval, and a
resample costs a quarter of a look-up of both proteins of a pair instead of sums over all sorted pairs.

Legend of shapes: n pairs, c cells, each the pairs of one class in one group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.int64]
Positions = npt.NDArray[np.intp]

GROUPS = 1 << 15

_LANES = 4
_ONES = np.ones(_LANES, np.uint16).view(np.uint64)
# A protein that is drawn more often, once in 10^13 times, counts as often as this: 256 products fit into 16
# bits.
_MOST_TIMES = 15
_RUN = 256
_BLOCK = 1 << 15


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Pairs by group and class.

    Attributes:
        scores: (c,) the mean score of each cell.
        labels: (c,) its class.
        sizes: (c,) the number of its pairs.
        ends: The proteins of the pairs, numbered from 0, in the order of the cells: two arrays (n,).
        proteins: Their number.
    """

    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int8]
    sizes: npt.NDArray[np.int64]
    ends: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
    proteins: int

    @classmethod
    def of(
        cls, scores: npt.NDArray[Any], labels: npt.NDArray[Any], pairs: npt.NDArray[Any], proteins: int
    ) -> Cells:
        """Groups pairs of about equal number; equal scores are in one group.

        Args:
            scores: (n,) finite.
            labels: (n,) 0 or 1.
            pairs: (n, 2) proteins, numbered from 0.
            proteins: Their number.
        """
        order = np.argsort(scores)
        ordered = scores[order]
        # a group begins at the first pair of the score that is met every n / GROUPS pairs
        met = ordered[np.arange(GROUPS) * len(ordered) // GROUPS]
        begins = np.unique(np.searchsorted(ordered, met), return_counts=True)[0]
        cell = 2 * (np.searchsorted(begins, np.arange(len(ordered)), side="right") - 1) + labels[order]
        within = np.argsort(cell, kind="stable")
        cell, order = cell[within], order[within]
        starts = np.flatnonzero(np.concatenate(([True], cell[1:] != cell[:-1])))
        sizes = np.diff(starts, append=len(cell))
        means = np.add.reduceat(scores[order], starts, dtype=np.float64) / sizes
        a, b = (np.ascontiguousarray(side[order], dtype=np.intp) for side in pairs.T)
        return cls(
            scores=means,
            labels=(cell[starts] % 2).astype(np.int8),
            sizes=sizes,
            ends=(a, b),
            proteins=proteins,
        )

    def draws(self, resamples: int, seed: int) -> Iterator[tuple[Weights, Weights]]:
        """The weights (c,) of the cells, by drawn proteins and by drawn pairs; both classes have some.

        Args:
            resamples: Number of resamples.
            seed: The same seed gives the same draws.
        """
        rng = np.random.default_rng(seed)
        shares = self.sizes / self.sizes.sum()
        sums = _ProductSums(self.sizes, self.ends)
        done = 0
        while done < resamples:
            times, by_pair = np.empty((self.proteins, _LANES), np.uint16), []
            for lane in range(_LANES):
                drawn = rng.integers(0, self.proteins, self.proteins)
                times[:, lane] = np.minimum(np.bincount(drawn, minlength=self.proteins), _MOST_TIMES)
                by_pair.append(rng.multinomial(int(self.sizes.sum()), shares))
            for weights in zip(sums(times).T, by_pair, strict=True):
                if done < resamples and all(
                    of_cells[self.labels == label].any() for of_cells in weights for label in (0, 1)
                ):
                    yield weights
                    done += 1


class _ProductSums:
    """Adds up, for each cell, the products of how often both proteins of its pairs are drawn.

    Four resamples at a time: their counts are 16-bit numbers next to each other, looked up and added up as
    one of 64 bits. Runs of pairs are so short that no sum reaches the next number.

    Args:
        sizes, ends: As in `Cells`.
    """

    def __init__(self, sizes: Weights, ends: tuple[Positions, Positions]) -> None:
        self._ends = ends
        self._itself = np.flatnonzero(ends[0] == ends[1])
        cells = np.cumsum(sizes) - sizes
        runs = [cells, np.arange(0, len(ends[0]), _RUN), np.arange(0, len(ends[0]), _BLOCK)]
        self._runs = np.unique(np.concatenate(runs))
        self._cells = np.searchsorted(self._runs, cells)

    def __call__(self, times: npt.NDArray[np.uint16]) -> Weights:
        """The sums (c, 4) of the products of `times` (p, 4), each at most `_MOST_TIMES`."""
        table = times.view(np.uint64).ravel()
        a, b = self._ends
        sums = np.empty(len(self._runs), np.uint64)
        first, second = np.empty((2, _BLOCK), np.uint64)
        for begin in range(0, len(a), _BLOCK):
            end = min(begin + _BLOCK, len(a))
            products, others = first[: end - begin], second[: end - begin]
            np.take(table, a[begin:end], out=products, mode="clip")
            np.take(table, b[begin:end], out=others, mode="clip")
            own = slice(*np.searchsorted(self._itself, (begin, end)))
            others[self._itself[own] - begin] = _ONES
            np.multiply(products.view(np.uint16), others.view(np.uint16), out=products.view(np.uint16))
            within = slice(*np.searchsorted(self._runs, (begin, end)))
            np.add.reduceat(products, self._runs[within] - begin, out=sums[within])
        of_runs = sums.view(np.uint16).reshape(-1, _LANES)
        return np.add.reduceat(of_runs, self._cells, axis=0, dtype=np.int64)
