"""Training whose checkpoints reach the tracking server: on the way, at the end, and when it breaks off."""

from __future__ import annotations

import logging
from pathlib import Path

from ppi_train.tracking.checkpoint_store import LocalCheckpoints
from ppi_train.tracking.run import TrackedRun
from ppi_train.training.checkpoint import Checkpoint, checkpoint_digest, checkpoint_step
from ppi_train.training.loop import Trainer, TrainResult, without_epoch

logger = logging.getLogger(__name__)


class CheckpointUpload:
    """Brings `best` and `last` of a folder to the tracking server."""

    def __init__(self, tracked: TrackedRun, folder: Path) -> None:
        self._tracked, self.folder = tracked, folder

    def _present(self) -> LocalCheckpoints:
        folders = {name: self.folder / name for name in ("best", "last") if (self.folder / name).exists()}
        digests = {name: checkpoint_digest(path) for name, path in folders.items()}
        step = checkpoint_step(folders["last"])
        return LocalCheckpoints(folders=folders, digests=digests, step=step)

    def keep(self) -> None:
        self._tracked.keep_checkpoints(self._present(), final=False)

    def finish(self) -> None:
        self._tracked.keep_checkpoints(self._present(), final=True)

    def after(self, error: BaseException) -> None:
        """What was computed is not lost: uploads it, and says how to go on."""
        if not (self.folder / "last").exists():
            return
        try:
            self.finish()
        except Exception:
            # The error that ended training matters more; the checkpoint is still on this machine.
            logger.exception("the checkpoints could not be uploaded; they are in %s", self.folder)
        how = "interrupted" if isinstance(error, KeyboardInterrupt) else "broken off"
        logger.warning("%s; to continue: mlflow run . -e resume -P run_id=%s", how, self._tracked.run_id)


def train_guarded(
    trainer: Trainer, upload: CheckpointUpload, tracked: TrackedRun, continued: Checkpoint | None
) -> TrainResult:
    """Runs a trainer, from its start or from a checkpoint; its checkpoints are uploaded however it ends."""
    if continued:
        _continue(trainer, continued, tracked)
    try:
        result = trainer.run()
    except BaseException as error:
        upload.after(error)
        raise
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
