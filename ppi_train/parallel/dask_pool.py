"""A pool whose tasks run on the workers of a Dask cluster."""

from __future__ import annotations

import logging
import queue
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from itertools import islice
from typing import Any, TypeVar
from uuid import uuid4

from distributed import Client, Future, KilledWorker

from ppi_train.errors import ClusterError, UserError, first_line
from ppi_train.parallel.options import TASKS_AHEAD
from ppi_train.parallel.worker import SAME_VERSION, build, perform

logger = logging.getLogger(__name__)

J = TypeVar("J")
T = TypeVar("T")

# How often it is seen whether there are workers, and how many.
POLL_SECONDS = 2.0


class DaskPool:
    """Does the tasks on the workers of a cluster; see `Pool`.

    Args:
        client: Connected to the scheduler.
        patience: Seconds without any worker after which the work is given up.
        refill: Called every few seconds; asks the cluster for workers in place of lost ones.
    """

    remote = True

    def __init__(
        self, client: Client, *, patience: float, refill: Callable[[], object] = lambda: None
    ) -> None:
        self._client, self._patience, self._refill = client, patience, refill
        self.retried_tasks = 0
        self.dashboard: str | None = client.dashboard_link or None
        self._keys: set[str] = set()
        self._workers, self._counted_at, self._seen_at = 0, 0.0, time.monotonic()
        client.subscribe_topic("all", self._on_event)

    @property
    def workers(self) -> int:
        return self._workers or self._count_workers()

    def _count_workers(self) -> int:
        """Counts the workers, at most once in POLL_SECONDS.

        Raises:
            ClusterError: there have been none for longer than the patience, or the scheduler is gone.
        """
        now = time.monotonic()
        if now - self._counted_at < POLL_SECONDS:
            return self._workers
        if self._client.status != "running":
            raise _lost_scheduler_error(self._client)
        self._workers, self._counted_at = len(self._client.nthreads()), now
        self._refill()
        if self._workers:
            self._seen_at = now
        elif now - self._seen_at > self._patience:
            raise ClusterError(
                "no worker is left",
                where=self._client.scheduler.address,
                got=f"none for {self._patience:.0f} s",
                remedy="start workers, and give the same command again: it goes on",
            )
        return self._workers

    def _on_event(self, event: tuple[float, dict[str, Any]]) -> None:
        _, message = event
        if message.get("action") == "remove-worker" and not message["expected"]:
            # A worker does one task at a time: others only waited there.
            begun = bool(self._keys.intersection(message["processing-tasks"]))
            again = begun + len(self._keys.intersection(message["lost-computed-tasks"]))
            self.retried_tasks += again
            logger.warning("worker %s was lost; tasks to be done again: %s", message["worker"], again)

    def run(
        self, function: Callable[[J, int], T], job: J, numbers: Iterable[int], *, ahead: int = TASKS_AHEAD
    ) -> Iterator[tuple[int, T]]:
        waiting, pending = iter(numbers), dict[int, Future]()
        finished: queue.SimpleQueue[int] = queue.SimpleQueue()
        name = f"{function.__name__}-{uuid4().hex[:12]}"

        def submit() -> None:
            room = ahead * max(self._count_workers(), 1) - len(pending)
            for number in islice(waiting, max(room, 0)):
                key = f"{name}-{number}"
                self._keys.add(key)
                future = self._client.submit(perform, build(), function, job, number, key=key, pure=False)
                pending[number] = future
                future.add_done_callback(lambda _, number=number: finished.put(number))

        try:
            submit()
            while pending:
                number = self._next(finished)
                result = self._result(number, pending[number])
                self._keys.discard(pending.pop(number).key)
                yield number, result
                submit()  # what is drawn next may depend on the result
        finally:
            self._client.cancel(list(pending.values()))

    def _next(self, finished: queue.SimpleQueue[int]) -> int:
        while True:
            try:
                return finished.get(timeout=POLL_SECONDS)
            except queue.Empty:
                self._count_workers()

    def _result(self, number: int, future: Future) -> Any:
        while True:
            try:
                return future.result(timeout=POLL_SECONDS)
            except KilledWorker as error:
                raise ClusterError(
                    "a task ended every worker that tried it",
                    where=f"task {number}, last on worker {error.last_worker.address}",
                    got=f"{error.allowed_failures + 1} workers lost",
                    remedy="see what ended them, such as a lack of memory (dmesg, or the cluster's logs); "
                    "with fewer workers on a machine each has more",
                ) from None
            except CancelledError:
                raise _lost_scheduler_error(self._client) from None
            except TimeoutError:
                if future.status == "error":
                    raise  # the task's own
                self._count_workers()  # its worker was lost with the result; another makes it again

    def everywhere(self, function: Callable[..., T], *arguments: object) -> dict[str, T]:
        return dict(self._client.run(function, *arguments))

    def check_workers(self) -> None:
        """Refuses workers that would compute something else, or several tasks at a time.

        Raises:
            ClusterError: naming the worker, and what was found and expected.
        """
        own = "{}.{}".format(*sys.version_info)
        for address, found in self._client.get_versions()["workers"].items():
            python = ".".join(found["host"]["python"].split(".")[:2])
            if python != own:
                raise ClusterError(
                    "a worker runs another version of Python",
                    where=f"worker {address}",
                    got=f"Python {python}",
                    expected=f"Python {own}",
                    remedy="start the workers with the same Python as this process",
                )
        for address, threads in self._client.nthreads().items():
            if threads != 1:
                raise ClusterError(
                    "a worker does several tasks at a time",
                    where=f"worker {address}",
                    got=f"{threads} threads",
                    expected="1 thread",
                    remedy="start it with `dask worker --nthreads 1`; a task has OMP_NUM_THREADS threads",
                )
        for address, answer in self._client.run(build, on_error="return").items():
            if answer != build():
                raise ClusterError(
                    "a worker has another version of ppi_train",
                    where=f"worker {address}",
                    got=first_line(answer) if isinstance(answer, BaseException) else answer,
                    expected=build(),
                    remedy=SAME_VERSION,
                )


def _lost_scheduler_error(client: Client) -> UserError:
    return ClusterError(
        "the connection to the Dask scheduler was lost",
        where=client.scheduler.address if client.scheduler else None,
        remedy="see whether it still runs, and give the same command again: it goes on",
    )
