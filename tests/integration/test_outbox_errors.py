"""Tests of a disk that answers an outbox with any error, and of a terminal that is lost."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from ppi_train.errors import StorageError, TrackingError
from ppi_train.modes import execute_pipeline
from ppi_train.tracking.outbox.database import Database
from ppi_train.tracking.outbox.store import NAME
from ppi_train.tracking.run import TrackedRun, Tracking
from ppi_train.tracking.run_folder import run_folder
from tests.support import ROOT, default_signals

ERRORS = [errno.EROFS, errno.ESTALE, errno.EACCES, errno.EIO, errno.EPERM, errno.ENOSPC, errno.ENXIO]


@pytest.fixture
def broken_threads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What ended a thread with a traceback."""
    broken: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", broken.append)
    return broken


@pytest.mark.parametrize("number", ERRORS, ids=[errno.errorcode[number] for number in ERRORS])
def test_any_error_of_the_disk_leaves_the_run_whole(
    number: int,
    store: mlflow.MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken_threads: list[Any],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with TrackedRun("train_only", tracking=Tracking(folder=tmp_path / "runs"), system_metrics=False) as run:
        run.log_metrics({"train/loss": 1.0}, 1)
        run._store.flush()
        for method in ("write_bytes", "unlink", "rename"):
            monkeypatch.setattr(Path, method, fail)
        monkeypatch.setattr(Database, "write", fail)
        monkeypatch.setattr(os, "link", fail)
        run.log_metrics({"train/loss": 2.0}, 2)
    monkeypatch.undo()
    found = store.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert [point.value for point in store.get_metric_history(run.run_id, "train/loss")] == [1.0, 2.0]
    assert os.strerror(number) in caplog.text
    assert "kept in memory" in caplog.text or "cannot be removed" in caplog.text
    assert broken_threads == []


def test_an_outbox_of_refused_records_that_cannot_be_renamed(
    store: mlflow.MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken_threads: list[Any],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with TrackedRun("train_only", tracking=Tracking(folder=tmp_path / "runs"), system_metrics=False) as run:
        run.log_metrics({"a name that ' is refused ; ?": 1.0}, 1)
        monkeypatch.setattr(Path, "rename", fail)
    assert store.get_run(run.run_id).info.status == "FINISHED"
    assert f"are kept in {tmp_path / 'runs' / run.run_id / NAME}" in caplog.text
    assert broken_threads == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.ESTALE, errno.EACCES, errno.ENOLCK])
