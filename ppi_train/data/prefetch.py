"""Work done ahead of its consumer by threads, within bounds of memory and number."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

# Reads wait for the disk, so more threads than processors pay; they hold no lock while they read.
THREADS = 4


@dataclass(frozen=True)
class Job(Generic[T]):
    """A result, the parts of the work that complete it, and the bytes that it holds until it is used.

    Work that is `quick` is done when its turn comes: handing it to a thread would cost more.
    """

    result: T
    parts: Sequence[Callable[[], None]]
    nbytes: int
    quick: bool = False


class _Once:
    """Work that lets go of what it refers to when it is done: a queue may remember it for longer."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work: Callable[[], None] | None = work

    def __call__(self) -> None:
        work, self._work = self._work, None
        assert work is not None
        work()


def run_ahead(jobs: Iterable[Job[T]], *, limit: int, depth: int) -> Iterator[T]:
    """Yields the results in order, while threads work on those that follow.

    What a part raises is raised to the consumer in its turn. The threads end with the iteration,
    also where the consumer leaves it early.

    Args:
        jobs: Drawn one at a time, in the consumer's thread.
        limit: Bytes of the results that are in work, ready, or in the consumer's hands until it has the
            next; one is worked on whatever its size.
        depth: Jobs in work or ready, at most.
    """
    waiting = iter(jobs)
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="prefetch")
    ahead: deque[tuple[Job[T], list[tuple[_Once, Future[None] | None]]]] = deque()
    held = in_use = 0
    try:
        following = next(waiting, None)
        while ahead or following:
            while following and (not ahead or (held + following.nbytes <= limit and len(ahead) < depth)):
                parts = [_Once(part) for part in following.parts]
                begun = [(part, None if following.quick else pool.submit(part)) for part in parts]
                ahead.append((following, begun))
                held += following.nbytes
                following = next(waiting, None)
            job, begun = ahead.popleft()
            for part, future in begun:
                # What no thread has begun is done here: sooner than waiting for one on a busy machine.
                if future is None or future.cancel():
                    part()
                else:
                    future.result()
            held, in_use = held - in_use, job.nbytes
            yield job.result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
