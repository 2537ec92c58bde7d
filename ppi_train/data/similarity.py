"""Which proteins of one set are similar to which of another: a k-mer index, then alignment of what it finds.

As in BLAST and MMseqs2, words in common near one diagonal make a candidate, the best of which by their score
without gaps are aligned within a band around that diagonal; what scores near the bound is aligned exactly.

*Identity* is, as in CD-HIT (Li and Godzik 2006), the number of identical residues in the alignment divided
by the length of the shorter sequence: a shared motif does not make two long proteins alike. An alignment
counts if fewer than one in a thousand as good is expected by chance in the whole search of a protein (Karlin
and Altschul 1990); below some 25% identity there are relatives that neither this nor MMseqs2 sees.

Legend of shapes: q queries, t targets, n alignments, h common words of a query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from ppi_train.data.alignment import (
    KAPPA,
    LAMBDA,
    Alignments,
    banded_alignments,
    banded_scores,
    encode_sequence,
    pair_scores,
)

MAX_EXPECTED = 1e-3
CANDIDATES = 8
NEIGHBOURS = 5

_WORD = 4
_RESIDUES = 20  # the first letters of an encoded sequence; the others make no words
# Diagonals are binned by this; two bins in a row make a window.
_BIN = 16
# Fewer common words than this make no candidate: chance brings them, and no alignment that counts had fewer.
_MIN_WORDS = 3
# How many of the targets with the most common words are looked at along their diagonal.
_LOOKED_AT = 60
# Half widths of the bands, in residues: some insertions, and whole domains.
_NARROW, _WIDE = 20, 256
# The narrow band may leave a score this much short of the full one.
_SHORT_OF = 30
_CHUNK = 256


@dataclass(frozen=True, kw_only=True)
class Similarities:
    """Alignments of queries with their most similar targets, of each query the best one first.

    `query` and `target` (n,) are positions in the two lists; `identity` (n,) is in identical residues per
    residue of the shorter sequence, `aligned_identity` (n,) in those per column of the alignment, `coverage`
    (n,) in aligned columns per residue of the shorter sequence, at most 1.
    """

    query: np.ndarray
    target: np.ndarray
    identity: np.ndarray
    aligned_identity: np.ndarray
    coverage: np.ndarray

    def nearest(self, queries: int) -> np.ndarray:
        """The identity of each query's nearest target, (q,); 0 for one that has none."""
        best = np.zeros(queries)
        np.maximum.at(best, self.query, self.identity)
        return best


def find_similar(
    queries: Sequence[str],
    targets: Sequence[str],
    *,
    neighbours: int = NEIGHBOURS,
    candidates: int = CANDIDATES,
    threads: int = 2,
    advance: Callable[[int], None] = lambda _: None,
) -> Similarities:
    """Finds the targets that are most similar to each query.

    Args:
        queries: q sequences.
        targets: t sequences; one that equals the query is found at once, with identity 1.
        neighbours: How many alignments of a query are given, at most.
        candidates: How many of a query are aligned, at most.
        threads: How many queries are worked on at a time, numpy being free of the interpreter's lock.
        advance: Told how many queries were done since the last call.
    """
    # Equal sequences, which splits by pairs are full of, are neither searched for nor aligned twice.
    query_rows, of_query = _distinct(queries)
    target_rows, of_target = _distinct(targets)
    index = _WordIndex([encode_sequence(one) for one in target_rows])
    chunks = [query_rows[start : start + _CHUNK] for start in range(0, len(query_rows), _CHUNK)]
    work = partial(_search, index, neighbours=neighbours, candidates=candidates)
    found: list[_Hits] = []
    copies = np.bincount(of_query, minlength=len(query_rows))
    with ThreadPoolExecutor(threads) as pool:
        for number, hits in enumerate(pool.map(work, chunks)):
            start = number * _CHUNK
            found.append(hits.moved(start))
            advance(int(copies[start : start + len(chunks[number])].sum()))
    hits = _Hits.joined(found)
    return _of_copies(hits, of_query, of_target, neighbours)


