"""Tests that buffers are reused only when nothing refers to them."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from ppi_train.io.prefetch import Buffers


def test_memory_is_used_again_when_its_last_view_is_gone() -> None:
    buffers = Buffers(1000)
    first = buffers.take(800)
    address = first.ctypes.data
    view = first.view(np.float16).reshape(-1, 4)[10:20]
    del first
    assert buffers.take(10).ctypes.data != address
    del view
    assert buffers.take(1000).ctypes.data == address


@pytest.mark.parametrize(
    "keep", [memoryview, torch.from_numpy, lambda array: np.split(array, [3])[1], np.asarray]
)
def test_memory_that_others_refer_to_is_not_used_again(keep: object) -> None:
    buffers = Buffers(1000)
    first = buffers.take(100)
    first[:] = 7
    kept = keep(first)  # type: ignore[operator]
    del first
    gc.collect()
    for _ in range(5):
        buffers.take(1000)[:] = 0
    assert {int(value) for value in kept} == {7}


def test_memory_outlives_what_handed_it_out() -> None:
    buffers = Buffers(1000)
    first = buffers.take(100)
    first[:] = 7
    del buffers
    gc.collect()
    np.zeros(1000, np.uint8)
    assert (first == 7).all()


def test_what_is_larger_gets_memory_of_its_own() -> None:
    buffers = Buffers(1000)
    assert [len(buffers.take(nbytes)) for nbytes in (1000, 1001)] == [1000, 1001]
    assert [buffers.held(nbytes) for nbytes in (1, 1000, 1001)] == [1000, 1000, 1001]


def test_growing_buffers_are_as_large_as_the_largest_array_so_far_and_used_again() -> None:
    buffers = Buffers(grows=True)
    small, large = buffers.take(100), buffers.take(1000)
    assert buffers.held(1) == 1125
    address = large.ctypes.data
    # The small one's memory is too small for what comes now.
    del large, small
    taken = [buffers.take(1100) for _ in range(2)]
    assert [len(buffer) for buffer in taken] == [1100, 1100]
    assert address in [buffer.ctypes.data for buffer in taken]
