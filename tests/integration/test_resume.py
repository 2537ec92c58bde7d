"""Tests of `resume`: a killed run ends bit-identical to an uninterrupted run."""

from __future__ import annotations

import functools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Param

from ppi_train.checkpoints import MARKER, WEIGHTS, checkpoint_digest, read_checkpoint
from ppi_train.config.loading import load_config
from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.errors import CheckpointError, DataError, TrackingError
from ppi_train.modes import execute_pipeline
from ppi_train.runs.configs import TrainConfig
from ppi_train.tracking.artifacts import TAG, StoredCheckpoints
from tests.support import ROOT, default_signals
from tests.support.changed_cache import write_scaled
from tests.support.faults import PASS, REFUSE, faulty_proxy
from tests.support.made_species import ALIASES, FASTA, LINKS, write_species

# The default's 8 steps an epoch leave little to be killed in: these make 50, each with its own dropout.
TRAINING: dict[str, Any] = {
    "epochs": 5, "batch_size": 128, "early_stopping_patience": 0, "checkpoint_every": "7 steps", "seed": 5,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _own_checkpoint_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPI_TRAIN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def at_server(server: str, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """A client of the real server, which the code under test uses as well; its own experiment."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    client = mlflow.MlflowClient(server)
    experiment = client.create_experiment(f"resume-{time.time_ns()}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    return client


@pytest.fixture(scope="module")
def train_whole(server: str, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainWhole:
    """Trains at the server without an interruption, and gives the outcome."""
    runs = tmp_path_factory.mktemp("whole")

    def train(mode: str, **parameters: object) -> Trained:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", server)
            patch.delenv("MLFLOW_RUN_ID", raising=False)
            patch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
            client = mlflow.MlflowClient(server)
            patch.setenv("MLFLOW_EXPERIMENT_ID", client.create_experiment(f"whole-{time.time_ns()}"))
            places = {"data_dir": str(data_dir), "output_dir": str(runs)}
            result = execute_pipeline(mode, TRAINING | places | parameters)
            return outcome(client, result.run_id, runs)

    return train


@pytest.fixture(scope="module")
def whole(train_whole: TrainWhole) -> Trained:
    """The outcome of a run that was never interrupted."""
    return train_whole("train_only")


@dataclass(frozen=True)
class Trained:
    """What a run is compared by: metric points, its weights' digests, its files, and how many models it has.

    Of metrics that tell of the clock only the steps count.
    """

    run_id: str = field(compare=False)
    points: dict[str, list[tuple[int, float]]]
    digests: dict[str, str]
    files: set[str]
    models: int


TrainWhole = Callable[..., Trained]


def outcome(client: mlflow.MlflowClient, run_id: str, output_dir: Path) -> Trained:
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    names = [name for name in run.data.metrics if not name.startswith("system/")]
    history = {name: client.get_metric_history(run_id, name) for name in names}
    points = {name: [(int(point.step), point.value) for point in found] for name, found in history.items()}
    rates = client.get_metric_history(run_id, "system/pairs_per_second")
    points["system/pairs_per_second"] = [(int(point.step), 0.0) for point in rates]
    folders = {name: output_dir / run_id / "checkpoints" / name for name in ("best", "last")}
    markers = {name: json.loads((folder / MARKER).read_text()) for name, folder in folders.items()}
    stored = StoredCheckpoints.from_tag(run.data.tags[TAG])
    assert stored is not None
    assert stored.digests == {name: checkpoint_digest(folder) for name, folder in folders.items()}
    models = client.search_logged_models(
        [run.info.experiment_id], filter_string=f"source_run_id = '{run_id}'"
    )
    return Trained(
        run_id=run_id,
        points=points,
        digests={name: marker[WEIGHTS] for name, marker in markers.items()},
        files=files_of(client, run_id),
        models=sum(str(model.status.value) == "READY" for model in models),
    )


def files_of(client: mlflow.MlflowClient, run_id: str, path: str | None = None) -> set[str]:
    found: set[str] = set()
    for item in client.list_artifacts(run_id, path):
        found |= files_of(client, run_id, item.path) if item.is_dir else {item.path}
    return found


def start(mode: str, **parameters: object) -> subprocess.Popen[str]:
    arguments = [text for name, value in parameters.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", f"entry_points.{mode}", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, preexec_fn=default_signals)


def read_until(process: subprocess.Popen[str], pattern: str) -> tuple[str, bool]:
    """What the process shows up to a line with the pattern, and whether that came before its end."""
    assert process.stderr is not None
    shown = ""
    for line in process.stderr:
        shown += line
        if re.search(pattern, line):
            return shown, True
    return shown, False


TAKEN_UP = r"run [0-9a-f]{32} at "
STEPPING = r"epoch \d+/|continuing at step"
LOGGED = r"train: [\d,]+ pairs of"  # before that a killed run has nothing to continue by
FINETUNING = r"epoch 0/|continuing at step"
LAST_EPOCH = r"epoch 5/5|continuing at step 250"
# What to wait for, and how many seconds at most then to go on before the kill. The first five are so short
# that training, 5 s and more, cannot end meanwhile.
MOMENTS = [
    (STEPPING, 0.8),
    (TAKEN_UP, 2.0),
    (STEPPING, 0.8),
    (STEPPING, 0.8),
    (STEPPING, 0.8),
    (LAST_EPOCH, 3.0),
    (LAST_EPOCH, 3.0),
]
MOMENTS_OF_FINETUNING = [(LOGGED, 1.0), (FINETUNING, 0.1), (FINETUNING, 0.5), (LAST_EPOCH, 3.0)]


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_one_never_interrupted(
    at_server: mlflow.MlflowClient, whole: Trained, data_dir: Path, tmp_path: Path
) -> None:
    kills = killed_again_and_again(at_server, whole, MOMENTS, "train_only", data_dir, tmp_path)
    assert len(kills) >= 5, kills


@pytest.mark.slow
def test_a_killed_finetuning_ends_as_one_never_interrupted(
    at_server: mlflow.MlflowClient,
    whole: Trained,
    train_whole: TrainWhole,
    data_dir: Path,
    tmp_path: Path,
) -> None:
    ancestor = {"pretrain_run_id": whole.run_id}
    finetuned = train_whole("finetune_from_pretrain", **ancestor)
    moments, mode = MOMENTS_OF_FINETUNING, "finetune_from_pretrain"
    kills = killed_again_and_again(at_server, finetuned, moments, mode, data_dir, tmp_path, **ancestor)
    assert len(kills) >= 3, kills


@pytest.mark.slow
def test_a_killed_run_of_a_network_ends_as_one_never_interrupted(
    at_server: mlflow.MlflowClient, train_whole: TrainWhole, data_dir: Path, tmp_path: Path
) -> None:
    write_species(tmp_path)
    files = {"network": tmp_path / LINKS, "fasta": tmp_path / FASTA, "id_map": tmp_path / ALIASES}
    network = {name: str(path) for name, path in files.items()} | {"min_score": 400}
    never_killed = train_whole("train_only", **network)
    assert {"network/network.json", "network/identifiers.tsv"} <= never_killed.files
    moments = [(LOGGED, 0.5), (STEPPING, 0.3), (STEPPING, 0.3)]
    kills = killed_again_and_again(
        at_server, never_killed, moments, "train_only", data_dir, tmp_path, **network
    )
    assert len(kills) >= 2, kills


def killed_again_and_again(
    client: mlflow.MlflowClient,
    whole: Trained,
    moments: list[tuple[str, float]],
    mode: str,
    data_dir: Path,
    tmp_path: Path,
    **parameters: object,
) -> list[str]:
    """Kills a run and all that continue it, compares the end with `whole`, and tells when it was killed."""
    seed = int(os.environ.get("PPI_TRAIN_KILL_SEED") or time.time_ns() % 1_000_000)
    draw = random.Random(seed)
    places = {"data_dir": str(data_dir), "output_dir": str(tmp_path / "runs")}
    process = start(mode, **TRAINING, **places, **parameters)
    run_id, kills = "", []
    for pattern, longest in moments:
        shown, alive = read_until(process, pattern)
        run_id = run_id or re.findall(r"run ([0-9a-f]{32}) at ", shown)[0]
        pause = draw.uniform(0, longest)
        time.sleep(pause)
        if alive and process.poll() is None:
            process.kill()
            kills.append(f"{pause:.3f} s after {pattern}")
        process.communicate()
        process = start("resume", run_id=run_id)
    _, shown = process.communicate(timeout=120)
    told = f"PPI_TRAIN_KILL_SEED={seed}: killed {kills}\n{shown}"
    assert process.returncode == 0 or "the run has finished" in shown, told
    assert outcome(client, run_id, tmp_path / "runs") == whole, told
    return kills


@pytest.mark.slow
@pytest.mark.parametrize("first", [None, "sync"])
def test_killed_while_the_server_was_away_a_run_loses_no_number(
    first: str | None,
    at_server: mlflow.MlflowClient,
    whole: Trained,
    server: str,
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = {"data_dir": str(data_dir), "output_dir": str(tmp_path / "runs")}
    with faulty_proxy(server) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
        process = start("train_only", **TRAINING, **places)
        before, alive = read_until(process, TAKEN_UP)
        assert alive, before
        proxy.set(REFUSE)
        run_id = re.findall(r"run ([0-9a-f]{32}) at ", before)[0]
        shown, alive = read_until(process, r"epoch 3/")
        assert alive, shown
        process.kill()
        process.communicate()
        assert not at_server.get_run(run_id).data.params, "the server was not away"
        proxy.set(PASS)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    if first:
        execute_pipeline("sync", {"journal": str(tmp_path / "runs")})
        killed = at_server.get_run(run_id)
        assert killed.info.status == "KILLED"
        assert {"val/auroc", "train/loss"} <= set(killed.data.metrics)
        # The last second may not have been on the disk; `resume` trains it again.
        steps = [point.step for point in at_server.get_metric_history(run_id, "val/auroc")]
        assert steps == [1, 2, 3][: len(steps)]
    assert execute_pipeline("resume", {"run_id": run_id}).run_id == run_id
    assert outcome(at_server, run_id, tmp_path / "runs") == whole


@pytest.mark.slow
def test_killed_offline_a_run_is_resumed_after_a_sync(
    at_server: mlflow.MlflowClient, whole: Trained, data_dir: Path, tmp_path: Path
) -> None:
    places = {"data_dir": str(data_dir), "output_dir": str(tmp_path / "runs")}
    process = start("train_only", offline=True, **TRAINING, **places)
    before, alive = read_until(process, r"epoch 2/")
    assert alive, before
    process.kill()
    process.communicate()
    assert not at_server.search_runs([os.environ["MLFLOW_EXPERIMENT_ID"]])
    execute_pipeline("sync", {"journal": str(tmp_path / "runs")})
    (run,) = at_server.search_runs(
        [os.environ["MLFLOW_EXPERIMENT_ID"]], filter_string="tags.`ppi.mode` = 'train_only'"
    )
    assert run.info.status == "KILLED"
    execute_pipeline("resume", {"run_id": run.info.run_id})
    assert outcome(at_server, run.info.run_id, tmp_path / "runs") == whole


@pytest.mark.slow
def test_of_two_that_resume_a_run_at_once_one_is_refused(
    at_server: mlflow.MlflowClient, whole: Trained, data_dir: Path, tmp_path: Path
) -> None:
    places = {"data_dir": str(data_dir), "output_dir": str(tmp_path / "runs")}
    process = start("train_only", **TRAINING, **places)
    before, alive = read_until(process, r"epoch 1/")
    assert alive, before
    process.kill()
    process.communicate()
    run_id = re.findall(r"run ([0-9a-f]{32}) at ", before)[0]
    both = [start("resume", run_id=run_id) for _ in range(2)]
    shown = [process.communicate(timeout=240)[1] for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 2], shown
    refusal = shown[codes.index(2)]
    assert "another process works on this run" in refusal or "the run has finished" in refusal
    assert outcome(at_server, run_id, tmp_path / "runs") == whole


def interrupted(
    number: signal.Signals, data_dir: Path, output_dir: Path, **parameters: object
) -> tuple[str, str, int]:
    """Trains until a signal comes in the second epoch; gives the run's ID, the text and the exit code."""
    settings = TRAINING | {"data_dir": str(data_dir), "output_dir": str(output_dir)} | parameters
    process = start("train_only", **settings)
    before, alive = read_until(process, r"epoch 1/")
    assert alive, before
    time.sleep(0.1)
    process.send_signal(number)
    _, after = process.communicate(timeout=60)
    return re.findall(r"run ([0-9a-f]{32}) at ", before)[0], before + after, process.returncode


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_a_signal_writes_a_checkpoint_and_prints_the_command_that_goes_on_elsewhere(
    number: signal.Signals,
    code: int,
    at_server: mlflow.MlflowClient,
    whole: Trained,
    data_dir: Path,
    tmp_path: Path,
) -> None:
    # No checkpoint is due by itself: what is there was written because of the signal.
    run_id, shown, returned = interrupted(
        number, data_dir, tmp_path / "here", checkpoint_every="1000 minutes"
    )
    assert returned == code, shown
    assert at_server.get_run(run_id).info.status == "KILLED"
    assert f"interrupted; to continue: mlflow run . --env-manager local -e resume -P run_id={run_id}" in shown
    assert "stopped by" in shown
    assert "Traceback" not in shown
    last = read_checkpoint(tmp_path / "here" / run_id / "checkpoints/last", with_training_state=True)
    assert last.training_state is not None
    assert last.step > 50 or last.training_state["part"]["items"] > 0, "the checkpoint is of an epoch's end"
    # Another machine has neither the run's folder nor the caches, only the tracking server.
    shutil.rmtree(tmp_path / "here")
    elsewhere = {"data_dir": str(tmp_path / "data"), "output_dir": str(tmp_path / "there")}
    result = execute_pipeline("resume", {"run_id": run_id} | elsewhere)
    assert result.run_id == run_id
    assert outcome(at_server, run_id, tmp_path / "there") == whole
    assert "ppi.error" not in at_server.get_run(run_id).data.tags


@pytest.fixture
def folders(data_dir: Path, tmp_path: Path) -> dict[str, Any]:
    return {"data_dir": str(data_dir), "output_dir": str(tmp_path / "runs")}


# Few steps: where a run is continued at its end, or is not continued at all, more would show nothing.
SHORT: dict[str, Any] = {"epochs": 1, "seed": 5}


def broken_off(client: mlflow.MlflowClient, folders: dict[str, Any], **parameters: object) -> str:
    """The ID of a run whose process died after its last step; done quickly, in this process."""
    result = execute_pipeline("train_only", SHORT | folders | parameters)
    last = Path(folders["output_dir"]) / result.run_id / "checkpoints/last"
    assert last.exists()
    client.update_run(result.run_id, status="RUNNING")
    return result.run_id


def test_a_run_that_has_finished(store: mlflow.MlflowClient, folders: dict[str, Any]) -> None:
    result = execute_pipeline("train_only", SHORT | folders)
    with pytest.raises(CheckpointError, match="the run has finished: there is nothing to continue") as caught:
        execute_pipeline("resume", {"run_id": result.run_id})
    assert f"finetune_from_pretrain -P pretrain_run_id={result.run_id}" in str(caught.value)
    assert store.get_run(result.run_id).info.status == "FINISHED"


@pytest.mark.usefixtures("_ctrl_c")
def test_interrupted_after_its_last_step_a_run_tells_how_to_go_on(
    store: mlflow.MlflowClient,
    folders: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with monkeypatch.context() as patch:
        # While the figures are drawn, when no step is left to end with.
        interrupt = functools.partial(signal.raise_signal, signal.SIGINT)
        patch.setattr("ppi_train.reporting.figures.save_figures", lambda *_: interrupt())
        with pytest.raises(KeyboardInterrupt):
            execute_pipeline("train_only", SHORT | folders)
    (killed,) = store.search_runs(["1"])
    assert killed.info.status == "KILLED"
    run_id = killed.info.run_id
    assert (
        f"interrupted; to continue: mlflow run . --env-manager local -e resume -P run_id={run_id}"
        in caplog.text
    )
    execute_pipeline("resume", {"run_id": run_id})
    finished = store.get_run(run_id)
    assert finished.info.status == "FINISHED"
    assert finished.data.metrics["val/auroc_best"] == finished.data.metrics["val/auroc"]
    assert store.list_artifacts(run_id, "figures")


def test_a_run_of_another_mode(store: mlflow.MlflowClient, folders: dict[str, Any]) -> None:
    del store
    prepared = execute_pipeline("prepare_data", {"data_dir": folders["data_dir"]})
    with pytest.raises(CheckpointError, match="this is not a training run"):
        execute_pipeline("resume", {"run_id": prepared.run_id})


# Holds the folder of a run as whoever trains it does, until it is killed.
HOLD = """
import sys, time
from ppi_train.tracking.run_folder import run_folder

with run_folder(sys.argv[1], sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_run_that_another_process_works_on(store: mlflow.MlflowClient, folders: dict[str, Any]) -> None:
    run_id = broken_off(store, folders)
    command = [sys.executable, "-c", HOLD, folders["output_dir"], run_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with pytest.raises(TrackingError, match="another process works on this run") as caught:
                execute_pipeline("resume", {"run_id": run_id})
            assert f"held by process {other.pid}" in str(caught.value)
            assert store.get_run(run_id).info.status == "RUNNING"
        finally:
            other.kill()
    # A dead process holds nothing.
    execute_pipeline("resume", {"run_id": run_id})
    assert store.get_run(run_id).info.status == "FINISHED"


def test_a_run_that_lives_on_another_machine(store: mlflow.MlflowClient, folders: dict[str, Any]) -> None:
    run_id = broken_off(store, folders)
    store.log_metric(run_id, "system/cpu_utilization_percentage", 50.0)
    elsewhere = {"output_dir": str(Path(folders["output_dir"]).with_name("other"))}
    with pytest.raises(TrackingError, match="seems to be alive on another machine"):
        execute_pipeline("resume", {"run_id": run_id} | elsewhere)
    # It logs its first metric after seconds, and is no less alive before.
    young = store.create_run("1", tags={"ppi.mode": "train_only"}).info.run_id
    store.log_batch(
        young, params=[Param(name, value) for name, value in store.get_run(run_id).data.params.items()]
    )
    with pytest.raises(TrackingError, match="seems to be alive on another machine") as caught:
        execute_pipeline("resume", {"run_id": young} | elsewhere)
    assert re.search(r"got: it started or logged a metric \d+ s ago", str(caught.value))
    # Where it ran, its lock tells that it is dead, however lately it was alive.
    assert execute_pipeline("resume", {"run_id": run_id}).run_id == run_id


def test_data_that_changed_since(
    store: mlflow.MlflowClient, folders: dict[str, Any], example: Dataset, tmp_path: Path
) -> None:
    pairs = tmp_path / "mine.tsv"
    shutil.copy(example.splits["train"].pairs, pairs)
    own = {"val_pairs": str(example.splits["validation"].pairs), "fasta": str(example.splits["train"].fasta)}
    run_id = broken_off(store, folders, train_pairs=str(pairs), **own)
    lines = pairs.read_text().splitlines(keepends=True)
    pairs.write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match="not those that the run was trained on: train"):
        execute_pipeline("resume", {"run_id": run_id})
    moved = tmp_path / "elsewhere.tsv"
    moved.write_text("".join(lines))
    assert execute_pipeline("resume", {"run_id": run_id, "train_pairs": str(moved)}).run_id == run_id
    assert store.get_run(run_id).data.tags["ppi.dataset"] == "mine"


def test_embeddings_whose_numbers_changed_since(
    store: mlflow.MlflowClient, folders: dict[str, Any], tmp_path: Path
) -> None:
    made = execute_pipeline("embed", {"data_dir": folders["data_dir"]}).outputs["embeddings"]
    given = tmp_path / "mine.parquet"
    shutil.copy(made, given)
    run_id = broken_off(store, folders, embeddings=str(given))
    write_scaled(Path(made), given, 1.5)
    with pytest.raises(DataError, match="not those that the run was trained on: embedding_content"):
        execute_pipeline("resume", {"run_id": run_id})
    shutil.copy(made, given)
    assert execute_pipeline("resume", {"run_id": run_id}).run_id == run_id


def test_a_damaged_checkpoint_here_gives_way_to_the_one_on_the_server(
    store: mlflow.MlflowClient, folders: dict[str, Any]
) -> None:
    run_id = broken_off(store, folders)
    last = Path(folders["output_dir"]) / run_id / "checkpoints/last"
    (last / "weights.safetensors").write_bytes(b"")
    assert execute_pipeline("resume", {"run_id": run_id}).run_id == run_id
    assert read_checkpoint(last).step == 8


def test_the_attempts_are_shown_below_the_run(
    store: mlflow.MlflowClient, folders: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    run_id = broken_off(store, folders)
    with caplog.at_level("INFO"):
        result = execute_pipeline("resume", {"run_id": run_id})
    assert f"/runs/{run_id}?" in next(line for line in caplog.messages if line.startswith("this run: "))
    assert result.url
    (attempt,) = store.search_runs(["1"], filter_string="tags.`ppi.mode` = 'resume'")
    assert attempt.data.tags["mlflow.parentRunId"] == run_id
    assert attempt.info.status == "FINISHED"


def test_the_config_of_a_run_comes_back_from_its_logged_parameters(
    store: mlflow.MlflowClient, folders: dict[str, Any]
) -> None:
    given = {"learning_rate": 1 / 3000, "class_weight": "balanced", "max_length": 200, "deterministic": True}
    given |= {"checkpoint_every": "7 steps", "batch_size": 128}
    run_id = broken_off(store, folders, **given)
    from ppi_train.runs.config import original_config
    from ppi_train.tracking.runs import find_run

    wanted, _ = load_config(TrainConfig, SHORT | folders | given)
    found = original_config(find_run(run_id))
    assert isinstance(found, TrainConfig)
    assert found.training.learning_rate == wanted.training.learning_rate
    assert (found.loss.class_weight, found.embedder.max_length) == ("balanced", 200)
    assert found.compute.deterministic
    assert (found.training.checkpoint_every, found.sampling.batch_size) == ("7 steps", 128)


# Dies at the end of a training run as a machine that goes down does; nothing was uploaded but the numbers.
DIE = """
import os, signal, sys
from ppi_train.modes import execute_pipeline
from ppi_train.tracking.run import TrackedRun

TrackedRun.keep_checkpoints = lambda *_, **__: None
TrackedRun.log_model = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
execute_pipeline("train_only", dict(word.split("=", 1) for word in sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False])
def test_resumed_from_another_folder_a_run_goes_on_where_it_was(
    named: bool,
    store: mlflow.MlflowClient,
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    words = [f"{name}={value}" for name, value in SHORT.items()] + [f"data_dir={data_dir}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    died = subprocess.run([sys.executable, "-c", DIE, *words], cwd=here, env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    (killed,) = store.search_runs(["1"])
    run_id = killed.info.run_id
    assert (killed.info.status, TAG in killed.data.tags) == ("RUNNING", False)
    monkeypatch.chdir(there)
    elsewhere = {"output_dir": str(there / "others")} if named else {}
    with caplog.at_level("INFO"):
        execute_pipeline("resume", {"run_id": run_id} | elsewhere)
    assert store.get_run(run_id).info.status == "FINISHED"
    assert f"taken from {here / 'runs' / run_id / 'checkpoints'}" in caplog.text
    assert "continuing at step 8" in caplog.text
    assert (there / ("others" if named else "runs") / run_id / "checkpoints/last").is_dir()
