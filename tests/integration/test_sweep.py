"""Tests of `sweep`: real studies, workers that are killed, and commands that are given again."""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import mlflow
import optuna
import pytest
from optuna.storages import RDBStorage

from ppi_train.errors import CheckpointError, ConfigError, TrackingError, UserError
from ppi_train.modes import PipelineResult, execute_pipeline
from ppi_train.modes.sweep import ending
from ppi_train.modes.sweep.study import STORAGE_VARIABLE, Study, locked, place_of
from ppi_train.modes.train.train_only import training_job
from ppi_train.modes.train.training_run import TrainingJob
from ppi_train.runs.configs import TrainConfig
from ppi_train.runs.sweep_options import SweepOptions
from ppi_train.tracking.run import mark_lost
from tests.support import ROOT
from tests.support.postgresql import running_postgresql
from tests.support.processes import descendants

SPACE = """
parameters:
  model: [pooled_mlp, v3]
  learning_rate: {low: 1e-4, high: 3e-2, log: true}
  num_layers: [1, 2]
"""


class Lab:
    """A folder with a search space, in which sweeps are made."""

    def __init__(self, folder: Path, store: mlflow.MlflowClient) -> None:
        self.folder, self.client = folder, store
        self.space = folder / "search.yaml"
        self.space.write_text(SPACE)

    def parameters(self, **given: Any) -> dict[str, Any]:
        """The parameters of a short sweep, in folders of this test."""
        shared = {"epochs": 2, "hidden_dim": 8, "members": 2, "trials": 4, "search": str(self.space)}
        places = {"data_dir": str(self.folder / "data"), "output_dir": str(self.folder / "runs")}
        return shared | places | given

    def sweep(self, **given: Any) -> PipelineResult:
        return execute_pipeline("sweep", self.parameters(**given))

    def children(self, result: PipelineResult) -> list[mlflow.entities.Run]:
        experiment = self.client.get_run(result.run_id).info.experiment_id
        filter_string = f"tags.`mlflow.parentRunId` = '{result.run_id}'"
        found = self.client.search_runs([experiment], filter_string=filter_string)
        return sorted(found, key=lambda run: int(run.data.tags.get("ppi.trial", -1)))

    def study(self, result: PipelineResult) -> optuna.Study:
        name = result.outputs["study"]
        storage = f"sqlite:///{self.folder}/data/sweeps/{name}.db"
        return optuna.load_study(study_name=name, storage=storage)


@pytest.fixture
def lab(tmp_path: Path, store: mlflow.MlflowClient) -> Lab:
    return Lab(tmp_path, store)


def drawn(study: optuna.Study) -> list[tuple[dict[str, Any], list[float] | None]]:
    """Parameters and values of the trials."""
    return [(trial.params, trial.values) for trial in study.trials]


def test_each_trial_is_a_run_and_the_winner_has_a_model(lab: Lab) -> None:
    result = lab.sweep()
    trials = lab.children(result)
    assert [run.info.status for run in trials] == ["FINISHED"] * 4
    for run in trials:
        searched = run.data.params
        assert run.data.tags["ppi.mode"] == "train_only"
        assert {"model.model", "training.learning_rate", "training.epochs", "data.dataset"} <= searched.keys()
        assert f"model={searched['model.model']}" in run.info.run_name
        assert ("num_layers" in run.info.run_name) == (searched["model.model"] == "pooled_mlp")
    complete = [run for run in trials if "ppi.pruned" not in run.data.tags]
    best = max(complete, key=lambda run: run.data.metrics["val/auroc_best"])
    assert result.outputs["best_run_id"] == best.info.run_id
    assert result.metrics["val/auroc_best"] == best.data.metrics["val/auroc_best"]
    models = lab.client.search_logged_models([best.info.experiment_id])
    assert [model.source_run_id for model in models] == [best.info.run_id]
    data_dir = str(lab.folder / "data")
    evaluated = execute_pipeline("eval_only", {"run_id": best.info.run_id, "data_dir": data_dir})
    assert evaluated.metrics["test/auroc"] > 0.6
    other = next(run.info.run_id for run in trials if run is not best)
    with pytest.raises(CheckpointError, match="only the winner logs a model"):
        execute_pipeline("promote", {"run_id": other, "registered_model": "ppi", "data_dir": data_dir})


