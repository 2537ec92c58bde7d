"""Search for the most similar proteins between two sets of sequences.

As in BLAST and MMseqs2, common words of four residues near one diagonal are the first sign of similarity.
Among the sequences with the most common words, those with the best alignment without gaps along that diagonal
are the candidates. They are aligned within a band around their diagonal; those that score nearly well enough
to count are aligned again within a band of 513 residues, where whole domains may be missing from either.
Results are stored, since evaluations repeat the search with the same sequences for each model.

*Identity* is, as in CD-HIT (Li and Godzik 2006), the number of identical residues in the alignment divided
by the length of the shorter sequence: a shared motif does not make two long proteins alike. An alignment
counts if fewer than one in a thousand as good is expected by chance in the whole search of a protein (Karlin
and Altschul 1990). Relatives of less than some 25% identity are often missed, and those of long repeats
underestimated; docs/how-to/splits.md has the figures.

Legend of shapes: q queries, t targets, n alignments or candidates, h common words of a query.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

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
from ppi_train.io.files import write_file
from ppi_train.io.unavailable import unavailable_error

logger = logging.getLogger(__name__)

_WORD = 4
_RESIDUES = 20  # the first letters of an encoded sequence; the others make no words
# Width of a bin of diagonals; two adjacent bins make a window.
_BIN = 16
# How many of the targets with the most common words are scored along their diagonal.
_LOOKED_AT = 60

# Increased whenever the same sequences give another result, so that older stored results are not used.
VERSION = 1

MAX_EXPECTED = 1e-3
CANDIDATES = 8
NEIGHBOURS = 5

# Half widths of the bands, in residues: some insertions, and whole domains.
_NARROW, _WIDE = 20, 256
# The narrow band may reduce a score by this much.
_SHORT_OF = 30
_CHUNK = 256

# Of the stored results, in the data folder.
FOLDER = "similarity"


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


@dataclass(frozen=True, kw_only=True)
class Similarities:
    """Alignments of queries with their most similar targets, best first.

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
        """The identity of each query's nearest target, (q,); 0 without one."""
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
        neighbours: The largest number of alignments in the result per query.
        candidates: The largest number of targets that are aligned per query.
        threads: The number of threads; numpy releases the interpreter's lock.
        advance: Called with the number of queries done since the last call.
    """
    # Equal sequences, of which splits by pairs have many, are neither searched for nor aligned twice.
    query_rows, of_query = _distinct(queries)
    target_rows, of_target = _distinct(targets)
    index = WordIndex([encode_sequence(sequence) for sequence in target_rows])
    equal = {sequence: position for position, sequence in enumerate(target_rows)}
    chunks = [query_rows[start : start + _CHUNK] for start in range(0, len(query_rows), _CHUNK)]
    work = partial(_search, index, equal, neighbours=neighbours, candidates=candidates)
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
    """The distinct sequences, and the position of each sequence among them."""
    numbers: dict[str, int] = {}
    positions = [numbers.setdefault(sequence, len(numbers)) for sequence in sequences]
    return list(numbers), np.array(positions, np.int64)


@dataclass(frozen=True, kw_only=True)
class _Hits:
    """Significant alignments between distinct sequences, sorted by query and then by identity."""

    query: np.ndarray
    target: np.ndarray
    values: np.ndarray
    """(n, 3) identity, aligned identity, coverage."""

    @classmethod
    def joined(cls, pieces: Sequence[_Hits]) -> _Hits:
        empty = np.empty(0, np.int64)
        return cls(
            query=np.concatenate([empty, *(hits.query for hits in pieces)]),
            target=np.concatenate([empty, *(hits.target for hits in pieces)]),
            values=np.concatenate([np.empty((0, 3)), *(hits.values for hits in pieces)]),
        )

    def moved(self, by: int) -> _Hits:
        return _Hits(query=self.query + by, target=self.target, values=self.values)


def _of_copies(hits: _Hits, of_query: np.ndarray, of_target: np.ndarray, neighbours: int) -> Similarities:
    """Extends the hits of distinct sequences to all copies."""
    query, hit = _expand(hits.query, of_query)
    target, again = _expand(hits.target[hit], of_target)
    query, hit = query[again], hit[again]
    values = hits.values[hit]
    order = np.lexsort((target, -values[:, 0], query))
    query, target, values = query[order], target[order], values[order]
    keep = rank_within(query) < neighbours
    identity, aligned, coverage = values[keep].T
    return Similarities(
        query=query[keep],
        target=target[keep],
        identity=identity,
        aligned_identity=aligned,
        coverage=coverage,
    )


def _expand(distinct: np.ndarray, of_all: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The positions of all copies of the numbers in `distinct`.

    The second array has, for each position, the row of `distinct` that it comes from.
    """
    members = np.argsort(of_all, kind="stable")
    bounds = np.searchsorted(of_all[members], np.arange(of_all.max(initial=-1) + 2))
    rows, places = ranges(bounds[distinct], bounds[distinct + 1])
    return members[places], rows


