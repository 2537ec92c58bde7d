"""Tests of the trainer's callbacks: the order of calls, stop requests and errors."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ppi_train.checkpoints import read_checkpoint
from ppi_train.tracking.artifacts import LocalCheckpoints
from ppi_train.training.callbacks import Callback, CheckpointUploader, ProgressBar
from ppi_train.training.trainer import Trainer
from tests.unit.training.test_trainer_continues import (
    EPOCHS,
    STEPS_PER_EPOCH,
    StoppedError,
    assert_same,
    small_trainer,
)


class Recorder(Callback):
    """Notes each call, with the epoch and the step."""

    def __init__(self, calls: list[str], name: str = "") -> None:
        self._calls, self._name = calls, name

    def _note(self, call: str, trainer: Trainer) -> None:
        self._calls.append(f"{self._name}{call} {trainer.epoch}.{trainer.step}")

    def on_start(self, trainer: Trainer) -> None:
        self._note("start", trainer)

    def on_step_end(self, trainer: Trainer) -> None:
        self._note("step", trainer)

    def on_checkpoint(self, trainer: Trainer, name: str) -> None:
        self._note(name, trainer)

    def on_epoch_end(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        assert metrics["val/loss"] > 0
        self._note("epoch", trainer)

    def on_end(self, trainer: Trainer, error: BaseException | None) -> None:
        self._note(f"end with {type(error).__name__}" if error else "end", trainer)


class At(Callback):
    """Does something once, at a step or at the end of an epoch."""

    def __init__(self, what: Any, *, step: int = -1, epoch: int = -1) -> None:
        self._what, self._step, self._epoch = what, step, epoch

    def on_step_end(self, trainer: Trainer) -> None:
        if trainer.step == self._step:
            self._what(trainer)

    def on_epoch_end(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        assert metrics
        if trainer.epoch == self._epoch:
            self._what(trainer)


def fail(trainer: Trainer) -> None:
    raise StoppedError(trainer.step)


def run(folder: Path, callbacks: Sequence[Callback], **settings: Any) -> Trainer:
    trainer = small_trainer(folder, callbacks, **settings)
    trainer.run()
    return trainer


def test_hooks_are_called_in_order(tmp_path: Path) -> None:
    calls: list[str] = []
    run(tmp_path, [Recorder(calls)], epochs=1, batch_size=100)
    assert calls == ["start 0.0", "step 0.1", "step 0.2", "best 1.2", "last 1.2", "epoch 1.2", "end 1.2"]


def test_a_warm_start_is_measured_before_the_first_step(tmp_path: Path) -> None:
    calls: list[str] = []
    run(tmp_path, [Recorder(calls)], epochs=1, batch_size=200, shrink=0.4)
    assert calls[:5] == ["start 0.0", "best 0.0", "last 0.0", "epoch 0.0", "step 0.1"]


def test_callbacks_end_in_reverse_order(tmp_path: Path) -> None:
    calls: list[str] = []
    run(tmp_path, [Recorder(calls, "a "), Recorder(calls, "b ")], epochs=1, batch_size=200)
    assert calls[:4] == ["a start 0.0", "b start 0.0", "a step 0.1", "b step 0.1"]
    assert calls[-2:] == ["b end 1.1", "a end 1.1"]


def test_stop_after_an_epoch_takes_no_further_step(tmp_path: Path) -> None:
    stopped = run(tmp_path, [At(Trainer.stop, epoch=2)])
    assert (stopped.epoch, stopped.step) == (2, 2 * STEPS_PER_EPOCH)
    assert not stopped.finished
    assert stopped.result.best
    assert read_checkpoint(tmp_path / "last").step == 2 * STEPS_PER_EPOCH


@pytest.mark.parametrize("step", [STEPS_PER_EPOCH + 2, 2 * STEPS_PER_EPOCH])
def test_stop_between_two_steps_continues_exactly(tmp_path: Path, step: int) -> None:
    whole = run(tmp_path / "whole", [])
    calls: list[str] = []
    stopped = run(tmp_path / "parts", [Recorder(calls), At(Trainer.stop, step=step)])
    assert (stopped.epoch, stopped.step) == (1, step)
    assert calls[-2:] == [f"last 1.{step}", f"end 1.{step}"]
    last = read_checkpoint(tmp_path / "parts" / "last", with_training_state=True)
    assert last.training_state is not None
    torch.manual_seed(7)  # whatever a new process draws before it continues
    continued = small_trainer(tmp_path / "parts", [])
    continued.continue_from(last.weights, last.training_state)
    continued.run()
    assert continued.step == EPOCHS * STEPS_PER_EPOCH
    assert_same(continued.state_dict(), whole.state_dict())
    assert_same(dict(continued.model.state_dict()), dict(whole.model.state_dict()))


def test_a_requested_checkpoint_is_written_after_that_step(tmp_path: Path) -> None:
    calls: list[str] = []
    run(tmp_path, [At(Trainer.request_checkpoint, step=2), Recorder(calls)], epochs=1)
    assert calls[1:5] == ["step 0.1", "step 0.2", "last 0.2", "step 0.3"]


@pytest.mark.parametrize("where", [{"step": STEPS_PER_EPOCH + 1}, {"epoch": 1}])
def test_an_exception_in_a_hook_ends_the_run_with_last_whole(tmp_path: Path, where: dict[str, int]) -> None:
    calls: list[str] = []
    with pytest.raises(StoppedError):
        run(tmp_path, [Recorder(calls), At(fail, **where)])
    assert calls[-1].startswith("end with StoppedError 1.")
    last = read_checkpoint(tmp_path / "last", with_training_state=True)
    assert last.step == STEPS_PER_EPOCH
    assert last.training_state is not None
    assert len(last.training_state["history"]) == 1


def test_every_started_callback_ends_when_another_fails_to_start(tmp_path: Path) -> None:
    class Unstartable(Callback):
        def on_start(self, trainer: Trainer) -> None:
            fail(trainer)

    calls: list[str] = []
    with pytest.raises(StoppedError):
        run(tmp_path, [Recorder(calls, "a "), Unstartable(), Recorder(calls, "b ")])
    assert calls == ["a start 0.0", "a end with StoppedError 0.0"]


class Uploads:
    """Stands for a tracked run, and notes which checkpoints it is asked to upload."""

    run_id = "1f"

    def __init__(self) -> None:
        self.calls: list[tuple[int, bool]] = []

    def keep_checkpoints(self, checkpoints: LocalCheckpoints, *, final: bool) -> None:
        assert checkpoints.digests.keys() == checkpoints.folders.keys()
        self.calls.append((checkpoints.step, final))


def test_checkpoints_are_uploaded_when_due_and_at_the_end(tmp_path: Path) -> None:
    uploads = Uploads()
    uploader: Any = CheckpointUploader(uploads, tmp_path, every="8 steps")  # type: ignore[arg-type]
    with uploader:
        run(tmp_path, [uploader])
    assert uploads.calls == [(8, False), (16, False), (EPOCHS * STEPS_PER_EPOCH, True)]


def test_checkpoints_are_uploaded_after_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    uploads = Uploads()
    uploader: Any = CheckpointUploader(uploads, tmp_path, every="8 steps")  # type: ignore[arg-type]
    with pytest.raises(StoppedError), uploader:
        run(tmp_path, [uploader, At(fail, step=13)])
    assert uploads.calls == [(8, False), (10, True)]
    assert (
        "stopped by an error; to continue: mlflow run . --env-manager local -e resume -P run_id=1f"
        in caplog.text
    )


def test_progress_says_a_line_for_each_epoch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        trainer = run(tmp_path, [ProgressBar()], epochs=2)
    said = [record.message for record in caplog.records if record.message.startswith("epoch ")]
    assert [line.partition("  ")[0] for line in said] == ["epoch 1/2", "epoch 2/2"]
    assert f"train loss {trainer.result.history[0]['train/loss']:.4f}" in said[0]
    assert said[0].endswith("(best so far)")
    assert trainer.units_done == trainer.units_total == 400
