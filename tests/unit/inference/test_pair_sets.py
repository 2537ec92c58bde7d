"""Tests of sets of pairs: looked up both ways round, by pair and by block."""

from __future__ import annotations

import itertools

import numpy as np

from ppi_train.inference.pair_sets import PairSet

# Proteins 1 and 3 are copies of one sequence; identity 9 is of no protein.
IDENTITIES = np.array([4, 7, 2, 7, 0])
PAIRS = np.array([(7, 2), (0, 0), (9, 4), (9, 9)])
WANTED = {(1, 2), (2, 1), (3, 2), (2, 3), (4, 4)}


def members(pairs: PairSet) -> set[tuple[int, int]]:
    a, b = np.array(list(itertools.product(range(5), repeat=2))).T
    return {(int(x), int(y)) for x, y in zip(*(ends[pairs.contains(a, b)] for ends in (a, b)), strict=True)}


def test_pairs_are_those_of_all_proteins_of_an_identity() -> None:
    assert members(PairSet.of_identities(IDENTITIES, PAIRS)) == WANTED


def test_copies_of_one_sequence_that_is_paired_with_itself_are_pairs() -> None:
    found = members(PairSet.of_identities(IDENTITIES, np.array([(7, 7)])))
    assert found == {(1, 1), (1, 3), (3, 1), (3, 3)}


def test_the_cells_of_a_block() -> None:
    pairs = PairSet.of_identities(IDENTITIES, PAIRS)
    columns = np.array([0, 2, 4])
    rows, places = pairs.cells(slice(1, 5), columns)
    found = {(int(row) + 1, int(columns[place])) for row, place in zip(rows, places, strict=True)}
    assert found == {pair for pair in WANTED if pair[0] >= 1 and pair[1] in columns}


def test_sets_are_joined_and_told_apart() -> None:
    first, second = (PairSet.of_identities(IDENTITIES, PAIRS[rows]) for rows in ([0], [1]))
    both = PairSet.of_identities(IDENTITIES, PAIRS)
    assert members(first | second) == WANTED
    assert (first | second).digest == both.digest
    assert len({first.digest, second.digest, both.digest}) == 3


def test_no_pairs() -> None:
    assert members(PairSet.of_identities(IDENTITIES, np.empty((0, 2), np.int64))) == set()
