"""Tests of sorted numbers of pairs, packed with their rows or not."""

from __future__ import annotations

import numpy as np
import pytest

from ppi_train.data import pair_keys
from ppi_train.data.pair_keys import among, distinct, repeated_rows, sorted_keys


def test_keys_too_large_to_be_packed_are_sorted_alike() -> None:
    keys = np.random.default_rng(0).integers(0, 1000, 5000)
    for ordered, order in (sorted_keys(keys.copy(), 1000), sorted_keys(keys.copy(), 1 << 60)):
        assert np.array_equal(order, np.argsort(keys, kind="stable"))
        assert np.array_equal(ordered, np.sort(keys))


@pytest.mark.parametrize("above", [300, 1 << 60])
@pytest.mark.parametrize("count", [0, 1, 2, 50, 5000])
def test_rows_that_repeat_a_key(monkeypatch: pytest.MonkeyPatch, above: int, count: int) -> None:
    monkeypatch.setattr(pair_keys, "_PART", 7)
    keys = np.random.default_rng(count).integers(0, 300, count)
    first = {key: row for row, key in reversed(list(enumerate(keys.tolist())))}
    expected = [(row, first[key]) for row, key in enumerate(keys.tolist()) if first[key] != row]
    rows, firsts = repeated_rows(keys.copy(), above)
    assert list(zip(rows.tolist(), firsts.tolist(), strict=True)) == expected


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_distinct_and_among_are_those_of_numpy(count: int) -> None:
    draw = np.random.default_rng(0)
    keys, others = draw.integers(0, 3000, (count, 2)), draw.integers(0, 3000, 700)
    assert np.array_equal(distinct(keys), np.unique(keys))
    assert np.array_equal(among(others, distinct(keys)), np.isin(others, keys))
