"""Tests of sequence windows: coverage, overlap, and batches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ppi_train.embeddings.embedders.base import Window, batches_by_length, windows_of


@pytest.mark.parametrize(("size", "overlap"), [(16, 4), (1022, 256), (2, 1), (1, 0)])
def test_every_residue_is_kept_once_from_windows_that_overlap(size: int, overlap: int) -> None:
    for length in (1, size, size + 1, 2 * size - overlap, 2 * size - overlap + 1, 7 * size + 3):
        windows = windows_of(3, length, size=size, overlap=overlap)
        kept = [place for window in windows for place in range(window.keep_from, window.keep_to)]
        assert kept == list(range(length))
        assert all(window.sequence == 3 and len(window) == min(size, length) for window in windows)
        assert all(
            window.start <= window.keep_from < window.keep_to <= window.end <= length for window in windows
        )
        pairs = list(itertools.pairwise(windows))
        assert all(left.end - right.start >= overlap for left, right in pairs)
        # Neighbours meet in the middle of what they share.
        assert all(abs((left.end - left.keep_to) - (right.keep_from - right.start)) <= 1
                   for left, right in pairs)  # fmt: skip


def test_no_more_windows_than_it_takes() -> None:
    assert len(windows_of(0, 1022, size=1022, overlap=256)) == 1
    assert len(windows_of(0, 1022 + 766, size=1022, overlap=256)) == 2
    assert len(windows_of(0, 1022 + 767, size=1022, overlap=256)) == 3


def test_batches_hold_every_window_once_within_the_bound() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, size=200)
    windows = [Window(number, 0, int(length), 0, int(length)) for number, length in enumerate(lengths)]
    batches = batches_by_length(windows, residues=50)
    assert sorted(window.sequence for batch in batches for window in batch) == list(range(200))
    # Only a window that is over the bound by itself makes a batch over the bound.
    assert all(len(batch) == 1 or len(batch) * max(map(len, batch)) <= 50 for batch in batches)
    assert len(batches) < 200