def _distinct(sequences: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The distinct sequences, and for each of all the position of its own."""
    numbers: dict[str, int] = {}
    positions = [numbers.setdefault(one, len(numbers)) for one in sequences]
    return list(numbers), np.array(positions, np.int64)


@dataclass(frozen=True, kw_only=True)
class _Hits:
    """Significant alignments between distinct sequences, sorted by query and then by identity."""

    query: np.ndarray
    target: np.ndarray
    values: np.ndarray
    """(n, 3) identity, aligned identity, coverage."""

    @classmethod
    def joined(cls, some: Sequence[_Hits]) -> _Hits:
        empty = np.empty(0, np.int64)
        return cls(
            query=np.concatenate([empty, *(one.query for one in some)]),
            target=np.concatenate([empty, *(one.target for one in some)]),
            values=np.concatenate([np.empty((0, 3)), *(one.values for one in some)]),
        )

    def moved(self, by: int) -> _Hits:
        return _Hits(query=self.query + by, target=self.target, values=self.values)


def _of_copies(hits: _Hits, of_query: np.ndarray, of_target: np.ndarray, neighbours: int) -> Similarities:
    """From distinct sequences to all: what was found of one holds for its copies."""
    query, hit = _expand(hits.query, of_query)
    target, again = _expand(hits.target[hit], of_target)
    query, hit = query[again], hit[again]
    values = hits.values[hit]
    order = np.lexsort((target, -values[:, 0], query))
    query, target, values = query[order], target[order], values[order]
    keep = _rank_within(query) < neighbours
    identity, aligned, coverage = values[keep].T
    return Similarities(
        query=query[keep],
        target=target[keep],
        identity=identity,
        aligned_identity=aligned,
        coverage=coverage,
    )


def _expand(distinct: np.ndarray, of_all: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every position whose distinct one is in `distinct`, with the row of the latter that it comes from."""
    members = np.argsort(of_all, kind="stable")
    bounds = np.searchsorted(of_all[members], np.arange(of_all.max(initial=-1) + 2))
    rows, places = _ranges(bounds[distinct], bounds[distinct + 1])
    return members[places], rows


def _ranges(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The integers of many ranges, one range after the other, and the number of the range of each."""
    sizes = ends - starts
    rows = np.repeat(np.arange(len(sizes)), sizes)
    before = np.cumsum(sizes) - sizes
    return rows, np.arange(len(rows)) - np.repeat(before - starts, sizes)


def _rank_within(groups: np.ndarray) -> np.ndarray:
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


class _WordIndex:
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
        rows, places = _ranges(self._bounds[codes], self._bounds[codes + 1])
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
        kind = np.int32 if len(self.targets) * span < 2**31 else np.int64
        keys, counts = np.unique(targets.astype(kind) * kind(span) + diagonals, return_counts=True)
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
        best = best[windows[best] >= _MIN_WORDS]
        best = best[np.argsort(-windows[best], kind="stable")[:_LOOKED_AT]]
        return of_target[best].astype(np.int64), (of_window[best] & ((1 << 40) - 1)) % span

    def _ungapped(self, query: np.ndarray, targets: np.ndarray, diagonals: np.ndarray) -> np.ndarray:
        """The best sum of scores in a row along each diagonal, (n,)."""
        if not len(targets):
            return np.empty(0, np.int64)
        first = np.maximum(0, -diagonals)
        sizes = np.minimum(len(query) - first, self.lengths[targets] - first - diagonals)
        rows, places = _ranges(first, first + sizes)
        faced = self._joined[(self._offsets[targets] + diagonals)[rows] + places]
        sums = np.cumsum(pair_scores(query[places], faced))
        ends = np.cumsum(sizes)
        before = np.concatenate([[0], sums[:-1]])
        # A step down at each new diagonal keeps the running minimum from reaching back into the one before.
        steps = rows * (np.abs(sums).max() * 2 + 1)
        least = np.minimum.accumulate(before - steps) + steps
        return np.maximum.reduceat(sums - least, ends - sizes)


def _search(index: _WordIndex, queries: Sequence[str], *, neighbours: int, candidates: int) -> _Hits:
    """The significant alignments of some queries, the most similar targets of each."""
    encoded = [encode_sequence(one) for one in queries]
    found = [index.candidates(one, candidates) for one in encoded]
    query = np.repeat(np.arange(len(found)), [len(targets) for targets, _ in found])
    target = _concatenated(targets for targets, _ in found)
    diagonal = _concatenated(diagonals for _, diagonals in found)
    a, b = _sequences(encoded, query), _sequences(index.targets, target)
    scores = banded_scores(a, b, diagonal, half_width=_NARROW)
    lengths = np.array([len(one) for one in encoded], np.int64)
    # What chance alone reaches, in a search through this many residues.
    bound = np.log(KAPPA * lengths * max(index.residues, 1) / MAX_EXPECTED) / LAMBDA
    equal = np.array([np.array_equal(one, other) for one, other in zip(a, b, strict=True)], bool)
    keep = np.flatnonzero((scores > bound[query] - _SHORT_OF) | equal)
    # The best few by score: identity is not known before the second alignment.
    keep = keep[np.lexsort((-scores[keep], query[keep]))]
    keep = keep[_rank_within(query[keep]) < neighbours]
    query, target, equal = query[keep], target[keep], equal[keep]
    a, b = _sequences(encoded, query), _sequences(index.targets, target)
    aligned = banded_alignments(a, b, diagonal[keep], half_width=_WIDE)
    values = _shares(aligned, np.minimum(lengths[query], index.lengths[target]))
    order = np.lexsort((target, -values[:, 0], query))
    order = order[(aligned.score > bound[query])[order] | equal[order]]
    return _Hits(query=query[order], target=target[order], values=values[order])


def _concatenated(arrays: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.int64), *arrays])


def _sequences(encoded: Sequence[np.ndarray], positions: np.ndarray) -> list[np.ndarray]:
    return [encoded[one] for one in positions.tolist()]


def _shares(aligned: Alignments, shorter: np.ndarray) -> np.ndarray:
    return np.stack(
        [
            aligned.identical / shorter,
            aligned.identical / np.maximum(aligned.length, 1),
            np.minimum(aligned.length / shorter, 1.0),
        ],
        axis=1,
    )
