"""Prefetching by threads, into memory that is used again.

`run_ahead` bounds the memory and the number of jobs in progress. Allocating new memory costs more time than a
read, so `Buffers` gives out the memory of earlier arrays once nothing refers to them.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")

# Reads wait for the disk, so more threads than processors help; they have no lock while they read.
THREADS = 4


class _Lease:
    """The owner of a buffer while an array uses it.

    The array and all views of it refer to this object, so that it is deleted only after all of them.
    """

    def __init__(self, buffer: np.ndarray) -> None:
        self.__array_interface__ = buffer.__array_interface__


class Buffers:
    """A pool of byte buffers.

    It has only as many buffers as were in use at the same time. Threads may take and release arrays
    concurrently.

    Args:
        size: Bytes of a buffer; a larger array gets memory of its own.
        grows: Instead, all later buffers are made a little larger than the largest array.
    """

    def __init__(self, size: int = 0, *, grows: bool = False) -> None:
        self._size, self._grows = size, grows
        self._free: list[np.ndarray] = []

    def held(self, nbytes: int) -> int:
        """Bytes of memory that an array of `nbytes` occupies."""
        return max(nbytes, self._size)

    def take(self, nbytes: int) -> np.ndarray:
        """An array (nbytes,) uint8 for the caller.

        The memory is reused after the last reference to the array or a view of it is gone.
        """
        if nbytes > self._size:
            if not self._grows:
                return np.empty(nbytes, dtype=np.uint8)
            # The next one is likely to be about as large.
            self._size = nbytes + nbytes // 8
            self._free.clear()
        try:
            buffer = self._free.pop()
        except IndexError:  # not checked before, since several threads may take buffers
            buffer = np.empty(self._size, dtype=np.uint8)
        if len(buffer) < nbytes:  # one from before the last growth
            buffer = np.empty(self._size, dtype=np.uint8)
        lease = _Lease(buffer)
        # Until then the finalizer keeps the buffer, even if this object is deleted.
        weakref.finalize(lease, self._free.append, buffer)
        return np.asarray(lease)[:nbytes]


@dataclass(frozen=True)
class Job(Generic[T]):
    """A result and the work that completes it.

    `parts` are the pieces of the work, `nbytes` the memory that the result occupies until it is used. Work
    that is `quick` is done by the consumer's thread: handing it to another thread would cost more.
    """

    result: T
    parts: Sequence[Callable[[], None]]
    nbytes: int
    quick: bool = False


class _Once:
    """Work that runs once and then drops its references.

    A queue may keep the object for longer.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work: Callable[[], None] | None = work

    def __call__(self) -> None:
        work, self._work = self._work, None
        assert work is not None
        work()


def run_ahead(jobs: Iterable[Job[T]], *, limit: int, depth: int) -> Iterator[T]:
    """Yields results in order while threads work on the next ones.

    An exception of a part is raised to the consumer when its result is due. The threads end with the
    iteration, also if the consumer leaves it early.

    Args:
        jobs: Taken one at a time, in the consumer's thread.
        limit: Bytes of the results that are in work, ready, or in use by the consumer until it asks for
            the next; there is always one in work, even a larger one.
        depth: Jobs in work or ready, at most.
    """
    waiting = iter(jobs)
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="prefetch")
    ahead: deque[tuple[Job[T], list[tuple[_Once, Future[None] | None]]]] = deque()
    occupied = in_use = 0
    try:
        following = next(waiting, None)
        while ahead or following:
            while following and (not ahead or (occupied + following.nbytes <= limit and len(ahead) < depth)):
                parts = [_Once(part) for part in following.parts]
                begun = [(part, None if following.quick else pool.submit(part)) for part in parts]
                ahead.append((following, begun))
                occupied += following.nbytes
                following = next(waiting, None)
            job, begun = ahead.popleft()
            for part, future in begun:
                # Work that no thread has begun is done here: faster than waiting on a busy machine.
                if future is None or future.cancel():
                    part()
                else:
                    future.result()
            occupied, in_use = occupied - in_use, job.nbytes
            yield job.result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
