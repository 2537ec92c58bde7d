"""Tests of prefetching: order, bounds, and shutdown with the consumer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from ppi_train.io.prefetch import Job, run_ahead


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
