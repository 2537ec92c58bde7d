"""Tests of a tracking store on PostgreSQL: runs that start together, and long names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from ppi_train.tracking.connection import is_conflict
from ppi_train.tracking.run import TrackedRun, Tracking
from tests.support import ROOT
from tests.support.faults import free_port, running_server
from tests.support.postgresql import running_postgresql
from tests.support.runs_at_once import SPLITS


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_postgresql(tmp_path_factory.mktemp("postgresql")) as uri:
        yield uri


@pytest.fixture
def postgresql(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """A client of the store on PostgreSQL, which the code under test uses as well; its own experiment."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    client = mlflow.MlflowClient(database)
    experiment = client.create_experiment(tmp_path.name, artifact_location=(tmp_path / "art").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    return client


def check_runs_at_once(store: mlflow.MlflowClient, uri: str, folder: Path, count: int) -> None:
    """Runs that start together all finish, with all of what they log."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.runs_at_once", uri, str(folder / "runs"), str(count)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    runs = store.search_runs([os.environ["MLFLOW_EXPERIMENT_ID"]])
    assert [run.info.status for run in runs] == ["FINISHED"] * count
    assert sorted(run.data.metrics["loss"] for run in runs) == [float(number) for number in range(count)]
    for run in runs:
        assert run.inputs
        names = {item.dataset.name for item in run.inputs.dataset_inputs}
        assert names == {f"made_up/{split}" for split in SPLITS}
    assert "does not have a record" not in done.stderr


@pytest.mark.parametrize("count", [12, pytest.param(36, marks=pytest.mark.slow)])
def test_runs_that_start_together_lose_nothing(
    count: int, postgresql: mlflow.MlflowClient, database: str, tmp_path: Path
) -> None:
    check_runs_at_once(postgresql, database, tmp_path, count)


@pytest.mark.slow
def test_runs_that_start_together_at_a_server_lose_nothing(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_server(tmp_path, free_port(), store=database) as uri:
        client = mlflow.MlflowClient(uri)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", client.create_experiment(tmp_path.name))
        check_runs_at_once(client, uri, tmp_path, 24)


def test_a_name_that_is_too_long_is_cut_with_a_hash(postgresql: mlflow.MlflowClient, tmp_path: Path) -> None:
    names = set()
    for end in "ab":
        tracking = Tracking(folder=tmp_path / "runs")
        with TrackedRun("train_only", tracking=tracking, system_metrics=False) as run:
            run.identify(model="v3", dataset="x" * 300 + end)
            run.set_tags({"ppi.other": "value"})
        found = postgresql.get_run(run.run_id)
        assert found.data.tags["ppi.dataset"] == "x" * 300 + end
        assert found.data.tags["ppi.other"] == "value"
        assert found.info.run_name.startswith("train_only-v3-xxx")
        assert len(found.info.run_name) == 250
        names.add(found.info.run_name)
    assert len(names) == 2


def test_text_with_a_nul_is_kept(postgresql: mlflow.MlflowClient, tmp_path: Path) -> None:
    with TrackedRun("embed", tracking=Tracking(folder=tmp_path / "runs"), system_metrics=False) as run:
        run.set_tags({"ppi.note": "a\0b"})
        run.log_parameters({"data.fasta": "c\0d"})
        run.log_metrics({"nan": float("nan"), "inf": float("inf")}, 1)
    found = postgresql.get_run(run.run_id)
    assert found.data.tags["ppi.note"] == "a\\x00b"
    assert found.data.params["data.fasta"] == "c\\x00d"
    assert found.data.metrics.keys() == {"nan", "inf"}


@pytest.mark.parametrize(
    "text",
    [
        "(psycopg.errors.UniqueViolation) duplicate key value violates unique constraint",
        "(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint",
        "(sqlite3.IntegrityError) UNIQUE constraint failed: experiment_tags.key",
        "(pymysql.err.IntegrityError) (1062, \"Duplicate entry 'x' for key 'PRIMARY'\")",
        "(some.driver.Error) twice\n(Background on this error at: https://sqlalche.me/e/21/gkpj)",
    ],
)
def test_a_key_that_is_there_already_is_a_conflict_with_any_driver(text: str) -> None:
    assert is_conflict(RuntimeError(text))
    assert not is_conflict(RuntimeError("(psycopg.OperationalError) the connection was closed"))
