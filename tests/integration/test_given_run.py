"""Tests of MLFLOW_RUN_ID: a run is written to only if it is RUNNING and no mode has used it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest

from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.errors import TrackingError
from ppi_train.modes import execute_pipeline
from ppi_train.tracking.given_run import find_given_run
from ppi_train.tracking.run import TrackedRun, Tracking
from tests.integration.test_mlflow_run import mlflow_environment
from tests.support import ROOT
from tests.support.commands import Ended, run_command


def command(mode: str, *words: str, run_id: str, folder: Path) -> Ended:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_RUN_ID", run_id)
        patch.chdir(folder)
        return run_command(mode, *words)


def content(store: mlflow.MlflowClient, run_id: str) -> dict[str, Any]:
    run = store.get_run(run_id)
    artifacts = [item.path for item in store.list_artifacts(run_id)]
    return {**run.to_dictionary(), "artifacts": artifacts}


def split_words(example: Dataset, folder: Path) -> list[str]:
    pairs = example.splits["train"].pairs
    return ["--pairs", str(pairs), "--method", "random", "--output", str(folder / "mine")]


@pytest.fixture
def finished(store: mlflow.MlflowClient, tmp_path: Path) -> str:
    with TrackedRun("train_only", tracking=Tracking(folder=tmp_path / "runs"), system_metrics=False) as run:
        run.log_parameters({"training.epochs": "3"})
    assert store.get_run(run.run_id).info.status == "FINISHED"
    return run.run_id


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("embed", ["--fasta", "x.fasta", "--output", "x.parquet"]),
        ("train_only", ["--epohcs", "1"]),
        ("sync", []),
    ],
)
def test_a_run_that_has_ended_is_left_as_it_is(
    mode: str, words: list[str], store: mlflow.MlflowClient, finished: str, tmp_path: Path
) -> None:
    before = content(store, finished)
    done = command(mode, *words, run_id=finished, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "the run that MLFLOW_RUN_ID names has ended, and is left as it is" in done.stderr
    assert f"run {finished} (train_only, FINISHED)" in done.stderr
    assert "unset MLFLOW_RUN_ID" in done.stderr
    assert "Traceback" not in done.stderr
    assert content(store, finished) == before
    assert len(store.search_runs([os.environ["MLFLOW_EXPERIMENT_ID"]])) == 1


def test_runs_that_are_not_there(
    store: mlflow.MlflowClient, finished: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.delete_run(finished)
    for run_id, message in (("0" * 32, "there is no such run"), (finished, "the run was deleted")):
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
        with pytest.raises(TrackingError, match=message) as caught:
            TrackedRun("embed", tracking=Tracking(folder=tmp_path / "runs")).__enter__()
        assert f"MLFLOW_RUN_ID={run_id}" in str(caught.value)


@pytest.mark.slow
def test_a_running_run_of_a_mode_becomes_the_parent(
    store: mlflow.MlflowClient, example: Dataset, tmp_path: Path
) -> None:
    experiment = os.environ["MLFLOW_EXPERIMENT_ID"]
    outer = store.create_run(experiment, tags={"ppi.mode": "embed"}).info.run_id
    before = content(store, outer)
    done = command("split", "--pairs", "none.tsv", "--mehtod", "c3", run_id=outer, folder=tmp_path)
    assert done.returncode == 2
    assert content(store, outer) == before
    done = command("split", *split_words(example, tmp_path), run_id=outer, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert content(store, outer) == before
    (nested,) = store.search_runs([experiment], filter_string=f"tags.mlflow.parentRunId = '{outer}'")
    assert nested.data.tags["ppi.mode"] == "split"
    assert nested.info.status == "FINISHED"


def test_modes_that_start_together_do_not_share_a_run(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = store.create_run(os.environ["MLFLOW_EXPERIMENT_ID"]).info.run_id
    tracking = Tracking(folder=tmp_path / "runs")
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    found = find_given_run(["embed"])
    # As both see it before either writes.
    monkeypatch.setattr("ppi_train.tracking.run.find_given_run", lambda _names: found)
    first = TrackedRun("embed", tracking=tracking, system_metrics=False)
    with first:
        TrackedRun._active.clear()
        second = TrackedRun("audit", tracking=tracking, system_metrics=False)
        with second:
            assert second.run_id != given
        TrackedRun._active.append(first)
    assert store.get_run(given).info.status == "FINISHED"
    assert store.get_run(given).data.tags["ppi.mode"] == "embed"
    assert store.get_run(second.run_id).data.tags["mlflow.parentRunId"] == given


@pytest.mark.slow
def test_an_outer_mlflow_run_with_two_modes_has_two_nested_runs(
    store: mlflow.MlflowClient, example: Dataset, data_dir: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    split = " ".join(["python -m entry_points.split", *split_words(example, tmp_path)])
    prepare = f"python -m entry_points.prepare_data --dataset example --data_dir {data_dir}"
    (project / "MLproject").write_text(
        f"name: outer\nentry_points:\n  main:\n    command: {split} && {prepare}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "run", str(project), "--env-manager", "local"],
        env={**mlflow_environment(), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    runs = store.search_runs([os.environ["MLFLOW_EXPERIMENT_ID"]])
    (outer,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert "ppi.mode" not in outer.data.tags
    assert outer.info.status == "FINISHED"
    nested = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == outer.info.run_id]
    assert {run.data.tags["ppi.mode"] for run in nested} == {"split", "prepare_data"}
    assert {run.info.status for run in nested} == {"FINISHED"}


def offline(mode: str, folder: Path) -> str:
    tracking = Tracking(folder=folder, offline=True)
    with TrackedRun(mode, tracking=tracking, system_metrics=False) as run:
        run.log_metrics({"loss": 1.0}, 1)
    return run.run_id


def test_offline_runs_under_a_finished_run_do_not_write_into_it(
    store: mlflow.MlflowClient, finished: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = os.environ["MLFLOW_EXPERIMENT_ID"]
    before = content(store, finished)
    for mode in ("embed", "audit"):
        monkeypatch.setenv("MLFLOW_RUN_ID", finished)
        offline(mode, tmp_path / "runs")
        monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
        execute_pipeline("sync", {"journal": str(tmp_path / "runs")})
    assert content(store, finished) == before
    for mode in ("embed", "audit"):
        (run,) = store.search_runs([experiment], filter_string=f"tags.ppi.mode = '{mode}'")
        assert "mlflow.parentRunId" not in run.data.tags
        assert run.data.metrics["loss"] == 1.0


def test_offline_runs_under_one_run_and_their_sync_do_not_share_it(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = os.environ["MLFLOW_EXPERIMENT_ID"]
    given = store.create_run(experiment).info.run_id
    for mode in ("embed", "audit"):
        monkeypatch.setenv("MLFLOW_RUN_ID", given)
        offline(mode, tmp_path / "runs")
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    monkeypatch.chdir(tmp_path)  # `sync` has its own outbox in `runs`
    execute_pipeline("sync", {})
    parents = {}
    for run in store.search_runs([experiment]):
        assert run.info.status == "FINISHED"
        parents[run.data.tags["ppi.mode"]] = run.data.tags.get("mlflow.parentRunId")
    assert parents == {"embed": None, "audit": given, "sync": given}