def test_a_trial_whose_run_had_ended_is_not_trained_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Study, "tell", killed)
        with pytest.raises(KeyboardInterrupt):
            lab.sweep(trials=2)
    result = lab.sweep(trials=2)
    assert len(lab.children(result)) == 1
    assert result.outputs["study"].startswith("pooled_mlp-v3-example-")
    trials = lab.study(result).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE"]
    first = lab.client.get_run(trials[0].user_attrs["run_id"])
    assert trials[0].value == first.data.metrics["val/auroc_best"]


@pytest.mark.slow
def test_the_same_command_goes_on_and_draws_what_it_would_have_drawn(lab: Lab) -> None:
    first = lab.sweep(trials=2)
    more = lab.sweep(trials=4)
    assert [int(run.data.tags["ppi.trial"]) for run in lab.children(more)] == [2, 3]
    assert not lab.children(lab.sweep(trials=4))
    other = lab.sweep(trials=4, study="again")
    assert first.outputs["study"] == more.outputs["study"] != other.outputs["study"]
    assert drawn(lab.study(more)) == drawn(lab.study(other))


def test_each_trial_has_a_line_of_its_own(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ppi_train"):
        lab.sweep(trials=2, workers=None)
    lines = [line for line in caplog.messages if line.startswith(("trial ", "device=", "run "))]
    assert [line.split(":")[0] for line in lines if line.startswith("trial ")] == [
        "trial 0 (1 of 2)",
        "trial 1 (2 of 2)",
    ]
    assert not [line for line in lines if line.startswith("device=")]


def test_a_study_of_another_search_is_refused_with_what_differs(lab: Lab) -> None:
    lab.sweep(trials=1, study="mine")
    with pytest.raises(ConfigError, match=r"training.epochs: 3, and the study has 2"):
        lab.sweep(trials=1, study="mine", epochs=3)
    lab.space.write_text(SPACE.replace("[1, 2]", "[1, 3]"))
    with pytest.raises(ConfigError, match="num_layers"):
        lab.sweep(trials=1, study="mine")


def test_a_later_sweep_in_a_process_reads_the_files_again(lab: Lab) -> None:
    sequences = {f"P{number}": "ACDEFGHIKL" * (number + 3) for number in range(6)}
    fasta = lab.folder / "own.fasta"
    fasta.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in sequences.items()))
    pairs, held_out = lab.folder / "own.tsv", lab.folder / "held_out.tsv"
    held_out.write_text("protein_a\tprotein_b\tlabel\nP0\tP2\t1\nP1\tP3\t0\n")
    given = {"fasta": str(fasta), "train_pairs": str(pairs), "val_pairs": str(held_out), "trials": 1}
    digests = []
    for label in (0, 1):
        pairs.write_text(f"protein_a\tprotein_b\tlabel\nP0\tP1\t1\nP2\tP3\t0\nP4\tP5\t{label}\n")
        (trial,) = lab.children(lab.sweep(**given, study=f"labels-{label}"))
        assert trial.inputs
        digests.append({item.dataset.digest for item in trial.inputs.dataset_inputs})
    assert len(digests[0] & digests[1]) == 1  # the validation pairs
    shutil.rmtree(lab.folder / "data" / "sweeps")
    assert len(lab.children(lab.sweep(**given, study="labels-1"))) == 1


def test_lost_runs_that_were_deleted_stay_as_they_are(lab: Lab) -> None:
    run = lab.client.create_run(os.environ["MLFLOW_EXPERIMENT_ID"])
    lab.client.delete_run(run.info.run_id)
    mark_lost(run.info.run_id, "its process was lost")
    mark_lost("0" * 32, "its process was lost")
    assert "ppi.error" not in lab.client.get_run(run.info.run_id).data.tags


def test_a_study_whose_best_run_was_deleted_is_refused_before_more_trials(lab: Lab) -> None:
    result = lab.sweep(trials=1)
    lab.client.delete_run(result.outputs["best_run_id"])
    with pytest.raises(TrackingError, match="the run was deleted"):
        lab.sweep(trials=2)
    assert len(lab.study(result).trials) == 1


@pytest.mark.slow
def test_studies_of_one_name_keep_their_own_scores(lab: Lab) -> None:
    storages = [f"sqlite:///{lab.folder}/{name}.db" for name in ("a", "b")]
    best = {lab.sweep(trials=1, study="mine", storage=storage).outputs["best_run_id"] for storage in storages}
    assert {path.stem for path in (lab.folder / "data" / "sweeps" / "mine.scores").iterdir()} == best


