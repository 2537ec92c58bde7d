"""What tests share: a fresh tracking store, the example on disk, a real tracking server on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import requests

from ppi_train.data.benchmarks import Dataset, prepare_dataset
from ppi_train.data.example import write_example

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with MLflow's tables in it: making them takes seconds, copying them none."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    client = mlflow.MlflowClient(f"sqlite:///{path}")
    client.search_experiments(max_results=1)
    return path


@pytest.fixture
def store(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """A client of this test's own store, which the code under test uses as well."""
    path = tmp_path / "mlflow.db"
    shutil.copy(empty_store, path)
    uri = f"sqlite:///{path}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("test", artifact_location=(tmp_path / "artifacts").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    return client


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data and embedding caches, shared by all tests: they are content-addressed."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def example(data_dir: Path) -> Dataset:
    """The built-in example as files."""
    splits = ("train", "validation", "test")
    return prepare_dataset("example", data_dir=data_dir, mirror=None, splits=splits)


@pytest.fixture(scope="session")
def shuffled_example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its labels shuffled: nothing can be learned from it."""
    folder = tmp_path_factory.mktemp("shuffled")
    write_example(folder, shuffle_labels=True)
    return folder


@pytest.fixture(scope="session")
def mirror() -> str:
    """The folder of real benchmark files."""
    folder = os.environ.get("PPI_TRAIN_MIRROR")
    if not folder:
        pytest.skip("PPI_TRAIN_MIRROR is unset: no folder of benchmark files")
    return folder


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def another_port() -> int:
    """A port of loopback that nothing listens on."""
    return free_port()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server on loopback that proxies artifacts; gives its URI."""
    folder = tmp_path_factory.mktemp("server")
    uri = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    # Without its job runner, eight processes that nothing here asks anything of, it starts sooner.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment)
    try:
        _wait_until_healthy(uri, process, folder / "log")
        yield uri
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_until_healthy(uri: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        assert process.poll() is None, log.read_text()
        try:
            if requests.get(f"{uri}/health", timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.5)
    raise AssertionError(f"the tracking server did not start: {log.read_text()}")
