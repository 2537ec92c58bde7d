"""Dask clusters: of processes on this machine, at an address, by Slurm, on Kubernetes.

Anyone who reaches a Dask scheduler or worker can run code as its owner. Connections are encrypted therefore,
and only those with a certificate that was made for this run are taken; docs/design/security.md says what is
left.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import dask
import yaml
from distributed import Client, LocalCluster, SpecCluster
from distributed.core import Status
from distributed.deploy import Cluster
from distributed.security import Security

from ppi_train.errors import ClusterError, ConfigError, first_line
from ppi_train.io.files import read_file
from ppi_train.io.terminal import signals_kept
from ppi_train.parallel.dask_pool import DaskPool
from ppi_train.parallel.options import ParallelOptions

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=Cluster)

# An address where nobody listens is reported within this time.
CONNECT_SECONDS = 8.0
# How long a cluster that others started may be without workers.
PATIENCE_SECONDS = 60.0
# A worker that is away for longer is replaced. A busy machine takes long to start one again.
LOST_SECONDS = 30
# Workers that a task may lose: a task that ends each worker is rare, machines that end workers at random are
# not.
ALLOWED_FAILURES = 20
# Above all levels: at the end a scheduler reports a broken connection to its client as critical.
SILENT = logging.CRITICAL + 1
_LARGEST_FILE = 1 << 20
_LOOPBACK = "127.0.0.1"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# For workers that are started by `dask worker`; see the setting of the same name below.
_KEEP_MEMORY = (
    "export DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON="
    """'{"MALLOC_TRIM_THRESHOLD_": 268435456, "MALLOC_MMAP_THRESHOLD_": 33554432}'"""
)
_SET_HERE = ("security", "protocol", "n_workers", "silence_logs", "asynchronous")


@contextmanager
def dask_pool(options: ParallelOptions) -> Iterator[DaskPool]:
    """Connects to the cluster that the options name, or starts it; it ends with the block if started here.

    Raises:
        ConfigError, ClusterError: see `worker_pool`.
    """
    openers = {None: _on_this_machine, "slurm": _by_slurm, "kubernetes": _on_kubernetes}
    settings = {
        "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
        # One task at a time goes to a worker, so that few are there when it is lost.
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.deploy.lost-worker-timeout": LOST_SECONDS,
        # Dask has memory given back to the system at once, which doubles the time of a scan: each tensor
        # would be made of new pages.
        "distributed.nanny.pre-spawn-environ": {},
        # 50 times a second, for each worker, the process of the command would see whether it is late, and
        # twice read what the system says of it: up to 5% of a core.
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "5s",
    }
    with (
        _quiet_dask(),
        dask.config.set(settings),
        openers.get(options.cluster_kind, _at_address)(options) as client,
    ):
        started = options.cluster_kind not in ("tcp", "tls")
        pool = DaskPool(
            client,
            patience=float("inf") if started else PATIENCE_SECONDS,
            refill=lambda: _refill(client.cluster, options.workers),
        )
        _wait_for_workers(client, options)
        pool.check_workers()
        logger.info("%s workers, dashboard: %s", pool.workers, pool.dashboard)
        yield pool


def _refill(cluster: Any, workers: int | None) -> None:
    """Has lost workers replaced, if the cluster was started here.

    By itself Dask submits no job of Slurm again, and keeps a worker that died before it was ready.
    """

    def forget_failed() -> None:
        for name, worker in list(cluster.workers.items()):
            if worker.status == Status.failed:
                del cluster.workers[name]

    if isinstance(cluster, SpecCluster):
        cluster.loop.add_callback(forget_failed)
    if cluster is not None:
        cluster.scale(workers)


@contextmanager
def _ended(cluster: C) -> Iterator[C]:
    """Ends the cluster with the block, whose own error is the one that is raised.

    Dask fails to end a worker that is just being started, as one in place of a lost one is. It ends with
    this process.
    """
    try:
        yield cluster
    finally:
        try:
            cluster.close()
        except Exception as error:
            logger.warning("not all workers were ended; they end with this process: %r", error)


@contextmanager
def _quiet_dask() -> Iterator[None]:
    """Silences Dask, whose lines are for its developers: the pool reports lost workers, in a line each."""
    named = [name for name in logging.root.manager.loggerDict if "distributed" in name]
    loggers = [logging.getLogger(name) for name in (*named, "tornado.application")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(SILENT)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


@contextmanager
def _on_this_machine(options: ParallelOptions) -> Iterator[Client]:
    with (
        TemporaryDirectory(prefix="ppi_train-workers-") as folder,
        _ended(_started_here(options, folder)) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _started_here(options: ParallelOptions, folder: str) -> LocalCluster:
    try:
        return LocalCluster(
            n_workers=options.workers,
            threads_per_worker=1,
            processes=True,
            # Nothing of it listens beyond this machine, and other users of the machine have no certificate.
            host=_LOOPBACK,
            dashboard_address=f"{_LOOPBACK}:0",
            worker_dashboard_address=f"{_LOOPBACK}:0",
            protocol="tls://",
            security=Security.temporary(),
            # Dask counts the pages of mapped files, which workers share, and would stop workers for them.
            memory_limit=0,
            local_directory=folder,
            env=dict.fromkeys(_THREAD_VARIABLES, str(options.worker_threads)),
            silence_logs=SILENT,
        )
    except RuntimeError as error:
        raise ClusterError(
            "the workers cannot be started",
            got=first_line(error),
            remedy='in a script, call ppi_train below `if __name__ == "__main__":`, since workers import the '
            "script; else see what they printed",
        ) from None


@contextmanager
def _at_address(options: ParallelOptions) -> Iterator[Client]:
    address = str(options.cluster)
    security = Security() if options.cluster_kind == "tls" else None
    if security and security.get_connection_args("client")["ssl_context"] is None:
        raise ConfigError(
            "no certificate is given for the cluster",
            where=address,
            remedy="set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and "
            "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY to the files of the scheduler's owner",
        )
    try:
        client = Client(address, security=security, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            "no Dask scheduler can be reached there",
            where=address,
            got=first_line(error),
            remedy="check host and port, that the scheduler runs, and that both sides use tls:// or both tcp://",
        ) from None
    with client:
        yield client


@contextmanager
def _by_slurm(options: ParallelOptions) -> Iterator[Client]:
    file, settings = _cluster_file(options)
    try:
        with signals_kept():  # else a SIGINT would end the process with exit code 0
            from dask_jobqueue import SLURMCluster
    except ImportError:
        raise _missing_package_error("dask-jobqueue", options) from None
    if shutil.which("sbatch") is None:
        raise ClusterError(
            "the command sbatch is not there",
            where=options.cluster,
            remedy="give the command on a machine from which jobs can be submitted",
        )
    given = settings.pop("scheduler_options", {})
    settings = {
        **settings,
        "job_script_prologue": [_KEEP_MEMORY, *settings.get("job_script_prologue", [])],
        "worker_extra_args": [*settings.get("worker_extra_args", []), "--nthreads", "1"],
        "scheduler_options": {"dashboard_address": f"{_LOOPBACK}:0", **given},
    }
    with TemporaryDirectory(
        prefix=".ppi_train-workers-", dir=settings.pop("shared_temp_directory", ".")
    ) as key:
        security = None if options.cluster_insecure else _certificate(Path(key).absolute())
        try:
            cluster = SLURMCluster(**settings, security=security, silence_logs=SILENT)
        except (TypeError, ValueError) as error:
            raise _wrong_file_error(file, error) from None
        with _ended(cluster), Client(cluster, set_as_default=False) as client:
            cluster.scale(options.workers)
            yield client


def _certificate(folder: Path) -> Security:
    """A certificate and its key for this run, in a folder that only its owner may read.

    Workers on other machines read them there.
    """
    made = Security.temporary()
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_text(str(made.tls_ca_file))
    key.write_text(str(made.tls_worker_key))
    of_roles = {
        f"tls_{role}_{part}": str(path)
        for role in ("scheduler", "worker", "client")
        for part, path in (("cert", certificate), ("key", key))
    }
    return Security(tls_ca_file=str(certificate), require_encryption=True, **of_roles)


@contextmanager
def _on_kubernetes(options: ParallelOptions) -> Iterator[Client]:
    file, settings = _cluster_file(options)
    try:
        from dask_kubernetes.operator import KubeCluster
    except ImportError:
        raise _missing_package_error("dask-kubernetes", options) from None
    try:
        cluster = KubeCluster(custom_cluster_spec=settings, n_workers=options.workers, quiet=True)
    except (TypeError, ValueError, KeyError) as error:
        raise _wrong_file_error(file, error) from None
    with _ended(cluster), Client(cluster, set_as_default=False) as client:
        cluster.scale(options.workers)
        yield client


def _wait_for_workers(client: Client, options: ParallelOptions) -> None:
    """Waits for the first worker; a job may wait in the queue of its cluster for long."""
    queued = options.cluster_kind in ("slurm", "kubernetes")
    if queued:
        logger.info("waiting for the first of %s workers of %s", options.workers, options.cluster)
    try:
        client.wait_for_workers(1, timeout=None if queued else PATIENCE_SECONDS)
    except TimeoutError:
        raise ClusterError(
            "the cluster has no worker",
            where=options.cluster or "this machine",
            got=f"none within {PATIENCE_SECONDS:.0f} s",
            remedy="start workers, such as with `dask worker --nthreads 1 ADDRESS`",
        ) from None


def _cluster_file(options: ParallelOptions) -> tuple[Path, dict[str, Any]]:
    """The path and the content of `slurm:FILE.yaml` or `kubernetes:FILE.yaml`.

    Raises:
        DataError: it cannot be read.
        ConfigError: it is not a YAML mapping, or has settings that are made here.
    """
    path = Path(str(options.cluster).partition(":")[2])
    try:
        settings = yaml.safe_load(read_file(path, "file of the cluster", limit=_LARGEST_FILE))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong_file_error(path, error) from None
    if not isinstance(settings, dict):
        raise _wrong_file_error(path, f"a {type(settings).__name__}")
    taken = [name for name in _SET_HERE if name in settings]
    if taken:
        raise ConfigError(
            "the file of the cluster has settings that this command makes itself",
            where=path,
            got=", ".join(taken),
            remedy="leave them out; the parameters workers and cluster_insecure stand for them",
        )
    return path, settings


def _wrong_file_error(path: Path, error: object) -> ConfigError:
    return ConfigError(
        "the file of the cluster cannot be used",
        where=path,
        got=first_line(error),
        expected="a YAML mapping: for slurm the arguments of dask_jobqueue.SLURMCluster, for kubernetes a "
        "DaskCluster resource",
    )


def _missing_package_error(package: str, options: ParallelOptions) -> ConfigError:
    return ConfigError(
        f"the package {package} is not installed",
        got=f"cluster={options.cluster}",
        remedy=f"pip install {package}",
    )
