"""Tests of the similarity cache: one search, same result, repair of damage."""

from __future__ import annotations

import os
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from ppi_train.data.similarity.search import FOLDER, Similarities, cached_similar, find_similar

RNG = np.random.default_rng(0)
TARGETS = ["".join(RNG.choice(list("ACDEFGHIKLMNPQRSTVWY"), 120)) for _ in range(5)]
QUERIES = [TARGETS[3][:100], "".join(RNG.choice(list("ACDEFGHIKLMNPQRSTVWY"), 90))]


def same(first: Similarities, second: Similarities) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(astuple(first), astuple(second), strict=True))


def test_a_second_search_is_read_and_another_one_is_not(tmp_path: Path) -> None:
    told: list[int] = []
    expected = find_similar(QUERIES, TARGETS)
    assert expected.target.tolist() == [3]
    assert same(cached_similar(QUERIES, TARGETS, tmp_path, advance=told.append), expected)
    assert sum(told) == 2
    assert same(cached_similar(QUERIES, TARGETS, tmp_path, advance=told.append), expected)
    assert sum(told) == 2
    moved = cached_similar(QUERIES, TARGETS[1:], tmp_path, advance=told.append)
    assert moved.target.tolist() == [2]
    assert sum(told) == 4


@pytest.mark.parametrize("kept", [b"", b"PK\x03\x04 no archive", "cut", "other"])
def test_what_is_damaged_is_searched_for_again(tmp_path: Path, kept: bytes | str) -> None:
    expected = cached_similar(QUERIES, TARGETS, tmp_path)
    (path,) = (tmp_path / FOLDER).iterdir()
    if kept == "other":
        np.savez(path, query=np.zeros(1))
    else:
        path.write_bytes(path.read_bytes()[:-30] if isinstance(kept, str) else kept)
    assert same(cached_similar(QUERIES, TARGETS, tmp_path), expected)
    told: list[int] = []
    cached_similar(QUERIES, TARGETS, tmp_path, advance=told.append)
    assert not told  # it was mended


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_costs_no_more_than_time(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert same(cached_similar(QUERIES, TARGETS, tmp_path), find_similar(QUERIES, TARGETS))
