"""Where the words of four residues of many sequences occur, and which of these a query is like.

As in BLAST and MMseqs2, words in common near one diagonal are the first sign of similarity; of those with the
most, the ones with the best alignment without gaps along that diagonal are the candidates.

Legend of shapes: n candidates, h common words of a query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppi_train.data.alignment import pair_scores

_WORD = 4
_RESIDUES = 20  # the first letters of an encoded sequence; the others make no words
# Diagonals are binned by this; two bins in a row make a window.
_BIN = 16
# How many of the targets with the most common words are looked at along their diagonal.
_LOOKED_AT = 60


def ranges(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The integers of many ranges, one range after the other, and the number of the range of each."""
    sizes = ends - starts
    rows = np.repeat(np.arange(len(sizes)), sizes)
    before = np.cumsum(sizes) - sizes
    return rows, np.arange(len(rows)) - np.repeat(before - starts, sizes)


def rank_within(groups: np.ndarray) -> np.ndarray:
    """How many entries of its group stand before each entry; equal groups stand together."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    return np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))


def _words(sequence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the words of a sequence and where they start.

    Words of one or two kinds of residues are left out: they are what proteins of low complexity share
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
        self.lengths = np.array([len(one) for one in targets], np.int64)
        words = [_words(one) for one in targets]
        codes = np.concatenate([np.empty(0, np.int64), *(one for one, _ in words)])
        order = np.argsort(codes, kind="stable")
        self._joined = np.concatenate([np.empty(0, np.uint8), *targets])
        self._offsets = np.cumsum(self.lengths) - self.lengths
        self._bounds = np.searchsorted(codes[order], np.arange(_RESIDUES**_WORD + 1))
        sizes = [len(one) for one, _ in words]
        # Of 32 bits: gathering and sorting these takes most of a search's time.
        self._target = np.repeat(np.arange(len(targets), dtype=np.int32), sizes)[order]
        starts = np.concatenate([np.empty(0, np.int64), *(one for _, one in words)])
        self._start = starts[order].astype(np.int32)

    @property
    def residues(self) -> int:
        return int(self.lengths.sum())

    def candidates(self, query: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """The targets that are most like the query along one diagonal without gaps, and that diagonal."""
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
        """Of (h,) common words: the targets with most of them in a window, and the fullest diagonal there."""
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
        # With the next bin, where the diagonals of one alignment may go on.
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
        """The best sum of scores in a row along each diagonal, (n,)."""
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
