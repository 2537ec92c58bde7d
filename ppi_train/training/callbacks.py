"""Callbacks of the trainer: metric logging, progress and checkpoint upload."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ppi_train.checkpoints import checkpoint_digest, checkpoint_step
from ppi_train.config.fields import Interval, parse_interval
from ppi_train.io.progress import Progress
from ppi_train.tracking.artifacts import LocalCheckpoints
from ppi_train.tracking.run import TrackedRun

if TYPE_CHECKING:
    from ppi_train.training.trainer import Trainer

logger = logging.getLogger(__name__)


class Callback:
    """Hooks that the trainer calls; a subclass overrides those it needs.

    The callbacks of a trainer are called in their order, and `on_end` in reverse order. An exception in a
    hook ends training; `last` then holds the state of the last checkpoint.
    """

    def on_start(self, trainer: Trainer) -> None:
        """Called before the first step, also of a continued training."""

    def on_step_end(self, trainer: Trainer) -> None:
        """Called after each optimiser step.

        `trainer.request_checkpoint` and `trainer.stop` take effect before the next one.
        """

    def on_checkpoint(self, trainer: Trainer, name: str) -> None:
        """Called after the checkpoint `best` or `last` was written."""

    def on_epoch_end(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        """Called after the validation and the checkpoints of an epoch.

        Epoch 0 is the validation of weights from another training. After `trainer.stop`, no epoch follows.
        """

    def on_end(self, trainer: Trainer, error: BaseException | None) -> None:
        """Called when training ends, with the error that ended it, if any.

        Not called for a callback whose `on_start` failed.
        """


class MetricLogger(Callback):
    """Passes the metrics of each epoch to a function.

    Args:
        log: Called with metrics by name and the epoch.
    """

    def __init__(self, log: Callable[[Mapping[str, float], int], None]) -> None:
        self._log = log

    def on_epoch_end(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        self._log(metrics, trainer.epoch)


class ProgressBar(Callback):
    """Shows the progress of the whole run, and a line for each epoch."""

    def on_start(self, trainer: Trainer) -> None:
        self._done = trainer.units_done
        self._progress = Progress(trainer.units_total, done=self._done, unit=trainer.task.unit)

    def on_step_end(self, trainer: Trainer) -> None:
        before, self._done = self._done, trainer.units_done
        self._progress.advance(self._done - before)

    def on_epoch_end(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        task = trainer.task
        parts = [f"{task.round_name} {trainer.epoch}/{trainer.options.epochs}"]
        if "train/loss" in metrics:
            parts.append(f"train loss {metrics['train/loss']:.4f}")
        parts.append(task.headline(metrics))
        if trainer.rate_metric in metrics:
            parts.append(f"{metrics[trainer.rate_metric]:,.0f} {task.unit}s/s")
        best = trainer.result.best["epoch"] == trainer.epoch
        self._progress.say("  ".join(parts) + ("  (best so far)" if best else ""))

    def on_end(self, trainer: Trainer, error: BaseException | None) -> None:
        if error is None and trainer.stopped_early:
            options = trainer.options
            self._progress.say(
                f"stopped early: {options.early_stopping_metric} has not improved for "
                f"{options.early_stopping_patience} epochs, the best was {trainer.result.best['epoch']:.0f}"
            )
        self._progress.close()


class SaveInterval:
    """Reports when an interval since the last `start` is over."""

    def __init__(self, interval: Interval) -> None:
        self._interval = interval
        self.start(0)

    def start(self, step: int) -> None:
        """Restarts the interval at this step and the present time."""
        self._last_step, self._last_time = step, time.monotonic()

    def due(self, step: int) -> bool:
        if self._interval.steps is not None:
            return step - self._last_step >= self._interval.steps
        assert self._interval.seconds is not None
        return time.monotonic() - self._last_time >= self._interval.seconds


class CheckpointSaver(Callback):
    """Has `last` written and passed on each time an interval is over.

    Args:
        every: Steps or minutes between, as in `checkpoint_every`.
        save: Called when `last` is up to date.
    """

    def __init__(self, every: str, save: Callable[[], None]) -> None:
        self._interval, self._save = SaveInterval(parse_interval(every)), save

    def on_start(self, trainer: Trainer) -> None:
        self._interval.start(trainer.step)

    def on_step_end(self, trainer: Trainer) -> None:
        if self._interval.due(trainer.step):
            trainer.request_checkpoint()

    def on_checkpoint(self, trainer: Trainer, name: str) -> None:
        if name == "last" and self._interval.due(trainer.step):
            self._save()
            self._interval.start(trainer.step)


class CheckpointUploader(CheckpointSaver):
    """Uploads `best` and `last` during training and at its end.

    Also a context manager around a whole training run, from what is logged before the first step to what is
    logged after the last one. If the run stops with an error anywhere in between, the checkpoints so far
    are uploaded and the command that continues the run is printed.

    Args:
        tracked: The run.
        folder: The folder of its checkpoints on this machine.
        every: Steps or minutes between uploads, as in `checkpoint_every`.
    """

    def __init__(self, tracked: TrackedRun, folder: Path, *, every: str) -> None:
        super().__init__(every, self.upload_latest)
        self._tracked, self.folder = tracked, folder

    def on_end(self, trainer: Trainer, error: BaseException | None) -> None:  # noqa: ARG002
        if error is None:
            self.upload_final()

    def __enter__(self) -> CheckpointUploader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._upload_after(error)

    def upload_latest(self) -> None:
        """Uploads the checkpoints of a run that is still training."""
        self._tracked.keep_checkpoints(self._present(), final=False)

    def upload_final(self) -> None:
        """Uploads the checkpoints that the run ends with."""
        self._tracked.keep_checkpoints(self._present(), final=True)

    def _present(self) -> LocalCheckpoints:
        folders = {name: self.folder / name for name in ("best", "last") if (self.folder / name).exists()}
        digests = {name: checkpoint_digest(path) for name, path in folders.items()}
        step = checkpoint_step(folders["last"])
        return LocalCheckpoints(folders=folders, digests=digests, step=step)

    def _upload_after(self, error: BaseException) -> None:
        interrupted = isinstance(error, KeyboardInterrupt)
        started = (self.folder / "last").exists()
        if started:
            try:
                self.upload_final()
            except Exception:
                # The error that ended training matters more; the checkpoint is still on this machine.
                logger.exception("the checkpoints could not be uploaded; they are in %s", self.folder)
        if started or interrupted:
            how = "interrupted" if interrupted else "stopped by an error"
            logger.warning(
                "%s; to continue: mlflow run . --env-manager local -e resume -P run_id=%s",
                how,
                self._tracked.run_id,
            )
