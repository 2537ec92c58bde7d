"""Tests of `mlflow run`: parameters, signals, mistakes and environments."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from ppi_train.data.benchmarks.prepare import Dataset
from tests.support import ROOT


def mlflow_command(*arguments: str, manager: str = "local") -> list[str]:
    return [sys.executable, "-m", "mlflow", "run", str(ROOT), "--env-manager", manager, *arguments]


def mlflow_environment() -> dict[str, str]:
    # The environment's own `python` must be found first, as after `activate`.
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def mlflow_run(*arguments: str, manager: str = "local") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        mlflow_command(*arguments, manager=manager),
        env=mlflow_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def raw_parameters(run: mlflow.entities.Run) -> dict[str, str]:
    """The parameters that MLflow itself logged, quoted for the shell; ours have a section and a dot."""
    return {name: value for name, value in run.data.params.items() if "." not in name}


def wait_for_epoch(store: mlflow.MlflowClient, process: subprocess.Popen[str]) -> str:
    """The ID of the run that the process trains, once it has finished an epoch."""
    for _ in range(600):
        assert process.poll() is None, process.communicate()
        runs = store.search_runs(["1"], filter_string="metrics.`val/auroc` > 0")
        if runs:
            return str(runs[0].info.run_id)
        time.sleep(0.1)
    raise AssertionError("no epoch was finished")


def ctrl_c(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does


def kill(process: subprocess.Popen[str]) -> None:
    process.terminate()  # `mlflow run` alone, which dies of it


@pytest.mark.slow
@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize("stop", [ctrl_c, kill])
def test_mlflow_run_that_is_stopped_leaves_the_run_killed(
    stop: Callable[[subprocess.Popen[str]], None], store: mlflow.MlflowClient, data_dir: Path, tmp_path: Path
) -> None:
    folders = ["-P", f"data_dir={data_dir}", "-P", f"output_dir={tmp_path / 'runs'}"]
    endless = ["-P", "epochs=100000", "-P", "early_stopping_patience=0"]
    command = mlflow_command("-e", "train_only", *folders, *endless)
    environment = mlflow_environment()
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        run_id = wait_for_epoch(store, process)
        stop(process)
        _, shown = process.communicate(timeout=60)
    assert f"mlflow run . --env-manager local -e resume -P run_id={run_id}" in shown
    assert "Traceback" not in shown
    # MLflow has marked it FAILED by now, for its exit code; that is put right within seconds.
    for _ in range(200):
        if store.get_run(run_id).info.status == "KILLED":
            break
        time.sleep(0.1)
    assert store.get_run(run_id).info.status == "KILLED"
    assert store.list_artifacts(run_id, "checkpoints/last")


def test_mlflow_run_trains_evaluates_and_keeps_a_given_name(
    store: mlflow.MlflowClient, data_dir: Path, tmp_path: Path
) -> None:
    folders = ["-P", f"data_dir={data_dir}", "-P", f"output_dir={tmp_path / 'runs'}"]
    done = mlflow_run("-e", "train_only", *folders, "-P", "epochs=1", "-P", "learning_rate=1e-3")
    assert done.returncode == 0, done.stderr
    (run,) = store.search_runs(["1"])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train_only-pooled_mlp-example"
    assert "WARNING" not in done.stderr
    assert run.data.params["training.learning_rate"] == "0.001"
    # MLflow logs what was given and no more: no parameter of the schema as an empty text.
    given = {"data_dir", "output_dir", "epochs", "learning_rate"}
    assert raw_parameters(run).keys() == given
    assert not {"", "''"} & set(raw_parameters(run).values())
    done = mlflow_run("-e", "eval_only", "--run-name", "mine", *folders, "-P", f"run_id={run.info.run_id}")
    assert done.returncode == 0, done.stderr
    (evaluated,) = store.search_runs(["1"], filter_string="tags.`ppi.mode` = 'eval_only'")
    assert evaluated.info.run_name == "mine"
    assert evaluated.data.metrics["test/auroc"] > 0.5


@pytest.mark.slow
def test_mlflow_run_takes_own_tables_a_config_file_and_paths_with_spaces(
    store: mlflow.MlflowClient, data_dir: Path, example: Dataset, tmp_path: Path
) -> None:
    folder = tmp_path / "my own tables"
    folder.mkdir()
    (folder / "config.yaml").write_text("epochs: 2\nseed: 3\n")
    tables = {
        "train_pairs": shutil.copy(example.splits["train"].pairs, folder / "train.tsv"),
        "val_pairs": shutil.copy(example.splits["validation"].pairs, folder / "val.tsv"),
        "fasta": shutil.copy(example.splits["train"].fasta, folder / "proteins.fasta"),
    }
    places = {"data_dir": data_dir, "output_dir": folder / "runs", "config": folder / "config.yaml"}
    given = {**tables, **places, "seed": "4", "scheduler": ""}  # empty: not given
    words = [word for name, value in given.items() for word in ("-P", f"{name}={value}")]
    done = mlflow_run("-e", "train_only", *words)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    (run,) = store.search_runs(["1"])
    assert run.data.params["data.train_pairs"] == str(folder / "train.tsv")
    assert run.data.params["data.dataset"] == ""
    assert run.data.params["training.epochs"] == "2"
    assert run.data.params["compute.seed"] == "4"
    assert run.data.params["scheduler.scheduler"] == "cosine"
    assert len(store.get_metric_history(run.info.run_id, "val/auroc")) == 2
    assert raw_parameters(run).keys() == given.keys()


def test_mlflow_run_with_a_mistake_is_a_failed_run(store: mlflow.MlflowClient) -> None:
    done = mlflow_run("-e", "train_only", "-P", "epochs=many", "-P", "modle=v3")
    assert done.returncode != 0
    assert "epochs: expected a whole number, got 'many'" in done.stderr
    (run,) = store.search_runs(["1"])
    assert run.info.status == "FAILED"
    assert "modle: no such parameter; did you mean model?" in run.data.tags["ppi.error"]


@pytest.mark.slow
def test_mlflow_run_makes_its_own_environment(
    store: mlflow.MlflowClient, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("pyenv"):
        pytest.skip("pyenv is not here: mlflow's virtualenv mode needs it")
    # Of its own: one that another process left half made would be taken for a whole one.
    monkeypatch.setenv("MLFLOW_ENV_ROOT", str(tmp_path / "environments"))
    folders = ["-P", f"data_dir={data_dir}", "-P", f"output_dir={tmp_path / 'runs'}"]
    done = mlflow_run("-e", "train_only", *folders, "-P", "epochs=1", manager="virtualenv")
    assert done.returncode == 0, done.stderr
    (run,) = store.search_runs(["1"])
    assert run.info.status == "FINISHED"
