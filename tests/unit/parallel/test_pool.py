"""Tests of pools, with real workers, real signals and real sockets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from distributed import LocalCluster

from ppi_train.errors import ClusterError, ConfigError, DataError
from ppi_train.parallel.dask_pool import DaskPool
from ppi_train.parallel.options import ParallelOptions
from ppi_train.parallel.pool import Pool, check_files_visible, worker_pool
from ppi_train.parallel.worker import build, check_build
from tests.support import ROOT
from tests.support.pool_tasks import (
    NamedJob,
    broken,
    deadly,
    half_second,
    math_threads,
    refused,
    square,
)

JOB = NamedJob("x")


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with worker_pool(ParallelOptions(workers=2)) as made:
        yield made


@pytest.mark.parametrize("workers", [None, 2])
def test_every_task_is_done_once(workers: int | None, pool: Pool) -> None:
    with worker_pool(ParallelOptions()) as local:
        chosen = pool if workers else local
        found = list(chosen.run(square, JOB, range(100)))
    assert sorted(found) == [(number, f"x{number * number}") for number in range(100)]
    assert chosen.remote == bool(workers)


def test_a_users_mistake_in_a_task_reaches_the_caller(pool: Pool) -> None:
    with pytest.raises(DataError) as caught:
        list(pool.run(refused, NamedJob("/a"), [7]))
    assert caught.value.where == "line 7"
    assert caught.value.got == Path("/a")
    assert str(caught.value) == "a line is wrong\n  where: line 7\n  got: /a\n  to do: mend it"


def test_a_fault_of_ours_in_a_task_reaches_the_caller(pool: Pool) -> None:
    with pytest.raises(RuntimeError, match="x 3"):
        list(pool.run(broken, JOB, [3]))


def test_tasks_are_dealt_out_in_a_window(pool: Pool) -> None:
    taken = []

    def numbers() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    tasks = pool.run(square, JOB, numbers())
    next(tasks)
    tasks.close()  # type: ignore[attr-defined]
    assert len(taken) <= 10


def test_workers_compute_with_one_thread(pool: Pool) -> None:
    assert [threads for _, threads in pool.run(math_threads, JOB, range(4))] == [1] * 4


def test_everything_listens_on_loopback_alone(pool: Pool) -> None:
    assert pool.dashboard is not None
    assert pool.dashboard.startswith("http://127.0.0.1:")
    process = psutil.Process()
    listening = {
        connection.laddr.ip
        for part in (process, *process.children(recursive=True))
        for connection in part.net_connections("all")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_a_file_that_workers_do_not_see(pool: Pool, tmp_path: Path) -> None:
    check_files_visible(pool, [tmp_path])
    with pytest.raises(ClusterError, match="a worker does not see the files of the job") as caught:
        check_files_visible(pool, [tmp_path, tmp_path / "absent"])
    assert caught.value.got == str(tmp_path / "absent")
    assert "worker tls://127.0.0.1:" in str(caught.value.where)


def test_a_lost_worker_is_replaced_and_its_task_done_again() -> None:
    with worker_pool(ParallelOptions(workers=2)) as pool:
        tasks = pool.run(half_second, JOB, range(8))
        found = [next(tasks)]
        os.kill(next(iter(pool.everywhere(os.getpid).values())), signal.SIGKILL)
        found += tasks
        assert sorted(found) == [(number, f"x{number * number}") for number in range(8)]
        assert pool.retried_tasks in (1, 2)  # two, if the worker was given its next task already


@pytest.mark.slow
def test_a_task_that_ends_every_worker() -> None:
    with (
        worker_pool(ParallelOptions(workers=1)) as pool,
        pytest.raises(ClusterError, match="a task ended every worker that tried it") as caught,
    ):
        list(pool.run(deadly, JOB, [5]))
    assert str(caught.value.where).startswith("task 5, last on worker tls://127.0.0.1:")


def test_the_error_of_the_work_is_raised_though_dask_cannot_end_a_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    close = LocalCluster.close

    def fails(cluster: LocalCluster) -> None:
        close(cluster)
        raise AssertionError("can only join a started process")

    monkeypatch.setattr(LocalCluster, "close", fails)
    with pytest.raises(DataError, match="a line is wrong"), worker_pool(ParallelOptions(workers=1)) as pool:
        list(pool.run(refused, JOB, [1]))
    assert "not all workers were ended" in caplog.text


def test_a_script_that_workers_would_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from ppi_train.parallel.options import ParallelOptions\n"
        "from ppi_train.parallel.pool import worker_pool\n"
        "with worker_pool(ParallelOptions(workers=1)):\n"
        "    pass\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.rstrip().endswith("since workers import the script; else see what they printed")


def test_nobody_listens_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppi_train.parallel.cluster.CONNECT_SECONDS", 1.0)
    options = ParallelOptions(cluster="tcp://127.0.0.1:1", cluster_insecure=True)
    with pytest.raises(ClusterError, match="no Dask scheduler can be reached there"), worker_pool(options):
        pass


def test_tls_without_a_certificate() -> None:
    options = ParallelOptions(cluster="tls://127.0.0.1:1")
    with pytest.raises(ConfigError, match="no certificate is given for the cluster"), worker_pool(options):
        pass


class _Client:
    """Answers as a client whose only worker is as described."""

    dashboard_link = ""

    def __init__(self, python: str = sys.version, threads: int = 1, answer: object = None) -> None:
        self._python, self._threads, self._answer = python, threads, answer or build()

    def subscribe_topic(self, topic: str, handler: object) -> None:
        pass

    def get_versions(self) -> dict[str, Any]:
        return {"workers": {"tls://a:1": {"host": {"python": self._python}}}}

    def nthreads(self) -> dict[str, int]:
        return {"tls://a:1": self._threads}

    def run(self, function: object, on_error: str) -> dict[str, object]:  # noqa: ARG002
        return {"tls://a:1": self._answer}


@pytest.mark.parametrize(
    ("client", "what", "got"),
    [
        (_Client(python="3.9.1.final.0"), "another version of Python", "Python 3.9"),
        (_Client(threads=4), "several tasks at a time", "4 threads"),
        (_Client(answer="0.1.0 (abc)"), "another version of ppi_train", "0.1.0 (abc)"),
        (_Client(answer=ModuleNotFoundError("no ppi_train")), "another version of ppi_train", "no ppi_train"),
    ],
)
def test_a_worker_that_does_not_fit(client: Any, what: str, got: str) -> None:
    with pytest.raises(ClusterError, match=what) as caught:
        DaskPool(client, patience=1).check_workers()
    assert caught.value.where == "worker tls://a:1"
    assert caught.value.got == got


def test_a_worker_that_came_later_checks_itself() -> None:
    check_build(build())
    with pytest.raises(ClusterError, match="a worker has another version of ppi_train"):
        check_build("0.1.0 (abc)")


def test_work_is_given_up_without_workers() -> None:
    client = SimpleNamespace(
        dashboard_link="",
        status="running",
        scheduler=SimpleNamespace(address="tls://a:1"),
        subscribe_topic=lambda *_: None,
        nthreads=dict,
    )
    pool = DaskPool(client, patience=-1)
    with pytest.raises(ClusterError, match="no worker is left"):
        _ = pool.workers
    client.status = "closed"
    with pytest.raises(ClusterError, match="the connection to the Dask scheduler was lost"):
        _ = DaskPool(client, patience=1).workers
