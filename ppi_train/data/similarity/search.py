"""Search for similar proteins between two sets of sequences.

The candidates of `word_index.py` are aligned within a band around their diagonal; those that score nearly
well enough to count are aligned again within a band of 513 residues, where whole domains may be missing
from either.

*Identity* is, as in CD-HIT (Li and Godzik 2006), the number of identical residues in the alignment divided
by the length of the shorter sequence: a shared motif does not make two long proteins alike. An alignment
counts if fewer than one in a thousand as good is expected by chance in the whole search of a protein (Karlin
and Altschul 1990). Relatives of less than some 25% identity are often missed, and those of long repeats
underestimated; docs/splits.md has the figures.

Legend of shapes: q queries, t targets, n alignments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from ppi_train.data.similarity.alignment import (
    KAPPA,
    LAMBDA,
    Alignments,
    banded_alignments,
    banded_scores,
    encode_sequence,
)
from ppi_train.data.similarity.word_index import WordIndex, ranges, rank_within

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