def test_a_folder_that_cannot_be_locked_is_not_said_to_be_in_use(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    with (
        pytest.raises(StorageError, match="the folder of the run cannot be used") as caught,
        run_folder(str(tmp_path), "a" * 32),
    ):
        pass
    assert os.strerror(number) in str(caught.value)


@pytest.mark.parametrize("number", [errno.EROFS, errno.ESTALE, errno.EACCES, errno.ENOLCK])
def test_an_outbox_that_cannot_be_made_leaves_no_run_running(
    number: int, store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(StorageError, match="the outbox of the run cannot be made"):
        TrackedRun("train_only", tracking=Tracking(folder=tmp_path / "runs")).__enter__()
    (run,) = store.search_runs([os.environ["MLFLOW_EXPERIMENT_ID"]])
    assert run.info.status == "FAILED"


def training(folder: Path, data_dir: Path) -> list[str]:
    words = ["--epochs", "100000", "--early_stopping_patience", "0", "--batch_size", "128"]
    places = ["--data_dir", str(data_dir), "--output_dir", str(folder / "runs")]
    return [sys.executable, "-m", "entry_points.train_only", *words, *places]


def take_terminal() -> None:
    default_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def in_a_terminal(
    folder: Path, data_dir: Path, prepare: Callable[[], None]
) -> tuple[subprocess.Popen[bytes], int]:
    """A training that has shown its first epoch in a terminal, and our end of the terminal."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        training(folder, data_dir),
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=prepare,
    )  # fmt: skip
    os.close(theirs)
    shown = ""
    while not re.search(r"epoch 1/", shown):
        shown += os.read(ours, 4096).decode(errors="replace")
    return process, ours


def test_a_lost_terminal_ends_the_run_like_sigterm(
    store: mlflow.MlflowClient, data_dir: Path, tmp_path: Path
) -> None:
    process, ours = in_a_terminal(tmp_path, data_dir, take_terminal)
    with process:
        os.close(ours)  # the system sends a SIGHUP, and every later write to the terminal fails
        assert process.wait(timeout=120) == 128 + signal.SIGHUP
    (run,) = store.search_runs([os.environ["MLFLOW_EXPERIMENT_ID"]])
    assert run.info.status == "KILLED"
    assert (tmp_path / "runs" / run.info.run_id / "checkpoints" / "last").is_dir()
    assert store.list_artifacts(run.info.run_id, "checkpoints/last")


def test_a_lost_terminal_that_sends_no_signal_ends_nothing(
    store: mlflow.MlflowClient, data_dir: Path, tmp_path: Path
) -> None:
    process, ours = in_a_terminal(tmp_path, data_dir, default_signals)
    with process:
        os.close(ours)
        (run,) = store.search_runs([os.environ["MLFLOW_EXPERIMENT_ID"]])
        for _ in range(2):  # epochs whose lines could not be shown
            known = len(store.get_metric_history(run.info.run_id, "val/loss"))
            while len(store.get_metric_history(run.info.run_id, "val/loss")) == known:
                assert process.poll() is None
                time.sleep(0.2)
        process.terminate()
        assert process.wait(timeout=120) == 128 + signal.SIGTERM
    assert store.get_run(run.info.run_id).info.status == "KILLED"


@pytest.mark.slow
def test_a_sighup_that_nohup_turned_off_ends_nothing(
    store: mlflow.MlflowClient, data_dir: Path, tmp_path: Path
) -> None:
    with subprocess.Popen(
        training(tmp_path, data_dir),
        stderr=subprocess.PIPE, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    ) as process:  # fmt: skip
        assert process.stderr
        shown = b""
        for expected in (rb"epoch 1/", rb"epoch [3-9]/"):
            while not re.search(expected, shown):
                read = os.read(process.stderr.fileno(), 4096)
                assert read, shown
                shown += read
            process.send_signal(signal.SIGHUP)
        process.terminate()
        process.communicate(timeout=120)
    assert process.returncode == 143
    (run,) = store.search_runs([os.environ["MLFLOW_EXPERIMENT_ID"]])
    assert run.info.status == "KILLED"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EEXIST])
def test_one_sync_sends_all_where_no_link_can_be_made(
    number: int, store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    offline = Tracking(folder=tmp_path / "runs", offline=True)
    for step in range(3):
        with TrackedRun("embed", tracking=offline, system_metrics=False) as run:
            run.log_metrics({"loss": 1.0}, step)
    monkeypatch.setattr(Path, "symlink_to", fail)
    result = execute_pipeline("sync", {"journal": str(tmp_path / "runs")})
    assert result.metrics["sync/records"] == 9
    sent = store.search_runs(["1"], filter_string="tags.`ppi.mode` = 'embed'")
    assert [run.info.status for run in sent] == ["FINISHED"] * 3
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_an_outbox_that_the_disk_does_not_give_stops_no_other(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline = Tracking(folder=tmp_path / "runs", offline=True)
    runs = []
    for _ in range(2):
        with TrackedRun("embed", tracking=offline, system_metrics=False) as run:
            runs.append(run.run_id)
    bad, rows = min(runs), Database.rows

    def failing(database: Database, start: int) -> Any:
        if database.header.run_id == bad:
            raise OSError(errno.EIO, "Input/output error")
        return rows(database, start)

    monkeypatch.setattr(Database, "rows", failing)
    with pytest.raises(TrackingError, match="1 of what 2 outboxes have could not be sent") as caught:
        execute_pipeline("sync", {"journal": str(tmp_path / "runs")})
    assert f"{bad}/outbox.db: [Errno 5] Input/output error" in str(caught.value)
    (sent,) = store.search_runs(["1"], filter_string="tags.`ppi.mode` = 'embed'")
    assert sent.data.tags["ppi.offline_id"] == max(runs)
