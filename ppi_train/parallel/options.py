"""Options that say where the tasks of a mode run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from ppi_train.config import bounds
from ppi_train.config.fields import option
from ppi_train.config.groups import OptionGroup

# Tasks at the scheduler for each worker: one runs, and the rest bridge the time that this process takes for a
# result. With 100,000 at once the scheduler would be slower than the workers.
TASKS_AHEAD = 4
CLUSTER_FORMS = "tls://host:8786, tcp://host:8786, slurm:FILE.yaml or kubernetes:FILE.yaml"
_ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}")
_FILE = re.compile(r"(slurm|kubernetes):.+")
# A scheduler that others started has its workers; for these two, the number is asked for.
_STARTED = ("slurm", "kubernetes")
# Their connections are not encrypted, and whoever reaches them may run code.
_OPEN = {"tcp": "tcp:// is not encrypted", "kubernetes": "Dask on Kubernetes is not encrypted"}


@dataclass(frozen=True, kw_only=True)
class ParallelOptions(OptionGroup):
    SECTION: ClassVar[str] = "parallel"

    workers: int | None = option(
        None,
        "Processes on this machine that share the work; with cluster=slurm: or kubernetes:, the workers to "
        "start there. The output does not depend on it.",
        low=1,
        high=bounds.WORKERS,
    )
    worker_threads: int = option(
        1, "Threads with which each of the processes on this machine computes.", low=1, high=bounds.WORKERS
    )
    cluster: str | None = option(None, f"A Dask cluster that does the work: {CLUSTER_FORMS}.")
    cluster_insecure: bool = option(
        False,
        "Take a cluster without encryption; anyone who reaches it may run code there and here.",
    )

    @property
    def cluster_kind(self) -> str | None:
        """`tcp`, `tls`, `slurm` or `kubernetes`; None without a cluster."""
        return self.cluster.partition(":")[0] if self.cluster else None

    @property
    def parallel(self) -> bool:
        """Whether other processes than this one do the work."""
        return self.workers is not None or self.cluster is not None

    def validate(self) -> list[str]:
        if self.cluster is None:
            return []
        if not (_ADDRESS.fullmatch(self.cluster) or _FILE.fullmatch(self.cluster)):
            return [f"cluster: expected {CLUSTER_FORMS}; got {self.cluster!r}"]
        kind, found = self.cluster_kind, []
        if kind in _STARTED and self.workers is None:
            found.append(f"workers: required with cluster={kind}:; how many to start there")
        if kind not in _STARTED and self.workers is not None:
            found.append(
                "workers and cluster: give one of them, not both; the cluster at an address has its workers"
            )
        if kind in _OPEN and not self.cluster_insecure:
            found.append(
                f"cluster: {_OPEN[kind]}, and anyone who reaches it may run code there and here; "
                "give a tls:// address, or cluster_insecure=true where only trusted people reach it"
            )
        return found

    def unused_options(self, given: frozenset[str]) -> list[str]:
        idle = []
        if "worker_threads" in given and (self.workers is None or self.cluster is not None):
            idle.append("worker_threads has no effect: it is for workers on this machine")
        if "cluster_insecure" in given and self.cluster_kind not in _OPEN:
            idle.append("cluster_insecure has no effect: no cluster without encryption is given")
        return idle
