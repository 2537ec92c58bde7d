"""Shared fixtures: tracking stores, the example data, and a tracking server."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: two tests share two cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch

from ppi_train.data.benchmarks.example import write_example
from ppi_train.data.benchmarks.prepare import Dataset, prepare_dataset
from tests.support.faults import free_port, running_server
from tests.support.stores import make_store


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with MLflow's tables in it: making them takes seconds, copying them none."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    make_store(path)
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


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """Lets SIGINT interrupt this test, also where the suite was started in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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


def write_esm(folder: Path, *, seed: int = 0, **settings: object) -> Path:
    """A tiny ESM-2 with weights drawn at random, as `save_pretrained` writes a published one."""
    from transformers import EsmConfig, EsmForMaskedLM
    from transformers.models.esm.configuration_esm import get_default_vocab_list

    vocabulary = get_default_vocab_list()
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    of_esm2 = {"position_embedding_type": "rotary", "token_dropout": True, "max_position_embeddings": 1026}
    special = {"vocab_size": len(vocabulary), "mask_token_id": 32, "pad_token_id": 1}
    torch.manual_seed(seed)
    EsmForMaskedLM(EsmConfig(**{**shape, **of_esm2, **special, **settings})).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    return folder


@pytest.fixture(scope="session")
def make_esm() -> Callable[..., Path]:
    """What writes a tiny ESM-2 to a folder."""
    return write_esm


@pytest.fixture(scope="session")
def tiny_esm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny ESM-2."""
    return write_esm(tmp_path_factory.mktemp("esm") / "tiny")


@pytest.fixture(scope="session")
def another_port() -> int:
    """A port of loopback that nothing listens on."""
    return int(free_port())


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server on loopback that proxies artifacts; gives its URI."""
    with running_server(tmp_path_factory.mktemp("server"), free_port()) as uri:
        yield uri


@pytest.fixture(scope="module")
def client(
    request: pytest.FixtureRequest, server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[mlflow.MlflowClient]:
    """A client of the real server, which the code under test uses as well; the module's own experiment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPI_TRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MLFLOW_TRACKING_URI", server)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
        client = mlflow.MlflowClient(server)
        experiment = client.create_experiment(f"{request.module.__name__}-{time.time_ns()}")
        patch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
        yield client


@pytest.fixture(scope="module")
def places(
    client: mlflow.MlflowClient, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Where runs at the server read and write; shared by the tests of a module."""
    del client
    return {"data_dir": str(data_dir), "output_dir": str(tmp_path_factory.mktemp("runs"))}
