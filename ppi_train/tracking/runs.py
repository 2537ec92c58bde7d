"""Finding runs, checkpoints and models on the tracking server."""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities import LoggedModel, LoggedModelStatus, Run, RunStatus
from mlflow.exceptions import MlflowException

from ppi_train.errors import CheckpointError, TrackingError
from ppi_train.tracking.artifacts import TAG, StoredCheckpoints
from ppi_train.tracking.connection import connect, translated_errors
from ppi_train.tracking.timeouts import time_for

JOURNAL_TAG = "ppi.journal"
_HINT = "copy the run ID from the MLflow UI, or set MLFLOW_TRACKING_URI to the server that has it"


class UnknownRunError(TrackingError):
    """The server answers, and has no such run, or had it deleted."""


@dataclass(frozen=True, kw_only=True)
class JournalPlace:
    """The ID, machine and path of a journal."""

    journal_id: str
    host: str
    path: Path

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine, or was there when `sync` sent it."""
        return self.host in ("", socket.gethostname())

    def to_tag(self) -> str:
        return f"{self.journal_id} {self.host}:{self.path}"

    @classmethod
    def from_tag(cls, text: str) -> JournalPlace | None:
        journal_id, _, place = text.partition(" ")
        host, _, path = place.partition(":")
        return cls(journal_id=journal_id, host=host, path=Path(path)) if path else None


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """A run that exists and is not deleted.

    `datasets` has the digest (36 characters) of each data set that the run read, by `<name>/<split>`.
    """

    run_id: str
    name: str
    experiment_id: str
    status: str
    tags: Mapping[str, str]
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    datasets: Mapping[str, str]

    @property
    def mode(self) -> str | None:
        return self.tags.get("ppi.mode")

    @property
    def running(self) -> bool:
        return not RunStatus.is_terminated(RunStatus.from_string(self.status))

    @property
    def journal(self) -> JournalPlace | None:
        """Where the journal of the run's last process is.

        None if all of the journal was sent.
        """
        return JournalPlace.from_tag(self.tags.get(JOURNAL_TAG, ""))

    @property
    def checkpoints(self) -> StoredCheckpoints | None:
        return StoredCheckpoints.from_tag(self.tags.get(TAG))

    def __str__(self) -> str:
        return f"run {self.run_id} ({self.name}, {self.status})"


def find_run(run_id: str) -> RunInfo:
    """Looks a run up.

    Raises:
        TrackingError: no such run, a deleted one, or a server that does not answer.
    """
    connect()
    return _found(get_run(run_id))


def is_there(run_id: str) -> bool:
    """Whether the server has a run, which is not deleted.

    Raises:
        TrackingError: the server does not answer.
    """
    try:
        get_run(run_id)
    except UnknownRunError:
        return False
    return True


def get_run(run_id: str, *, named_by: str = "", remedy: str = _HINT) -> Run:
    """Looks a run up as MLflow has it, on the server that is connected.

    Args:
        run_id: Its ID.
        named_by: What gave the ID, for the message.
        remedy: What to do if the run is not there.

    Raises:
        TrackingError: as `find_run`.
    """
    shown_id = f"{named_by}={run_id}" if named_by else run_id
    try:
        with translated_errors("look the run up"):
            run = mlflow.MlflowClient().get_run(run_id)
    except TrackingError as error:
        cause = error.__cause__
        if isinstance(cause, MlflowException) and cause.error_code in (
            "RESOURCE_DOES_NOT_EXIST",
            "INVALID_PARAMETER_VALUE",
        ):
            raise UnknownRunError(
                "there is no such run", where=mlflow.get_tracking_uri(), got=shown_id, remedy=remedy
            ) from None
        raise
    if run.info.lifecycle_stage == "deleted":
        raise UnknownRunError(
            "the run was deleted",
            where=mlflow.get_tracking_uri(),
            got=shown_id,
            remedy=f"restore it with `mlflow runs restore --run-id {run_id}`",
        )
    return run


def _found(run: Run) -> RunInfo:
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return RunInfo(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        experiment_id=run.info.experiment_id,
        status=run.info.status,
        tags=run.data.tags,
        parameters=run.data.params,
        metrics=run.data.metrics,
        datasets={item.dataset.name: item.dataset.digest for item in inputs},
    )


def find_tagged(experiment_id: str, tag: str, value: str) -> RunInfo | None:
    """The newest run of an experiment with a tag value, preferably FINISHED."""
    with translated_errors("search the runs"):
        runs = mlflow.MlflowClient().search_runs(
            [experiment_id],
            filter_string=f"tags.`{tag}` = '{value}'",
            order_by=["attributes.start_time DESC"],
            max_results=100,
        )
    finished = [run for run in runs if run.info.status == "FINISHED"]
    return _found((finished or list(runs))[0]) if runs else None


def download_checkpoint(run: RunInfo, name: str, target: Path, *, files: Collection[str]) -> Path:
    """Downloads a checkpoint of a run into a folder, without verifying it.

    Args:
        run: A run that has `checkpoints`.
        name: `best` or `last`.
        target: A folder, made if it is not there.
        files: The names that a checkpoint's files may have; no other is downloaded.

    Raises:
        CheckpointError: the folder has no files, or other files than a checkpoint has.
    """
    assert run.checkpoints is not None
    folder = f"{run.checkpoints.folder}/{name}"
    client = mlflow.MlflowClient()
    with translated_errors("list the run's artifacts", of_artifacts=True):
        items = client.list_artifacts(run.run_id, folder)
    if not items:
        raise moved_error(f"{folder} of {run}")
    present = {Path(item.path).name + "/" * item.is_dir for item in items}  # a folder never matches
    if not present <= set(files):
        raise CheckpointError(
            "the checkpoint is not one of ours: it holds other files, which are not opened",
            where=f"{folder} of {run}",
            got=", ".join(sorted(present)),
            expected=", ".join(sorted(files)),
            remedy="find out who put them there; train again for a checkpoint to trust",
        )
    target.mkdir(parents=True, exist_ok=True)
    largest = max(item.file_size or 0 for item in items)
    with translated_errors("download the checkpoint", of_artifacts=True), time_for(largest):
        for file in sorted(present):
            client.download_artifacts(run.run_id, f"{folder}/{file}", str(target))
    # MLflow may put the files into subfolders for their artifact path.
    return target / folder if (target / folder).is_dir() else target


def moved_error(what: str) -> CheckpointError:
    """The error for files that a run has logged, and that are gone from the store of artifacts."""
    return CheckpointError(
        "the files are not where the tracking server looks for them",
        where=what,
        got="none of them",
        remedy="if the store of artifacts was moved, move it back, or start the server with its new place: "
        "mlflow server --artifacts-destination PLACE",
    )


def download_artifact(run: RunInfo, path: str, target: Path) -> Path:
    """Downloads a file of a run into a folder.

    Raises:
        TrackingError: the run has no such file, or the server does not answer.
    """
    with translated_errors(f"download {path} of {run}", of_artifacts=True):
        return Path(mlflow.MlflowClient().download_artifacts(run.run_id, path, str(target)))


def logged_model_of(run: RunInfo) -> str | None:
    """The ID of a training run's complete logged model, if any."""
    with translated_errors("look the run's model up"):
        return ready_model(run.experiment_id, run.run_id)


