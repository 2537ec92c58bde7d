"""An index of four-residue words, to find sequences similar to a query.

As in BLAST and MMseqs2, common words near one diagonal are the first sign of similarity; among the sequences
with the most common words, those with the best alignment without gaps along that diagonal are the
candidates.

Legend of shapes: n candidates, h common words of a query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppi_train.data.similarity.alignment import pair_scores

_WORD = 4
_RESIDUES = 20  # the first letters of an encoded sequence; the others make no words
# Width of a bin of diagonals; two adjacent bins make a window.
_BIN = 16
# How many of the targets with the most common words are scored along their diagonal.
_LOOKED_AT = 60


def ranges(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The range number of each integer of many ranges, and the integers."""
    sizes = ends - starts
    rows = np.repeat(np.arange(len(sizes)), sizes)
    before = np.cumsum(sizes) - sizes
    return rows, np.arange(len(rows)) - np.repeat(before - starts, sizes)


def rank_within(groups: np.ndarray) -> np.ndarray:
    """The position of each entry within its group.

    Entries of the same group must be adjacent.
    """
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    return np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))


def _words(sequence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the words of a sequence and where they start.

    Words of one or two kinds of residues are left out: proteins of low complexity have them in common
    without being related.
    """
    if len(sequence) < _WORD:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(sequence, _WORD).astype(np.int64)
    ordered = np.sort(windows, axis=1)
    kinds = 1 + (np.diff(ordered, axis=1) != 0).sum(axis=1)
    starts = np.flatnonzero((ordered[:, -1] < _RESIDUES) & (kinds > 2))
    return windows[starts] @ _RESIDUES ** np.arange(_WORD), starts


class WordIndex:
    """Where each word occurs in the targets."""

    def __init__(self, targets: Sequence[np.ndarray]) -> None:
        self.targets = targets
        self.lengths = np.array([len(target) for target in targets], np.int64)
        words = [_words(target) for target in targets]
        codes = np.concatenate([np.empty(0, np.int64), *(found for found, _ in words)])
        order = np.argsort(codes, kind="stable")
        self._joined = np.concatenate([np.empty(0, np.uint8), *targets])
        self._offsets = np.cumsum(self.lengths) - self.lengths
        self._bounds = np.searchsorted(codes[order], np.arange(_RESIDUES**_WORD + 1))
        sizes = [len(found) for found, _ in words]
        # 32 bits, because gathering and sorting these takes most of a search's time.
        self._target = np.repeat(np.arange(len(targets), dtype=np.int32), sizes)[order]
        starts = np.concatenate([np.empty(0, np.int64), *(places for _, places in words)])
        self._start = starts[order].astype(np.int32)

    @property
    def residues(self) -> int:
        return int(self.lengths.sum())

    def candidates(self, query: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """The targets most similar to the query, and their best diagonals.

        Similarity is the best score along one diagonal without gaps.
        """
        codes, starts = _words(query)
        rows, places = ranges(self._bounds[codes], self._bounds[codes + 1])
        diagonals = self._start[places] + (len(query) - starts).astype(np.int32)[rows]
        targets, best = self._most_words(self._target[places], diagonals, len(query))
        scores = self._ungapped(query, targets, best - len(query))
        order = np.argsort(-scores, kind="stable")[:limit]
        return targets[order], best[order] - len(query)

    def _most_words(
        self, targets: np.ndarray, diagonals: np.ndarray, length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The targets with most common words, and their fullest diagonals.

        The words are counted in windows of two bins of diagonals.

        Args:
            targets: (h,) the target of each common word.
            diagonals: (h,) its diagonal, counted from 0.
            length: Residues of the query.
        """
        span = ((int(self.lengths.max(initial=0)) + length) // _BIN + 2) * _BIN
        kind = np.dtype(np.int32 if len(self.targets) * span < 2**31 else np.int64)
        places = np.multiply(targets, span, dtype=kind) + diagonals
        keys, counts = np.unique(places, return_counts=True)
        bins = keys // _BIN
        first = np.flatnonzero(np.diff(bins, prepend=-1))
        if not len(first):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        bins, words = bins[first], np.add.reduceat(counts, first)
        # Count and diagonal in one number, to find the fullest diagonal of each bin.
        fullest = np.maximum.reduceat((counts << 40) + keys, first)
        # Together with the next bin, where the diagonals of an alignment may continue.
        next_there = np.flatnonzero(np.diff(bins) == 1)
        windows, of_window = words.copy(), fullest.copy()
        windows[next_there] += words[next_there + 1]
        of_window[next_there] = np.maximum(fullest[next_there], fullest[next_there + 1])
        of_target = bins // (span // _BIN)
        order = np.lexsort((-windows, of_target))
        best = order[np.flatnonzero(np.diff(of_target[order], prepend=-1))]
        best = best[np.argsort(-windows[best], kind="stable")[:_LOOKED_AT]]
        return of_target[best].astype(np.int64), (of_window[best] & ((1 << 40) - 1)) % span

    def _ungapped(self, query: np.ndarray, targets: np.ndarray, diagonals: np.ndarray) -> np.ndarray:
        """The best sum of consecutive scores along each diagonal, (n,)."""
        if not len(targets):
            return np.empty(0, np.int64)
        first = np.maximum(0, -diagonals)
        sizes = np.minimum(len(query) - first, self.lengths[targets] - first - diagonals)
        rows, places = ranges(first, first + sizes)
        faced = self._joined[(self._offsets[targets] + diagonals)[rows] + places]
        sums = np.cumsum(pair_scores(query[places], faced))
        ends = np.cumsum(sizes)
        before = np.concatenate([[0], sums[:-1]])
        # A step down at each new diagonal keeps the running minimum from reaching back into the one before.
        steps = rows * (np.abs(sums).max() * 2 + 1)
        least = np.minimum.accumulate(before - steps) + steps
        return np.maximum.reduceat(sums - least, ends - sizes)
