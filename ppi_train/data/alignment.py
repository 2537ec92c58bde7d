"""Local alignment of many pairs of sequences at once.

Alignments are unrestricted or within a band around one diagonal of each pair. This is Smith and Waterman
1981 with the affine gaps of Gotoh 1982, in numpy: the pairs of a batch go through their tables in parallel,
antidiagonal by antidiagonal, so that a step of Python fills thousands of cells. Where the alignment itself
is needed, a cell has score, identical residues and length in a single integer, in this order of importance;
adding and taking maxima of such integers keeps all three without a traceback through the table.

Aligners in C are faster, but the one that is fast enough (parasail) has no wheel for ARM, and Biopython's
takes half a minute for what this does in a few seconds.

Legend of shapes: n pairs, r rows (residues of `a`), c columns (of `b`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# BLAST's defaults for proteins, for which the statistics below hold: a gap of k residues costs 11 + k.
GAP_OPEN = 12
GAP_EXTEND = 1
LAMBDA = 0.267
KAPPA = 0.041

LETTERS = "ARNDCQEGHILKMFPSTWYVBZX"
PADDING = len(LETTERS)
# Cells that one step fills: few enough for the cache, many enough for Python.
_STEP = 8192

# Henikoff and Henikoff 1992, in the order of LETTERS; a lower triangle.
_BLOSUM62 = """
 4
-1  5
-2  0  6
-2 -2  1  6
 0 -3 -3 -3  9
-1  1  0  0 -3  5
-1  0  0  2 -4  2  5
 0 -2  0 -1 -3 -2 -2  6
-2  0  1 -1 -3  0  0 -2  8
-1 -3 -3 -3 -1 -3 -3 -4 -3  4
-1 -2 -3 -4 -1 -2 -3 -4 -3  2  4
-1  2  0 -1 -3  1  1 -2 -1 -3 -2  5
-1 -1 -2 -3 -1  0 -2 -3 -2  1  2 -1  5
-2 -3 -3 -3 -2 -3 -3 -3 -1  0  0 -3  0  6
-1 -2 -2 -1 -3 -1 -1 -2 -2 -3 -3 -1 -2 -4  7
 1 -1  1  0 -1  0  0  0 -1 -2 -2  0 -1 -2 -1  4
 0 -1  0 -1 -1 -1 -1 -2 -2 -1 -1 -1 -1 -2 -1  1  5
-3 -3 -4 -4 -2 -2 -3 -2 -2 -3 -2 -3 -1  1 -4 -3 -2 11
-2 -2 -2 -3 -2 -1 -2 -3  2 -1 -1 -2 -1  3 -3 -2 -2  2  7
 0 -3 -3 -3 -1 -2 -2 -3 -3  3  1 -2  1 -1 -2 -2  0 -3 -1  4
-2 -1  3  4 -3  0  1 -1  0 -3 -4  0 -3 -3 -2  0 -1 -4 -3 -3  4
-1  0  0  1 -3  3  4 -2  0 -3 -3  1 -1 -3 -1  0 -1 -3 -2 -2  1  4
 0 -1 -1 -1 -2 -1 -1 -1 -1 -1 -1 -1 -1 -1 -2  0  0 -2 -1 -1 -1 -1 -1
