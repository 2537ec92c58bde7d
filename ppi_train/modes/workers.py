"""The workers of a mode, and what its run says of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ppi_train.parallel.options import ParallelOptions
from ppi_train.parallel.pool import Pool, worker_pool
from ppi_train.tracking.run import TrackedRun


@contextmanager
def tracked_pool(options: ParallelOptions, tracked: TrackedRun) -> Iterator[Pool]:
    """The pool that the options ask for; the run has its dashboard, workers and retried tasks.

    Raises:
        ConfigError, ClusterError: see `worker_pool`.
    """
    with worker_pool(options) as pool:
        if pool.dashboard:
            tracked.set_tags({"ppi.dask_dashboard": pool.dashboard})
        yield pool
        if pool.remote:
            tracked.log_metrics(
                {"system/workers": float(pool.workers), "system/retried_tasks": float(pool.retried_tasks)}
            )