def test_two_sweeps_on_one_study(lab: Lab) -> None:
    place = place_of(SweepOptions(study="mine"), str(lab.folder / "data"), {}, "")
    with locked(place), pytest.raises(ConfigError, match="another sweep works on this study"):
        lab.sweep(study="mine")


def test_the_database_of_mlflow_is_refused(lab: Lab) -> None:
    with pytest.raises(ConfigError, match="such as MLflow's"):
        lab.sweep(storage=f"sqlite:///{lab.folder}/mlflow.db")


def test_a_trial_that_diverges_fails_and_the_sweep_goes_on(lab: Lab) -> None:
    lab.space.write_text("sampler: grid\nparameters: {learning_rate: [100.0, 1e-3]}")
    result = lab.sweep(gradient_clip=0, scheduler="none", weight_decay=1000.0, model="v3", epochs=3)
    failed, finished = lab.children(result)
    assert (failed.info.status, finished.info.status) == ("FAILED", "FINISHED")
    assert "diverged" in failed.data.tags["ppi.error"]
    assert [trial.state.name for trial in lab.study(result).trials] == ["FAIL", "COMPLETE"]


def test_a_few_trials_that_all_fail_are_told_with_their_reason(lab: Lab) -> None:
    lab.space.write_text("parameters: {learning_rate: [100.0]}")
    given = {"gradient_clip": 0, "scheduler": "none", "weight_decay": 1000.0, "model": "v3", "epochs": 3}
    with pytest.raises(UserError, match=r"no trial was completed(.|\n)*diverged.*1 time\)"):
        lab.sweep(trials=1, **given)


@pytest.mark.slow
def test_ten_trials_that_fail_end_the_sweep_with_their_reason(lab: Lab) -> None:
    lab.space.write_text("parameters: {learning_rate: {low: 90.0, high: 99.0}}")
    given = {"gradient_clip": 0, "scheduler": "none", "weight_decay": 1000.0, "model": "v3", "epochs": 3}
    with pytest.raises(UserError, match=r"all 10 trials failed(.|\n)*diverged.*10 times"):
        lab.sweep(trials=30, **given)


@pytest.mark.slow
def test_hopeless_trials_are_stopped_and_keep_their_best_checkpoint(lab: Lab) -> None:
    lab.space.write_text("sampler: random\nparameters: {learning_rate: {low: 1e-6, high: 3e-2, log: true}}")
    result = lab.sweep(trials=16, epochs=4)
    pruned = [run for run in lab.children(result) if "ppi.pruned" in run.data.tags]
    states = Counter(trial.state.name for trial in lab.study(result).trials)
    assert states["PRUNED"] == len(pruned) > 0
    for run in pruned:
        assert run.info.status == "FINISHED"
        assert 1 <= int(run.data.tags["ppi.pruned"]) < 4
        kept = lab.client.list_artifacts(run.info.run_id, "checkpoints")
        assert [item.path for item in kept] == ["checkpoints/best"]


@pytest.mark.slow
def test_two_objectives_and_the_winner_trained_again(lab: Lab) -> None:
    result = lab.sweep(trials=3, objective="val/auroc,weights", retrain_seeds=2)
    assert all(trial.values and len(trial.values) == 2 for trial in lab.study(result).trials)
    again = [run for run in lab.children(result) if "ppi.retrained" in run.data.tags]
    assert {run.data.params["compute.seed"] for run in again} == {"1", "2"}
    values = [run.data.metrics["val/auroc_best"] for run in again]
    assert result.metrics["sweep/retrained_mean"] == pytest.approx(sum(values) / 2)
    page = Path(result.outputs["report"]).read_text()
    assert "best trial" in page.lower()
    assert any(f"run_id={run.info.run_id}" in command for run in again for command in result.then)
    more = lab.sweep(trials=3, objective="val/auroc,weights", retrain_seeds=3)
    assert [run.data.params["compute.seed"] for run in lab.children(more)] == ["3"]
    assert sum(run.info.run_id in more.then[0] for run in again) == 2


