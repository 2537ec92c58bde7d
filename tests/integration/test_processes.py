"""Tests of training on several processes: the same digits, one run, and lost processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import mlflow
import psutil
import pytest
from mlflow.entities import Run

from ppi_train.checkpoints import WEIGHTS, read_checkpoint
from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.errors import CheckpointError
from ppi_train.io.files import file_digest
from tests.support import ROOT, default_signals
from tests.support.commands import run_command
from tests.support.processes import descendants
from tests.support.stores import make_store

# Some hundred optimiser steps of two batches each, with dropout.
TRAINING = {
    "epochs": "30", "batch_size": "64", "accumulation_steps": "2", "early_stopping_patience": "0",
    "checkpoint_every": "5 steps", "seed": "5", "members": "1",
}  # fmt: skip


class Lab:
    """A folder with a tracking store, in which commands are run with one thread a process."""

    def __init__(self, folder: Path, data_dir: Path) -> None:
        self.folder, self._data = folder, data_dir
        self.store = f"sqlite:///{folder}/mlflow.db"

    def start(self, mode: str, *launcher: str, **parameters: object) -> subprocess.Popen[str]:
        words = [word for name, value in parameters.items() for word in (f"--{name}", str(value))]
        environment = {
            **os.environ, "MLFLOW_TRACKING_URI": self.store, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
            "PPI_TRAIN_CACHE": str(self.folder / "cache"),
        }  # fmt: skip
        environment.pop("MLFLOW_RUN_ID", None)
        return subprocess.Popen(
            [*(launcher or (sys.executable,)), "-m", "ppi_train", mode, *words],
            cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            preexec_fn=default_signals,
        )  # fmt: skip

    def train(self, **changes: object) -> subprocess.Popen[str]:
        if not (self.folder / "mlflow.db").exists():
            make_store(self.folder / "mlflow.db")
        return self.start("train_only", **TRAINING, data_dir=self._data, **changes)

    def runs(self) -> list[Run]:
        client = mlflow.MlflowClient(self.store)
        return list(client.search_runs(["0"], order_by=["attributes.start_time"]))

    def weights(self, run: Run) -> str:
        return file_digest(self.folder / "runs" / run.info.run_id / "checkpoints/best" / WEIGHTS)

    def steps(self) -> int:
        """Steps of the checkpoint of the only run; 0 before there is one."""
        with suppress(StopIteration, CheckpointError):
            return read_checkpoint(next(self.folder.glob("runs/*/checkpoints/last"))).step
        return 0


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, printed = process.communicate(timeout=300)
    return process.returncode, printed


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> str:
    """Digest of the weights that one process trains."""
    lab = Lab(tmp_path_factory.mktemp("undisturbed"), data_dir)
    assert ended(lab.train())[0] == 0
    (run,) = lab.runs()
    return lab.weights(run)


@pytest.fixture
def lab(tmp_path: Path, data_dir: Path) -> Lab:
    return Lab(tmp_path, data_dir)


def listening(pid: int) -> set[str]:
    """Addresses on which a process and all that it started listen."""
    found = set()
    for member in [psutil.Process(pid), *descendants(pid, "")]:
        with suppress(psutil.NoSuchProcess):
            connections = member.net_connections()
            found |= {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}
    return found


@pytest.mark.slow
def test_two_processes_train_the_bits_of_one_in_one_run(lab: Lab, undisturbed: str) -> None:
    training = lab.train(processes=2)
    wait_for(lab.steps)
    assert listening(training.pid) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    code, printed = ended(training)
    assert code == 0, printed
    (run,) = lab.runs()
    assert run.info.status == "FINISHED"
    assert lab.weights(run) == undisturbed
    assert run.data.params["compute.processes"] == "2"
    assert run.data.metrics["system/rank_1/memory_usage_megabytes"] > 50
    logs = [item.path for item in mlflow.MlflowClient(lab.store).list_artifacts(run.info.run_id, "logs")]
    assert logs == ["logs/rank-1.log"]


@pytest.mark.slow
def test_unless_given_the_batch_is_divided_among_the_processes(lab: Lab, data_dir: Path) -> None:
    shared = {"data_dir": data_dir, "epochs": 1}
    assert ended(lab.start("train_only", **shared, processes=2))[0] == 0
    assert ended(lab.start("train_only", **shared, accumulation_steps=2, batch_size=512))[0] == 0
    two, alone = lab.runs()
    for name in ("batch_size", "accumulation_steps"):
        assert two.data.params[f"training.{name}"] == alone.data.params[f"training.{name}"]
    assert lab.weights(two) == lab.weights(alone)


@pytest.mark.slow
def test_torchrun_starts_the_ranks_of_one_run(lab: Lab, undisturbed: str, data_dir: Path) -> None:
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    code, printed = ended(lab.start("train_only", *launcher, **TRAINING, data_dir=data_dir))
    assert code == 0, printed
    (run,) = lab.runs()
    assert lab.weights(run) == undisturbed
    assert len(re.findall("epoch 30/30", printed)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "processes"), [(1, 1), (0, 3)])
def test_after_a_lost_process_the_run_is_failed_and_continues_exactly(
    lab: Lab, undisturbed: str, lost: int, processes: int
) -> None:
    training = lab.train(processes=2)
    wait_for(lambda: lab.steps() > 40)
    second = descendants(training.pid, "follower")[0]
    (training if lost == 0 else second).kill()
    killed_at = time.time()
    code, printed = ended(training)
    assert code == (-signal.SIGKILL if lost == 0 else 2)
    wait_for(lambda: lab.runs()[0].info.status == "FAILED")
    (run,) = lab.runs()
    assert run.info.end_time / 1000 - killed_at < 30  # what is promised, and no measure of speed
    assert f"rank {lost} (process " in run.data.tags["ppi.error"]
    if lost:
        assert f"-P run_id={run.info.run_id}" in printed
        stored = mlflow.MlflowClient(lab.store).list_artifacts(run.info.run_id, "checkpoints/last")
        assert stored
    code, printed = ended(lab.start("resume", run_id=run.info.run_id, processes=processes))
    assert code == 0, printed
    assert mlflow.MlflowClient(lab.store).get_run(run.info.run_id).info.status == "FINISHED"
    assert lab.weights(run) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_first_process_that_ends_before_all_are_connected_leaves_nothing(
    lab: Lab, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lab.folder / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(lab.folder / "tmp"))
    training = lab.train(processes=2)
    wait_for(lambda: descendants(training.pid, "follower"))
    other = descendants(training.pid, "follower")[0]
    training.send_signal(number)
    assert ended(training)[0] == (130 if number == signal.SIGINT else -number)
    wait_for(lambda: not other.is_running())
    assert not list((lab.folder / "tmp").glob("ppi_train_*"))


def test_sigterm_ends_a_process_that_waits_for_the_others(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        variables = {"WORLD_SIZE": 2, "RANK": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        training = lab.start("train_only")
        silent.settimeout(120)
        connection, _ = silent.accept()
        with connection:
            training.terminate()
            assert ended(training)[0] == -signal.SIGTERM


@pytest.mark.slow
def test_sigterm_to_one_rank_ends_all_and_the_run_continues_exactly(lab: Lab, undisturbed: str) -> None:
    training = lab.train(processes=2)
    wait_for(lambda: lab.steps() > 40)
    other = descendants(training.pid, "follower")[0]
    other.terminate()
    code, printed = ended(training)
    assert code == 130, printed
    assert not psutil.pid_exists(other.pid)
    (run,) = lab.runs()
    assert run.info.status == "KILLED"
    assert ended(lab.start("resume", run_id=run.info.run_id))[0] == 0
    assert lab.weights(run) == undisturbed


@pytest.mark.slow
def test_a_rank_that_does_not_find_the_data_ends_all_with_its_name(lab: Lab, example: Dataset) -> None:
    for name, split in (("train", "train"), ("val", "validation")):
        shutil.copy(example.splits[split].pairs, lab.folder / f"{name}.tsv")
    shutil.copy(example.splits["train"].fasta, lab.folder / "mine.fasta")
    (lab.folder / "elsewhere").mkdir()
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    script = f'[ $RANK = 1 ] && cd elsewhere; exec {sys.executable} "$@"'
    code, _ = ended(
        lab.start(
            "train_only", *torchrun, "--no-python", "bash", "-c", script, "-",
            train_pairs="train.tsv", val_pairs="val.tsv", fasta="mine.fasta",
        )
    )  # fmt: skip
    assert code != 0
    (run,) = lab.runs()
    assert run.info.status == "FAILED"
    assert "rank 1 (process " in run.data.tags["ppi.error"]
    assert "train.tsv" in run.data.tags["ppi.error"]


@pytest.mark.slow
def test_the_stages_of_a_pipeline_train_on_the_same_processes(lab: Lab, data_dir: Path) -> None:
    shared = {"data_dir": data_dir, "epochs": 1, "finetune_dataset": "example", "finetune_epochs": 1}
    embedder = {"embedder": "protein_lm", "lm_hidden_dim": 8, "lm_epochs": 1}
    code, printed = ended(lab.start("full_pipeline", **shared, **embedder, processes=2))
    assert code == 0, printed
    trained = [run for run in lab.runs() if run.data.params.get("compute.processes") == "2"]
    modes = [run.data.tags["ppi.mode"] for run in trained]
    assert modes == ["full_pipeline", "train_embedder", "train_only", "finetune_from_pretrain"]
    assert all((lab.folder / "runs" / run.info.run_id / "logs/rank-1.log").exists() for run in trained[1:])


@pytest.mark.slow
def test_a_lost_first_process_fails_the_runs_around_the_training_too(lab: Lab, data_dir: Path) -> None:
    pipeline = lab.start("full_pipeline", **TRAINING, data_dir=data_dir, processes=2)
    wait_for(lab.steps)
    pipeline.kill()
    assert ended(pipeline)[0] == -signal.SIGKILL

    def status(mode: str) -> list[str]:
        return [run.info.status for run in lab.runs() if run.data.tags["ppi.mode"] == mode]

    wait_for(lambda: status("train_only") == status("full_pipeline") == ["FAILED"])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"processes": 3, "accumulation_steps": 2}, "3 processes share the 2 batches"),
        ({"processes": 0}, "processes: expected a value at least 1; got 0"),
        ({"processes": 2, "device": "cuda:1"}, "give device=cuda"),
    ],
)
def test_what_cannot_be_shared_is_refused_before_a_run_is_made(
    lab: Lab, parameters: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", lab.store)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.chdir(lab.folder)
    words = [word for name, value in parameters.items() for word in (f"--{name}", str(value))]
    done = run_command("train_only", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (lab.folder / "mlflow.db").exists()
