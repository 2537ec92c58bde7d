"""Pools that do the numbered tasks of a job.

The same call works in this process, on the processes of a pool on this machine, and on a cluster:

    with worker_pool(options) as pool:
        for number, result in pool.run(function, job, range(tasks)):
            ...

`function` is at the top level of a module, and depends on the job and the number alone. The job is a small
frozen dataclass of paths and digests: it travels with every task, and a worker keeps what it opens for a job
by `functools.lru_cache`. Results are small too: what a task makes goes to a file, whose digest it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from ppi_train.errors import ClusterError, ConfigError, first_ten
from ppi_train.parallel.options import TASKS_AHEAD, ParallelOptions
from ppi_train.parallel.worker import missing_files

J = TypeVar("J")
T = TypeVar("T")


class Pool(Protocol):
    """Does the tasks of a job.

    Attributes:
        remote: Whether other processes do the work.
        retried_tasks: Tasks that were done again, since a worker was lost with them.
        dashboard: The page of the Dask scheduler; None if it has none.
    """

    remote: bool
    retried_tasks: int
    dashboard: str | None

    @property
    def workers(self) -> int:
        """Processes that work now."""

    def run(
        self, function: Callable[[J, int], T], job: J, numbers: Iterable[int], *, ahead: int = TASKS_AHEAD
    ) -> Iterator[tuple[int, T]]:
        """Yields (number, result) in the order in which tasks are finished.

        Args:
            function: At the top level of a module.
            job: What all tasks have in common.
            numbers: The tasks. A number is drawn when a worker has room for it; in this process, when the
                results before it were taken.
            ahead: Tasks that a worker is given, the one that it does included.

        Raises:
            UserError: of a task, as the task raised it.
            ClusterError: a task lost all workers that tried it, or no worker is left.
        """

    def everywhere(self, function: Callable[..., T], *arguments: object) -> dict[str, T]:
        """The results of a call in every worker, by the worker's address; none in this process."""


class LocalPool:
    """Does the tasks in this process, one after the other."""

    remote = False
    retried_tasks = 0
    dashboard: str | None = None
    workers = 1

    def run(
        self, function: Callable[[J, int], T], job: J, numbers: Iterable[int], *, ahead: int = TASKS_AHEAD
    ) -> Iterator[tuple[int, T]]:
        del ahead
        for number in numbers:
            yield number, function(job, number)

    def everywhere(self, function: Callable[..., T], *arguments: object) -> dict[str, T]:  # noqa: ARG002
        return {}


@contextmanager
def worker_pool(options: ParallelOptions) -> Iterator[Pool]:
    """The pool that the options ask for.

    Raises:
        ConfigError: a package that it needs is not installed, or the file of the cluster is wrong.
        ClusterError: the cluster cannot be reached, or a worker does not fit.
    """
    if not options.parallel:
        yield LocalPool()
        return
    try:
        import distributed  # noqa: F401 - the module below imports it, and much of the project
    except ImportError:
        raise ConfigError(
            "workers need the package distributed, which is not installed",
            got=f"cluster={options.cluster}" if options.cluster else f"workers={options.workers}",
            remedy="pip install distributed, or this project with its extra: pip install -e '.[cluster]'",
        ) from None
    from ppi_train.parallel.cluster import dask_pool

    with dask_pool(options) as pool:
        yield pool


def check_files_visible(pool: Pool, paths: Iterable[Path]) -> None:
    """Refuses a pool with a worker that does not see the files of a job.

    Raises:
        ClusterError: naming worker, host and files.
    """
    wanted = [str(path.absolute()) for path in paths]
    for address, (host, missing) in sorted(pool.everywhere(missing_files, wanted).items()):
        if missing:
            raise ClusterError(
                "a worker does not see the files of the job",
                where=f"worker {address} on {host}",
                got=first_ten(missing),
                remedy="put them into a folder that all workers have under the same path, and give that path",
            )
