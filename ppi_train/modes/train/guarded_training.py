"""Training that uploads its checkpoints, also after an error or interrupt."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType

from ppi_train.checkpoints import Checkpoint, checkpoint_digest, checkpoint_step
from ppi_train.tracking.artifacts import LocalCheckpoints
from ppi_train.tracking.run import TrackedRun
from ppi_train.training.trainer import Trainer, TrainResult, without_epoch

logger = logging.getLogger(__name__)


class CheckpointUploader:
    """Uploads the checkpoints `best` and `last` to the tracking server.

    A context manager around a whole training run, from what is logged before the first step to what is
    logged after the last one. If the run stops with an error anywhere in between, the checkpoints so far
    are uploaded and the command that continues the run is printed.
    """

    def __init__(self, tracked: TrackedRun, folder: Path) -> None:
        self._tracked, self.folder = tracked, folder

    def __enter__(self) -> CheckpointUploader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._after(error)

    def _present(self) -> LocalCheckpoints:
        folders = {name: self.folder / name for name in ("best", "last") if (self.folder / name).exists()}
        digests = {name: checkpoint_digest(path) for name, path in folders.items()}
        step = checkpoint_step(folders["last"])
        return LocalCheckpoints(folders=folders, digests=digests, step=step)

    def keep(self) -> None:
        self._tracked.keep_checkpoints(self._present(), final=False)

    def finish(self) -> None:
        self._tracked.keep_checkpoints(self._present(), final=True)

    def _after(self, error: BaseException) -> None:
        interrupted = isinstance(error, KeyboardInterrupt)
        started = (self.folder / "last").exists()
        if started:
            try:
                self.finish()
            except Exception:
                # The error that ended training matters more; the checkpoint is still on this machine.
                logger.exception("the checkpoints could not be uploaded; they are in %s", self.folder)
        if started or interrupted:
            how = "interrupted" if interrupted else "stopped by an error"
            logger.warning("%s; to continue: mlflow run . -e resume -P run_id=%s", how, self._tracked.run_id)


def train_and_upload(
    trainer: Trainer, upload: CheckpointUploader, tracked: TrackedRun, continued: Checkpoint | None
) -> TrainResult:
    """Trains from scratch or from a checkpoint, and uploads the final checkpoints."""
    if continued:
        _continue(trainer, continued, tracked)
    result = trainer.run()
    upload.finish()
    return result


def _continue(trainer: Trainer, continued: Checkpoint, tracked: TrackedRun) -> None:
    assert continued.training_state is not None
    trainer.continue_from(continued.weights, continued.training_state)
    for entry in trainer.result.history:
        # Some of these may not have been logged before the interruption; those already logged are skipped.
        tracked.log_metrics(without_epoch(entry), int(entry["epoch"]))
    where = f"{trainer.task.round_name} {trainer.epoch + 1}"
    logger.info("continuing at step %d, in %s", trainer.step, where)
