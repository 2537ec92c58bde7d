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
    """A result, the parts of the work that complete it, and the bytes that it holds until it is used."""

    result: T
    parts: Sequence[Callable[[], None]]
    nbytes: int


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
    ahead: deque[tuple[Job[T], list[Future[None]]]] = deque()
    held = in_use = 0
    try:
        following = next(waiting, None)
        while ahead or following:
            while following and (not ahead or (held + following.nbytes <= limit and len(ahead) < depth)):
                ahead.append((following, [pool.submit(part) for part in following.parts]))
                held += following.nbytes
                following = next(waiting, None)
            job, futures = ahead.popleft()
            for future in futures:
                future.result()
            held, in_use = held - in_use, job.nbytes
            yield job.result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