def _search(
    index: WordIndex, equal: Mapping[str, int], queries: Sequence[str], *, neighbours: int, candidates: int
) -> _Hits:
    """The significant alignments of queries with their most similar targets."""
    encoded = [encode_sequence(sequence) for sequence in queries]
    found = [
        _with_equal(index.candidates(codes, candidates), equal.get(sequence))
        for codes, sequence in zip(encoded, queries, strict=True)
    ]
    query = np.repeat(np.arange(len(found)), [len(targets) for targets, _ in found])
    target = _concatenated(targets for targets, _ in found)
    diagonal = _concatenated(diagonals for _, diagonals in found)
    a, b = _sequences(encoded, query), _sequences(index.targets, target)
    scores = banded_scores(a, b, diagonal, half_width=_NARROW)
    lengths = np.array([len(codes) for codes in encoded], np.int64)
    # The score that chance alone reaches in a search through this many residues.
    bound = np.log(KAPPA * lengths * max(index.residues, 1) / MAX_EXPECTED) / LAMBDA
    same = np.array([equal.get(sequence, -1) for sequence in queries], np.int64)[query] == target
    keep = np.flatnonzero((scores > bound[query] - _SHORT_OF) | same)
    # The best few by score: identity is not known before the second alignment.
    keep = keep[np.lexsort((-scores[keep], ~same[keep], query[keep]))]
    keep = keep[rank_within(query[keep]) < neighbours]
    query, target, same = query[keep], target[keep], same[keep]
    a, b = _sequences(encoded, query), _sequences(index.targets, target)
    aligned = banded_alignments(a, b, diagonal[keep], half_width=_WIDE)
    values = _shares(aligned, np.minimum(lengths[query], index.lengths[target]))
    values[same] = 1.0  # unknown residues count as identical here
    order = np.lexsort((target, -values[:, 0], query))
    order = order[(aligned.score > bound[query])[order] | same[order]]
    return _Hits(query=query[order], target=target[order], values=values[order])


def _with_equal(found: tuple[np.ndarray, np.ndarray], equal: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Candidates and diagonals, with the target that equals the query.

    That target may have no words in the index.
    """
    if equal is None:
        return found
    different = found[0] != equal
    return np.append(found[0][different], equal), np.append(found[1][different], 0)


def _concatenated(arrays: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.int64), *arrays])


def _sequences(encoded: Sequence[np.ndarray], positions: np.ndarray) -> list[np.ndarray]:
    return [encoded[position] for position in positions.tolist()]


def _shares(aligned: Alignments, shorter: np.ndarray) -> np.ndarray:
    return np.stack(
        [
            aligned.identical / shorter,
            aligned.identical / np.maximum(aligned.length, 1),
            np.minimum(aligned.length / shorter, 1.0),
        ],
        axis=1,
    )


def similarity_clusters(
    sequences: Sequence[str], max_identity: float, *, advance: Callable[[int], None] = lambda _: None
) -> np.ndarray:
    """Clusters sequences by single linkage at a maximum identity.

    A group may have sequences that are not similar, but no sequence outside it is similar to any of them.

    Args:
        sequences: p sequences.
        max_identity: Between 0 and 1; sequences of more identity are linked.
        advance: Called with the number of sequences done since the last call.

    Returns:
        (p,) integers, the group of each.
    """
    from scipy.sparse import coo_array  # a quarter of a second to import
    from scipy.sparse.csgraph import connected_components

    # More than the search for the nearest needs, since the members of a large family must find each other.
    found = find_similar(sequences, sequences, neighbours=20, candidates=20, advance=advance)
    linked = found.identity > max_identity
    ends = (found.query[linked], found.target[linked])
    graph = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(len(sequences), len(sequences)))
    _, groups = connected_components(graph, directed=False)
    return np.asarray(groups, np.int64)


def cached_similar(
    queries: Sequence[str],
    targets: Sequence[str],
    data_dir: Path,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Similarities:
    """The result of `find_similar`, from `data_dir` if it is stored there.

    If a file is damaged or the folder cannot be written, the search is repeated; there is no error.

    Args:
        queries: q sequences.
        targets: t sequences.
        data_dir: Where the results are kept, under the digest of the sequences.
        advance: Called with the number of queries done since the last call; not for a stored result.
    """
    path = data_dir / FOLDER / f"{_digest(queries, targets)}.npz"
    found = _read(path)
    if found is not None:
        logger.info("the similar proteins are taken from an earlier search: %s", path)
        return found
    found = find_similar(queries, targets, advance=advance)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **asdict(found))
    try:
        write_file(path, buffer.getvalue())
    except OSError as error:
        logger.warning("the similar proteins cannot be stored for next time: %s: %s", path, error.strerror)
    return found


def _digest(queries: Sequence[str], targets: Sequence[str]) -> str:
    """sha256 of everything that determines the result."""
    found = hashlib.sha256(f"{VERSION} {len(queries)} {len(targets)}".encode())
    for sequence in (*queries, *targets):
        found.update(b"\n" + sequence.encode())
    return found.hexdigest()


def _read(path: Path) -> Similarities | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Similarities(**arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile) as error:
        unavailable = unavailable_error(error, path)
        reason = "cannot be read" if unavailable else "is damaged"
        logger.warning("%s %s (%s): the search is done again", path, reason, error)
        return None
