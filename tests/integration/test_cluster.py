"""Tests of a Dask cluster at an address, with the commands that users start it with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dask import config
from distributed.security import Security

from ppi_train.errors import ClusterError
from ppi_train.parallel.options import ParallelOptions
from ppi_train.parallel.pool import worker_pool
from tests.support import ROOT
from tests.support.pool_tasks import NamedJob, square

Started = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[Started]:
    """Starts `dask` with some words; what was started ends with the test."""
    processes: list[subprocess.Popen[str]] = []

    def started(*words: str, path: Path = ROOT) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *words],
            env=os.environ | {"PYTHONPATH": str(path)},
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=(tmp_path / f"{len(processes)}.log").open("w"),
            text=True,
        )
        processes.append(process)
        return process

    yield started
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(timeout=30)


def scheduler(dask: Started, tmp_path: Path, *words: str) -> str:
    """The address of a new scheduler on a free port."""
    file = tmp_path / "scheduler"
    dask(
        "scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0",
        "--pid-file", str(file), *words,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for line in (tmp_path / "0.log").read_text().splitlines():
            if "Scheduler at:" in line:
                return line.split()[-1]
        time.sleep(0.05)
    raise AssertionError((tmp_path / "0.log").read_text())


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The options of the commands for a certificate, which this process has too."""
    made = Security.temporary()
    certificate, key = tmp_path / "dask.pem", tmp_path / "dask.key"
    certificate.write_text(str(made.tls_ca_file))
    key.write_text(str(made.tls_worker_key))
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TLS__CA_FILE", str(certificate))
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT", str(certificate))
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY", str(key))
    config.refresh()
    yield ["--tls-ca-file", str(certificate), "--tls-cert", str(certificate), "--tls-key", str(key)]
    monkeypatch.undo()
    config.refresh()


WORKER = ("--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard")


@pytest.mark.slow
def test_a_cluster_with_a_certificate(dask: Started, tls: list[str], tmp_path: Path) -> None:
    address = scheduler(dask, tmp_path, "--protocol", "tls", *tls)
    dask("worker", address, *WORKER, *tls)
    with worker_pool(ParallelOptions(cluster=address)) as pool:
        assert sorted(pool.run(square, NamedJob("x"), range(5)))[-1] == (4, "x16")


@pytest.mark.slow
def test_a_cluster_without_one_and_a_worker_of_another_version(dask: Started, tmp_path: Path) -> None:
    address = scheduler(dask, tmp_path)
    options = ParallelOptions(cluster=address, cluster_insecure=True)
    first = dask("worker", address, *WORKER)
    with worker_pool(options) as pool:
        assert dict(pool.run(square, NamedJob("x"), [3])) == {3: "x9"}
    first.terminate()
    first.wait(timeout=30)
    other = tmp_path / "other"
    shutil.copytree(ROOT / "ppi_train", other / "ppi_train", ignore=shutil.ignore_patterns("__pycache__"))
    (other / "ppi_train" / "changed.py").touch()
    dask("worker", address, *WORKER, path=other)
    with pytest.raises(ClusterError, match="a worker has another version of ppi_train"), worker_pool(options):
        pass
