"""From a run ID to the files of its checkpoint, with a name for each way in which that can fail."""

from __future__ import annotations

from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from ppi_train.errors import CheckpointError, TrackingError
from ppi_train.tracking.connection import connect, translated_errors

_HINT = "copy the run ID from the MLflow UI, or set MLFLOW_TRACKING_URI to the server that has it"


def find_run(run_id: str) -> Run:
    """A run that exists and is not deleted.

    Raises:
        TrackingError: no such run, or a deleted one.
    """
    connect()
    try:
        with translated_errors("look the run up"):
            run = mlflow.MlflowClient().get_run(run_id)
    except TrackingError as error:
        cause = error.__cause__
        if isinstance(cause, MlflowException) and cause.error_code in (
            "RESOURCE_DOES_NOT_EXIST",
            "INVALID_PARAMETER_VALUE",
        ):
            raise TrackingError(
                "there is no such run", where=mlflow.get_tracking_uri(), got=run_id, remedy=_HINT
            ) from None
        raise
    if run.info.lifecycle_stage == "deleted":
        raise TrackingError(
            "the run was deleted",
            where=mlflow.get_tracking_uri(),
            got=run_id,
            remedy=f"restore it with `mlflow runs restore --run-id {run_id}`",
        )
    return run


def download_checkpoint(run: Run, name: str, target: Path) -> Path:
    """Fetches `checkpoints/<name>` of a run into a folder; the caller verifies what came.

    Raises:
        CheckpointError: the run has no such checkpoint.
    """
    path = f"checkpoints/{name}"
    with translated_errors("list the run's artifacts"):
        found = mlflow.MlflowClient().list_artifacts(run.info.run_id, path)
    if not found:
        raise CheckpointError(
            "the run has no finished checkpoint",
            where=f"run {run.info.run_id}, status {run.info.status}, mode {run.data.tags.get('ppi.mode')}",
            expected=f"the artifact {path}",
            remedy="give the ID of a training run that has finished",
        )
    with translated_errors("download the checkpoint"):
        return Path(mlflow.MlflowClient().download_artifacts(run.info.run_id, path, str(target)))


def logged_model_of(run: Run) -> str | None:
    """The ID of the model that a training run logged, if it has one."""
    with translated_errors("look the run's model up"):
        models = mlflow.MlflowClient().search_logged_models(
            experiment_ids=[run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
        )
    return str(models[0].model_id) if models else None
