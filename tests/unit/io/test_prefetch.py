"""Tests of prefetching: order, bounds, shutdown, and reuse of memory.

Prefetching stops with its consumer, and a buffer is used again only when nothing refers to it.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from ppi_train.io.prefetch import Buffers, Job, run_ahead


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def _jobs(count: int, drawn: list[int], nbytes: int = 10) -> Iterator[Job[list[int]]]:
    for number in range(count):
        drawn.append(number)
        result: list[int] = []
        parts = [lambda result=result, number=number: result.append(number) for _ in range(3)]
        yield Job(result, parts, nbytes)


def test_results_come_in_order_and_complete() -> None:
    results = list(run_ahead(_jobs(50, []), limit=100, depth=8))
    assert results == [[number] * 3 for number in range(50)]
    assert _threads() == []


# One more is drawn, to see whether it fits, and not begun.
@pytest.mark.parametrize(("limit", "depth", "ahead"), [(45, 100, 3), (1000, 2, 2), (10, 100, 1), (1, 100, 1)])
def test_no_more_is_begun_than_the_bounds_allow(limit: int, depth: int, ahead: int) -> None:
    drawn: list[int] = []
    for number, _ in enumerate(run_ahead(_jobs(20, drawn), limit=limit, depth=depth)):
        assert len(drawn) <= number + 1 + ahead + 1
    assert len(drawn) == 20


def test_an_error_is_raised_in_its_turn_and_ends_the_threads() -> None:
    def fail() -> None:
        raise OSError("the disk is gone")

    jobs = [Job(0, [], 1), Job(1, [lambda: time.sleep(0.05)], 1), Job(2, [fail], 1), Job(3, [], 1)]
    results = run_ahead(jobs, limit=100, depth=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)
    assert _threads() == []


def test_a_consumer_that_stops_early_leaves_no_thread_and_no_work_behind() -> None:
    done: list[int] = []

    def work() -> None:
        time.sleep(0.01)
        done.append(0)

    jobs = (Job(number, [work], 1) for number in range(1000))
    for number in run_ahead(jobs, limit=10_000, depth=500):
        assert len(_threads()) > 0
        if number == 3:
            break
    assert _threads() == []
    finished = len(done)
    assert finished < 100
    time.sleep(0.05)
    assert len(done) == finished


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