@pytest.mark.slow
def test_a_seed_with_which_the_winner_diverges_is_left_out(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:

    def diverge(*_: object) -> NoReturn:
        raise UserError("the training diverged")

    def first_diverges(config: TrainConfig) -> TrainingJob:
        job = training_job(config)
        return dataclasses.replace(job, train=diverge) if config.compute.seed == 1 else job

    monkeypatch.setattr(ending, "training_job", first_diverges)
    result = lab.sweep(trials=1, retrain_seeds=2)
    failed, again = sorted(
        (run for run in lab.children(result) if "ppi.retrained" in run.data.tags),
        key=lambda run: int(run.data.tags["ppi.retrained"]),
    )
    assert (failed.info.status, again.info.status) == ("FAILED", "FINISHED")
    assert result.metrics["sweep/retrained_mean"] == again.data.metrics["val/auroc_best"]


def start(lab: Lab, **given: Any) -> subprocess.Popen[str]:
    options = [f"--{name}={value}" for name, value in lab.parameters(**given).items()]
    command = [sys.executable, "-m", "ppi_train", "sweep", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=lab.folder, env=environment, stderr=subprocess.PIPE, text=True)


def check_whole(lab: Lab, study: str, count: int) -> None:
    """Every trial has ended, none is doubled, and no run is left RUNNING."""
    found = optuna.load_study(study_name=study, storage=f"sqlite:///{lab.folder}/data/sweeps/{study}.db")
    assert all(trial.state.is_finished() for trial in found.trials)
    assert not [trial for trial in found.trials if trial.user_attrs.get("lost") and trial.values]
    ended = [trial for trial in found.trials if not trial.user_attrs.get("lost")]
    assert len(ended) == count
    assert len({tuple(trial.params.items()) for trial in ended}) == count
    runs = lab.client.search_runs([os.environ["MLFLOW_EXPERIMENT_ID"]], max_results=1000)
    assert "RUNNING" not in {run.info.status for run in runs}
    by_trial = Counter(
        run.data.tags["ppi.trial"]
        for run in runs
        if run.info.status == "FINISHED" and "ppi.trial" in run.data.tags
    )
    assert len(by_trial) == count
    assert set(by_trial.values()) == {1}


@pytest.mark.slow
def test_workers_that_are_killed_at_random_moments(lab: Lab) -> None:
    process = start(lab, trials=20, workers=2, study="killed", epochs=6, pruner="none")
    moments, killed, deadline = random.Random(0), 0, time.monotonic() + 300
    while process.poll() is None and killed < 5 and time.monotonic() < deadline:
        time.sleep(moments.uniform(0.5, 4))
        workers = descendants(process.pid, "spawn_main")
        if workers and has_begun(lab, "killed"):
            moments.choice(workers).kill()
            killed += 1
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    assert killed == 5
    check_whole(lab, "killed", 20)


def has_begun(lab: Lab, study: str) -> bool:
    """Whether workers have begun with the trials of a study; before, a killed worker ends the command."""
    return (lab.folder / "data" / "sweeps" / f"{study}.db").exists() and bool(
        lab.client.search_runs([os.environ["MLFLOW_EXPERIMENT_ID"]], "tags.`ppi.trial` = '0'")
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [None, 2])
def test_a_sweep_that_is_killed_goes_on(lab: Lab, workers: int | None) -> None:
    given = {"trials": 8, "study": "killed", "epochs": 6, "pruner": "none"}
    given |= {"workers": workers} if workers else {}
    process = start(lab, **given)
    assert process.stderr
    for line in process.stderr:
        if "trial 2" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = start(lab, **given)
    _, errors = again.communicate(timeout=900)
    assert again.returncode == 0, errors
    check_whole(lab, "killed", 8)


@pytest.mark.slow
def test_a_study_in_postgresql(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_postgresql(tmp_path / "postgresql") as uri:
        monkeypatch.setenv(STORAGE_VARIABLE, uri)
        first = lab.sweep(trials=2, study="mine", workers=2)
        place = place_of(SweepOptions(study="mine"), "", {}, "")
        with locked(place), pytest.raises(ConfigError, match="another sweep"):
            lab.sweep(trials=3, study="mine")
        second = lab.sweep(trials=3, study="mine")
        storage = place.storage()
        assert isinstance(storage, RDBStorage)
        storage.engine.dispose()  # its connections, before the server ends
    assert (len(lab.children(first)), len(lab.children(second))) == (2, 1)
