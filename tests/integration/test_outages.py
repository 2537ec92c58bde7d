"""Tests of training during server outages and with eight concurrent runs."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.support import ROOT
from tests.support.faults import free_port, kill_server, running_server, start_server, wait_until_healthy

TOGETHER = 8
POINTS = ("train/loss", "train/learning_rate", "val/auroc", "val/auprc", "val/loss")
LAST = ("val/auroc_best", "val/ece", "best_epoch", "system/tracking_seconds")


def start(mode: str, **parameters: object) -> subprocess.Popen[str]:
    arguments = [text for name, value in parameters.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", f"entry_points.{mode}", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def check_whole(client: mlflow.MlflowClient, run_id: str, epochs: int) -> None:
    """The run has finished, and has every point of every epoch once, its files and its model."""
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    for name in POINTS:
        steps = [point.step for point in client.get_metric_history(run_id, name)]
        assert steps == list(range(1, epochs + 1)), (name, steps)
    assert set(LAST) <= set(run.data.metrics)
    assert run.data.params["training.epochs"] == str(epochs)
    assert {artifact.path for artifact in client.list_artifacts(run_id)} >= {
        "checkpoints",
        "figures",
        "config.yaml",
    }
    assert run.inputs is not None
    assert len(run.inputs.dataset_inputs) == 2
    (model,) = client.search_logged_models(
        [run.info.experiment_id], filter_string=f"source_run_id = '{run_id}'"
    )
    assert str(model.status.value) == "READY"


@pytest.mark.slow
def test_the_server_is_killed_and_started_again_during_training(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs, port = 12, free_port()
    (tmp_path / "server").mkdir()
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri := f"http://127.0.0.1:{port}")
    with running_server(tmp_path / "server", port):
        pass  # it has made its tables
    with (tmp_path / "server" / "log").open("a") as log:
        server = start_server(tmp_path / "server", port, log)
        wait_until_healthy(uri, server, tmp_path / "server" / "log")
        process = start(
            "train_only", epochs=epochs, early_stopping_patience=0, checkpoint_every="3 steps",
            data_dir=data_dir, output_dir=tmp_path / "runs", tracking_flush_seconds=200,
        )  # fmt: skip
        try:
            shown = _read_until(process, r"epoch 2/")
        finally:
            kill_server(server)
        shown += _read_until(process, r"the tracking server does not take")
    with running_server(tmp_path / "server", port):
        shown += process.communicate(timeout=400)[1]
        assert process.returncode == 0, shown
        assert "the tracking server answers again" in shown
        assert "to send them" not in shown
        run_id = re.findall(r"run ([0-9a-f]{32}) at ", shown)[0]
        check_whole(mlflow.MlflowClient(uri), run_id, epochs)


def _read_until(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stderr is not None
    shown = ""
    for line in process.stderr:
        shown += line
        if re.search(pattern, line):
            return shown
    raise AssertionError(shown)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["store", "at_server"])
def test_eight_runs_at_once(
    place: str, request: pytest.FixtureRequest, data_dir: Path, tmp_path: Path
) -> None:
    client: mlflow.MlflowClient = request.getfixturevalue(place)
    folders: dict[str, Any] = {"data_dir": data_dir, "output_dir": tmp_path / "runs"}
    settings = {"epochs": 3, "checkpoint_every": "2 steps", "tracking_flush_seconds": 300}
    processes = [start("train_only", seed=seed, **settings, **folders) for seed in range(TOGETHER)]
    try:
        for process in processes:
            shown = process.communicate(timeout=900)[1]
            assert process.returncode == 0, shown
            assert "to send them" not in shown
            check_whole(client, re.findall(r"run ([0-9a-f]{32}) at ", shown)[0], 3)
    finally:
        for process in processes:
            process.kill()
    assert not list((tmp_path / "runs").glob("*/outbox.db"))


@pytest.fixture
def at_server(server: str, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """A client of the real server, which the code under test uses as well; its own experiment."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    client = mlflow.MlflowClient(server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", client.create_experiment(f"together-{time.time_ns()}"))
    return client