"""
# U, O and J count as the residues that they are made from or stand for.
_CODES = np.full(256, LETTERS.index("X"), np.uint8)
for _position, _letter in enumerate(LETTERS):
    _CODES[ord(_letter)] = _position
for _rare, _usual in ("UC", "OK", "JL"):
    _CODES[ord(_rare)] = LETTERS.index(_usual)


class Alignments(NamedTuple):
    """The best local alignment of each pair, each array (n,) int64.

    Among alignments with the best score it is the one with the most identical residues, and among these
    the shortest; all values are 0 if no alignment scores above 0.
    """

    score: np.ndarray
    identical: np.ndarray
    length: np.ndarray


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """What a step adds to a cell.

    `table` is flat, indexed by a pair of codes.
    """

    table: np.ndarray
    gap_open: int
    gap_extend: int


# Fields of a cell: up to 2**18 residues long, and a score of 11 for each.
_FIELD = 18


def _substitutions() -> np.ndarray:
    rows = [[int(score) for score in line.split()] for line in _BLOSUM62.strip().splitlines()]
    size = len(LETTERS) + 1
    # The padding of a sequence must end every alignment.
    table = np.full((size, size), -1_000, np.int64)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
        table[: len(row), number] = row
    return table


def _score_weights() -> _Weights:
    return _Weights(table=_substitutions().astype(np.int32).ravel(), gap_open=GAP_OPEN, gap_extend=GAP_EXTEND)


def _full_weights() -> _Weights:
    table = _substitutions()
    identical = np.eye(len(table), dtype=np.int64)
    # An unknown residue is identical to no residue.
    unknown = [LETTERS.index(letter) for letter in "BZX"]
    identical[unknown, unknown] = 0
    score = 1 << 2 * _FIELD
    return _Weights(
        table=(table * score + (identical << _FIELD) - 1).ravel(),
        gap_open=GAP_OPEN * score + 1,
        gap_extend=GAP_EXTEND * score + 1,
    )


_SCORE, _FULL = _score_weights(), _full_weights()


def encode_sequence(sequence: str) -> np.ndarray:
    """Encodes a sequence as (length,) uint8 positions in `LETTERS`.

    U, O and J count as C, K and L; any other unknown letter counts as X.
    """
    return _CODES[np.frombuffer(sequence.encode("ascii"), np.uint8)]


def pair_scores(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The substitution scores of two encoded sequences, (length,) int32."""
    scores: np.ndarray = _SCORE.table[a.astype(np.intp) * (PADDING + 1) + b]
    return scores


def banded_scores(
    a: Sequence[np.ndarray], b: Sequence[np.ndarray], diagonals: np.ndarray, *, half_width: int
) -> np.ndarray:
    """Scores of the best local alignments within a band.

    BLOSUM62 is used, and a gap of k residues costs 11 + k.

    Args:
        a: n encoded sequences.
        b: n encoded sequences.
        diagonals: (n,) integers: residue i of `a` is expected opposite residue i + diagonal of `b`.
        half_width: The greatest distance in residues of `b` from there.

    Returns:
        (n,) int32, at most the score without a band.
    """
    return _in_batches(a, b, _Bands.around(a, b, diagonals, half_width), _SCORE)


def banded_alignments(
    a: Sequence[np.ndarray], b: Sequence[np.ndarray], diagonals: np.ndarray, *, half_width: int
) -> Alignments:
    """The best local alignments within a band.

    The arguments are those of `banded_scores`.
    """
    return _decoded(_in_batches(a, b, _Bands.around(a, b, diagonals, half_width), _FULL))


