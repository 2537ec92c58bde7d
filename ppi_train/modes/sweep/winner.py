"""The winner of a sweep becomes a run like any other training: with a model and its pairs."""

from __future__ import annotations

import shutil
from pathlib import Path

from ppi_train.config.loading import logged_parameters
from ppi_train.modes.sweep.trial import SweepJob
from ppi_train.modes.train.conclusion import log_checkpoint_as_model
from ppi_train.modes.train.train_only import MODE, completed_config
from ppi_train.runs.checkpoints import resolve_checkpoint
from ppi_train.runs.configs import TrainConfig
from ppi_train.runs.training_pairs import PROTEINS_TAG
from ppi_train.tracking.run import TrackedRun, Tracking
from ppi_train.tracking.run_folder import run_folder
from ppi_train.tracking.runs import find_run, logged_model_of


def log_winner(run_id: str, config: TrainConfig, job: SweepJob) -> None:
    """Logs the pairs and the best checkpoint of a trial, unless that was done before.

    Args:
        run_id: The run of the trial.
        config: How it was trained.
        job: The sweep.

    Raises:
        TrackingError, CheckpointError: its checkpoint cannot be read.
    """
    run = find_run(run_id)
    if logged_model_of(run):
        return
    stored = resolve_checkpoint(run_id).folder
    inputs = job.inputs(config)
    parameters = logged_parameters(completed_config(config, inputs))
    output_dir = config.output.output_dir
    with (
        run_folder(output_dir, run_id) as output,
        TrackedRun(
            MODE, continues=run, system_metrics=False, tracking=Tracking(folder=Path(output_dir))
        ) as tracked,
    ):
        checkpoint = output / "checkpoints" / "best"
        if not checkpoint.exists():
            shutil.copytree(stored, checkpoint)
        proteins = inputs.write_pairs(output / "pairs")
        tracked.log_folder(output / "pairs", "pairs")
        tracked.set_tags({PROTEINS_TAG: proteins})
        best = {f"val/{name}": run.metrics[f"val/{name}_best"] for name in ("auroc", "auprc")}
        log_checkpoint_as_model(
            tracked, checkpoint, inputs, best, model=config.model.model, parameters=parameters
        )
