"""Resamples of millions of pairs, by groups of pairs with nearly the same score.

The metrics of a resample follow from how much weight each score and class has. With a hundred thousand groups
what is lost by giving all pairs of a group their mean score is far below the width of an interval, and a
resample costs a look-up of both proteins of a pair instead of sums over all sorted pairs.

Legend of shapes: n pairs, c cells, each the pairs of one class in one group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

GROUPS = 1 << 15


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

    def draws(
        self, resamples: int, seed: int
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """The weights (c,) of the cells, by drawn proteins and by drawn pairs; both classes have some.

        Args:
            resamples: Number of resamples.
            seed: The same seed gives the same draws.
        """
        rng = np.random.default_rng(seed)
        shares = self.sizes / self.sizes.sum()
        starts = np.cumsum(self.sizes) - self.sizes
        a, b = self.ends
        itself = np.flatnonzero(a == b)
        weights, of_other = np.empty((2, len(a)), np.int32)
        done = 0
        while done < resamples:
            times = np.bincount(rng.integers(0, self.proteins, self.proteins), minlength=self.proteins)
            times = times.astype(np.int32)
            np.take(times, a, out=weights, mode="clip")
            np.take(times, b, out=of_other, mode="clip")
            of_other[itself] = 1
            np.multiply(weights, of_other, out=weights)
            by_protein = np.add.reduceat(weights, starts, dtype=np.int64)
            by_pair = rng.multinomial(int(self.sizes.sum()), shares)
            if all(found[self.labels == label].any() for found in (by_protein, by_pair) for label in (0, 1)):
                yield by_protein, by_pair
                done += 1
