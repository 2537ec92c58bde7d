"""Training whose checkpoints reach the tracking server: on the way, at the end, and when it breaks off."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType

from ppi_train.tracking.checkpoint_store import LocalCheckpoints
from ppi_train.tracking.run import TrackedRun
from ppi_train.training.checkpoint import Checkpoint, checkpoint_digest, checkpoint_step
from ppi_train.training.loop import Trainer, TrainResult, without_epoch

logger = logging.getLogger(__name__)


class CheckpointUpload:
    """Brings `best` and `last` of a folder to the tracking server.

    A context manager around all of a training run, from what is logged before the first step to what is
    logged after the last one: broken off anywhere in it, what was computed is uploaded, and the command
    that goes on is printed.
    """

    def __init__(self, tracked: TrackedRun, folder: Path) -> None:
        self._tracked, self.folder = tracked, folder

    def __enter__(self) -> CheckpointUpload:
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
            how = "interrupted" if interrupted else "broken off"
            logger.warning("%s; to continue: mlflow run . -e resume -P run_id=%s", how, self._tracked.run_id)


def train_and_upload(
    trainer: Trainer, upload: CheckpointUpload, tracked: TrackedRun, continued: Checkpoint | None
) -> TrainResult:
    """Runs a trainer to its end, from its start or from a checkpoint, and uploads its last checkpoints."""
    if continued:
        _continue(trainer, continued, tracked)
    result = trainer.run()
    upload.finish()
    return result


def _continue(trainer: Trainer, continued: Checkpoint, tracked: TrackedRun) -> None:
    assert continued.training_state is not None
    trainer.continue_from(continued.weights, continued.training_state)
    for entry in trainer.result.history:
        # Those that the run had no time to log; the others are known and not logged again.
        tracked.log_metrics(without_epoch(entry), int(entry["epoch"]))
    where = f"{trainer.task.round_name} {trainer.epoch + 1}"
    logger.info("continuing at step %d, in %s", trainer.step, where)