def local_alignments(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Alignments:
    """The best local alignments of pairs of encoded sequences.

    BLOSUM62 is used, and a gap of k residues costs 11 + k.
    """
    return _decoded(_in_batches(a, b, _Bands.whole(a, b), _FULL))


def _decoded(cells: np.ndarray) -> Alignments:
    mask = (1 << _FIELD) - 1
    length = -cells & mask
    above = (cells + length) >> _FIELD
    return Alignments(score=above >> _FIELD, identical=above & mask, length=length)


@dataclass(frozen=True, kw_only=True)
class _Bands:
    """The part of each pair's table that is filled.

    This is `rows` rows of a from `first_a` on, and `columns` columns of b from `first_b` on. `first_b` may
    lie before the start of b. In coordinates that begin there, cells with column - row from 0 to `width`
    are filled; all cells if `width` is None.
    """

    rows: np.ndarray
    first_a: np.ndarray
    first_b: np.ndarray
    columns: np.ndarray
    width: int | None

    @classmethod
    def whole(cls, a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> _Bands:
        rows, columns = _lengths(a), _lengths(b)
        start = np.zeros_like(rows)
        return cls(rows=rows, first_a=start, first_b=start, columns=columns, width=None)

    @classmethod
    def around(
        cls, a: Sequence[np.ndarray], b: Sequence[np.ndarray], diagonals: np.ndarray, half_width: int
    ) -> _Bands:
        first = np.maximum(0, -diagonals - half_width)
        rows = np.minimum(_lengths(a), _lengths(b) - diagonals + half_width) - first
        rows = np.maximum(rows, 0)
        return cls(
            rows=rows,
            first_a=first,
            first_b=first + diagonals - half_width,
            columns=rows + 2 * half_width,
            width=2 * half_width,
        )


def _lengths(sequences: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([len(sequence) for sequence in sequences], np.int64)


def _in_batches(
    a: Sequence[np.ndarray], b: Sequence[np.ndarray], bands: _Bands, weights: _Weights
) -> np.ndarray:
    """The best cell of each pair.

    Pairs of similar size form a batch, so that no pair waits for a longer one.
    """
    best = np.zeros(len(bands.rows), weights.table.dtype)
    order = np.lexsort((bands.columns, bands.rows // 64))
    start = 0
    while start < len(order):
        rows = int(bands.rows[order[start]]) + 64
        across = rows if bands.width is None else min(rows, bands.width // 2 + 1)
        batch = order[start : start + max(1, _STEP // across)]
        start += len(batch)
        of_a = np.full((int(bands.rows[batch].max()), len(batch)), PADDING, np.intp)
        of_b = np.full((int(bands.columns[batch].max()), len(batch)), PADDING, np.intp)
        for lane, pair in enumerate(batch.tolist()):
            first, size = int(bands.first_a[pair]), int(bands.rows[pair])
            of_a[:size, lane] = a[pair][first : first + size]
            left = int(bands.first_b[pair])
            piece = b[pair][max(left, 0) : max(left + len(of_b), 0)]
            of_b[max(-left, 0) : max(-left, 0) + len(piece), lane] = piece
        best[batch] = _best_cells(of_a, of_b, bands.width, weights)
    return best


def _best_cells(of_a: np.ndarray, of_b: np.ndarray, width: int | None, weights: _Weights) -> np.ndarray:
    """The best cell of each pair of a batch, (n,).

    `of_a` (r, n) and `of_b` (c, n) are codes. On the antidiagonal row + column = s, the neighbours of row i
    are i (to its left) and i - 1 (above) on s - 1, and i - 1 on s - 2. Row i is at index i + 1 of each
    array, with a border at either end.
    """
    rows, columns = len(of_a), len(of_b)
    kind = weights.table.dtype
    shape = (rows + 2, of_a.shape[1])
    worst = kind.type(np.iinfo(kind).min // 2)
    last, before, cells, best = (np.zeros(shape, kind) for _ in range(4))
    across, down = np.full(shape, worst), np.full(shape, worst)
    letters = of_a * (PADDING + 1)
    # Reversed, so that the values of an antidiagonal are contiguous.
    facing = np.ascontiguousarray(of_b[::-1])
    for total in range(rows + columns - 1):
        low, high = max(0, total - columns + 1), min(rows, total + 1)
        if width is not None:
            low, high = max(low, (total - width + 1) // 2), min(high, total // 2 + 1)
        here, above = slice(low + 1, high + 1), slice(low, high)
        begin = columns - 1 - total + low
        new = cells[here]
        index = facing[begin : begin + high - low] + letters[above]
        np.take(weights.table, index, out=new, mode="clip")
        new += before[above]
        gap = np.maximum(last[above] - weights.gap_open, down[above] - weights.gap_extend)
        down[here] = gap
        np.maximum(new, gap, out=new)
        gap = np.maximum(last[here] - weights.gap_open, across[here] - weights.gap_extend)
        across[here] = gap
        np.maximum(new, gap, out=new)
        np.maximum(new, 0, out=new)
        np.maximum(best[here], new, out=best[here])
        # Later antidiagonals read beyond the ends of this one, where no earlier values may remain.
        for end in (low, high + 1):
            cells[end], across[end], down[end] = 0, worst, worst
        before, last, cells = last, cells, before
    found: np.ndarray = best.max(axis=0)
    return found
