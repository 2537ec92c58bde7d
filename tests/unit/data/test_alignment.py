"""Tests of alignments against Biopython and a plain Python table."""

from __future__ import annotations

import numpy as np
import pytest
from Bio import Align
from Bio.Align import substitution_matrices

from ppi_train.data.alignment import (
    GAP_EXTEND,
    GAP_OPEN,
    LETTERS,
    banded_alignments,
    banded_scores,
    encode_sequence,
    local_alignments,
    pair_scores,
)

BLOSUM62 = substitution_matrices.load("BLOSUM62")
RESIDUES = list("ACDEFGHIKLMNPQRSTVWY")
SCORES = {(first, second): int(BLOSUM62[first][second]) for first in RESIDUES for second in RESIDUES}
NOTHING = (-(10**6), 0, 0)
Cell = tuple[int, int, int]


def random_sequence(rng: np.random.Generator, length: int) -> str:
    return "".join(rng.choice(RESIDUES, length))


def relative(rng: np.random.Generator, sequence: str, changed: float) -> str:
    """The sequence with residues replaced, and now and then some deleted or inserted."""
    made = ""
    for residue in sequence:
        chance = rng.random()
        if chance < changed * 0.1:
            made += random_sequence(rng, int(rng.integers(1, 8)))
        elif chance > changed * 0.2:
            made += str(rng.choice(RESIDUES)) if chance < changed else residue
    return made or "M"


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(40):
        sequence = random_sequence(rng, int(rng.integers(5, 70)))
        before = random_sequence(rng, int(rng.integers(0, 30)))
        made.append((sequence, before + relative(rng, sequence, number / 40)))
    return [*made, ("MXBZU", "MXBZUOJ"), ("W", "A"), ("AAAA", "A")]


def encoded(pairs: list[tuple[str, str]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [encode_sequence(first) for first, _ in pairs], [encode_sequence(second) for _, second in pairs]


def test_the_substitution_scores_are_blosum62() -> None:
    for letter in LETTERS:
        scores = pair_scores(np.repeat(encode_sequence(letter), len(LETTERS)), encode_sequence(LETTERS))
        assert scores.tolist() == [BLOSUM62[letter][other] for other in LETTERS]


def test_scores_are_those_of_biopython(pairs: list[tuple[str, str]]) -> None:
    aligner = Align.PairwiseAligner(
        mode="local",
        substitution_matrix=BLOSUM62,
        open_gap_score=-GAP_OPEN,
        extend_gap_score=-GAP_EXTEND,
    )
    usual = str.maketrans("UOJ", "CKL")
    wanted = [aligner.score(a.translate(usual), b.translate(usual)) for a, b in pairs]
    assert local_alignments(*encoded(pairs)).score.tolist() == wanted


def plain_alignment(a: str, b: str) -> Cell:
    """The largest (score, identical residues, minus length) over all local alignments, cell by cell."""

    def add(cell: Cell, score: int, identical: int = 0) -> Cell:
        return cell[0] + score, cell[1] + identical, cell[2] - 1

    best: Cell = (0, 0, 0)
    rows: list[list[Cell]] = [[(0, 0, 0)] * (len(b) + 1)]
    down: list[Cell] = [NOTHING] * (len(b) + 1)
    for residue in a:
        row, across = [(0, 0, 0)], NOTHING
        for place, other in enumerate(b, start=1):
            faced = SCORES[residue, other]
            across = max(add(row[-1], -GAP_OPEN), add(across, -GAP_EXTEND))
            down[place] = max(add(rows[-1][place], -GAP_OPEN), add(down[place], -GAP_EXTEND))
            same = int(residue == other)
            row.append(max((0, 0, 0), add(rows[-1][place - 1], faced, same), across, down[place]))
            best = max(best, row[-1])
        rows.append(row)
    return best


def test_identical_residues_and_length_are_those_of_a_plain_table(pairs: list[tuple[str, str]]) -> None:
    standard = [(a, b) for a, b in pairs[::2] if set(a + b) <= set(RESIDUES)]
    found = local_alignments(*encoded(standard))
    wanted = [plain_alignment(a, b) for a, b in standard]
    assert list(zip(found.score, found.identical, -found.length, strict=True)) == wanted


def test_a_band_that_holds_all_is_exact_and_a_narrower_one_never_scores_more(
    pairs: list[tuple[str, str]],
) -> None:
    a, b = encoded(pairs)
    diagonals = np.array([len(second) - len(first) for first, second in zip(a, b, strict=True)])
    exact = local_alignments(a, b)
    whole = banded_alignments(a, b, diagonals, half_width=300)
    assert all((first == second).all() for first, second in zip(exact, whole, strict=True))
    before = np.zeros(len(a), np.int64)
    for half_width in (0, 3, 20, 300):
        scores = banded_scores(a, b, diagonals, half_width=half_width)
        assert (scores == banded_alignments(a, b, diagonals, half_width=half_width).score).all()
        assert (scores >= before).all()
        before = scores
    assert (before == exact.score).all()
    assert (banded_scores(a, b, diagonals, half_width=3) < exact.score).any()


def test_the_narrowest_band_is_a_diagonal_without_gaps() -> None:
    a, b = encode_sequence("WWWACDEFWWW"), encode_sequence("KKACDEF")
    scores = banded_scores([a, a], [b, b], np.array([-1, 0]), half_width=0)
    assert scores.tolist() == [
        sum(int(BLOSUM62[letter][letter]) for letter in "ACDEF"),
        int(BLOSUM62["D"]["E"]),
    ]


def test_pairs_that_do_not_meet_in_their_band_score_nothing() -> None:
    a, b = encode_sequence("ACDEFGH"), encode_sequence("ACDEFGH")
    assert banded_scores([a, a], [b, b], np.array([50, -50]), half_width=3).tolist() == [0, 0]