def needed_model_of(run: RunInfo, remedy: str) -> str:
    """The ID of the model that a run has logged.

    Raises:
        CheckpointError: it has logged none; `remedy` is what to do unless it is a trial of a sweep.
    """
    if model_id := logged_model_of(run):
        return model_id
    if "ppi.trial" in run.tags:
        remedy = (
            "of the trials of a sweep only the winner logs a model: give the winner's run, or train again "
            "with the parameters of this one: mlflow run . --env-manager local -e train_only"
        )
    raise CheckpointError("the run has logged no model", where=run, remedy=remedy)


def ready_model(experiment_id: str, run_id: str) -> str | None:
    """The ID of the complete model of a run, if any.

    Errors of MLflow are not translated.
    """
    ready = [model for model in models_of(experiment_id, run_id) if model.status == LoggedModelStatus.READY]
    return str(ready[0].model_id) if ready else None


def models_of(experiment_id: str, run_id: str) -> list[LoggedModel]:
    """The models of a run, complete or not."""
    found = mlflow.MlflowClient().search_logged_models(
        experiment_ids=[experiment_id], filter_string=f"source_run_id = '{run_id}'"
    )
    return list(found)


def seconds_since_sign_of_life(run: RunInfo) -> float:
    """Seconds since the run started or last logged a metric.

    While its process lives, it logs system metrics.
    """
    with translated_errors("look the run up"):
        found = mlflow.MlflowClient().get_run(run.run_id)
    # The latest point of each metric; MLflow has no public attribute for their times.
    latest = max((metric.timestamp for metric in found.data._metric_objs), default=0)
    return time.time() - float(max(latest, found.info.start_time)) / 1000
