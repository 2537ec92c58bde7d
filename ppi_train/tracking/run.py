"""One tracked run: parameters, tags, data sets, metrics and artifacts, and an end that is never RUNNING."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import mlflow
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag

from ppi_train.errors import shown
from ppi_train.tracking.aftermath import keep_status
from ppi_train.tracking.checkpoint_store import TAG, CheckpointStore, LocalCheckpoints, StoredCheckpoints
from ppi_train.tracking.connection import connect, translated_errors
from ppi_train.tracking.lookup import FoundRun, logged_model_of
from ppi_train.tracking.points import LoggedPoints

logger = logging.getLogger(__name__)

SYSTEM_METRICS_SECONDS = 5
# What MLflow calls a run that the user did not name, such as `brawny-frog-512`.
_RANDOM_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")
_TAG_LIMIT = 5000
_KIND = "mlflow.experimentKind"


@dataclass(frozen=True, kw_only=True)
class TrackedDataset:
    """One split that a run reads.

    `context` is `train`, `validation` or `test`; `digest` the sha256 of the content, of which MLflow
    keeps 36 characters; `source` a path or URL; `size` in what `counts` says.
    """

    name: str
    context: str
    digest: str
    source: str
    size: int
    counts: str = "pairs"


class TrackedRun:
    """A context manager around one MLflow run.

    The run that `mlflow run` has made (MLFLOW_RUN_ID) is taken up; otherwise one is made, nested in
    the run that is active, if there is one. When the block ends the run is FINISHED, FAILED with the
    message in `ppi.error`, or KILLED on a signal.

    Args:
        mode: The run mode.
        continues: An interrupted run to go on with, in place of a new one. Metric points that it has
            already are not logged again.
        system_metrics: Whether the use of processor and memory is logged.

    Raises:
        TrackingError: the tracking server does not answer.
    """

    def __init__(self, mode: str, *, continues: FoundRun | None = None, system_metrics: bool = True) -> None:
        self._mode, self._continues, self._system_metrics = mode, continues, system_metrics
        self._logged: LoggedPoints | None = None
        self._failure = ""
        self.seconds = 0.0
        """Wall time spent in calls to the tracking server, all told."""

    def __enter__(self) -> TrackedRun:
        self.started_at = time.time()
        with self._call("start a run"):
            connect()
            mlflow.set_system_metrics_sampling_interval(SYSTEM_METRICS_SECONDS)
            mlflow.set_system_metrics_samples_before_logging(1)
            self._start(os.environ.get("MLFLOW_RUN_ID"))
        logger.info("run %s at %s", self.run_id, shown(mlflow.get_tracking_uri()))
        return self

    def _start(self, given: str | None) -> None:
        self._of_mlflow_run = bool(given) and not self._continues
        self._run = mlflow.start_run(
            run_id=self._continues.run_id if self._continues else None,
            run_name=None if given or self._continues else self._mode,
            nested=True,
            log_system_metrics=self._system_metrics,
        )
        self._client = mlflow.MlflowClient()
        # A name that a user gave to `mlflow run` stays; the random one that MLflow gives does not.
        self._may_rename = not given or bool(_RANDOM_NAME.fullmatch(self._run.info.run_name or ""))
        if self._continues:
            self._may_rename = False
            self._logged = LoggedPoints(self.run_id)
            if "ppi.error" in self._run.data.tags:
                self._client.delete_tag(self.run_id, "ppi.error")
        else:
            self.set_tags({"ppi.mode": self._mode})
            self._show_as_training()
        stored = StoredCheckpoints.from_tag(self._run.data.tags.get(TAG))
        self._checkpoints = CheckpointStore(self.run_id, stored)

    def _show_as_training(self) -> None:
        """Lets the UI open the experiment on its runs and models; unasked, MLflow takes it for chats."""
        experiment = self._client.get_experiment(self.experiment_id)
        if _KIND not in experiment.tags:
            self._client.set_experiment_tag(self.experiment_id, _KIND, "custom_model_development")

    @property
    def run_id(self) -> str:
        return str(self._run.info.run_id)

    @property
    def experiment_id(self) -> str:
        return str(self._run.info.experiment_id)

    @property
    def continues(self) -> FoundRun | None:
        """The interrupted run that this goes on with, as it was found."""
        return self._continues

    def logged_model(self) -> str | None:
        """The ID of the model that an earlier part of this run has logged already."""
        return logged_model_of(self._continues) if self._continues else None

    def identify(self, *, model: str = "", dataset: str = "", **others: str) -> None:
        """Names the run `<mode>-<model>-<dataset>` and sets the tags `ppi.<name>`, once they are known."""
        known = {"model": model, "dataset": dataset, **others}
        tags = {f"ppi.{key}": value for key, value in known.items() if value}
        if self._may_rename:
            tags["mlflow.runName"] = "-".join(part for part in (self._mode, model, dataset) if part)
        self.set_tags(tags)

    @contextmanager
    def _call(self, action: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            with translated_errors(action):
                yield
        finally:
            self.seconds += time.perf_counter() - started

    def set_tags(self, tags: Mapping[str, str]) -> None:
        with self._call("set tags"):
            self._client.log_batch(
                self.run_id, tags=[RunTag(key, value[:_TAG_LIMIT]) for key, value in tags.items()]
            )

    def log_parameters(self, parameters: Mapping[str, str]) -> None:
        with self._call("log parameters"):
            self._client.log_batch(
                self.run_id, params=[Param(key, value) for key, value in parameters.items()]
            )

    def log_metrics(
        self, metrics: Mapping[str, float], step: int = 0, *, model_id: str | None = None
    ) -> None:
        """All metrics of one step in one request; the UI shows those with a model beside that model too."""
        now = int(time.time() * 1000)
        with self._call("log metrics"):
            new = metrics if self._logged is None else self._logged.drop_known(metrics, step)
            points = [Metric(key, float(one), now, step, model_id=model_id) for key, one in new.items()]
            self._client.log_batch(self.run_id, metrics=points)

    def log_datasets(self, datasets: Sequence[TrackedDataset]) -> None:
        """Records what a run has read, so that the UI shows it beside the metrics; in one request."""
        inputs = []
        for one in datasets:
            # Abstract to a type checker only: MLflow leaves `profile` to its base class here.
            dataset = MetaDataset(  # type: ignore[abstract]
                HTTPDatasetSource(url=one.source), name=one.name, digest=one.digest[:36]
            )
            tags = {"mlflow.data.context": one.context, one.counts: str(one.size)}
            input_tags = [InputTag(key, value) for key, value in tags.items()]
            inputs.append(DatasetInput(dataset._to_mlflow_entity(), input_tags))
        with self._call("log the data sets"):
            self._client.log_inputs(self.run_id, inputs)

    def log_folder(self, folder: Path, artifact_path: str) -> None:
        with self._call(f"upload {artifact_path}"):
            self._client.log_artifacts(self.run_id, str(folder), artifact_path)

    def keep_checkpoints(self, checkpoints: LocalCheckpoints, *, final: bool) -> None:
        """Uploads checkpoints; killed half-way, what was uploaded before still counts."""
        with self._call("upload the checkpoints"):
            if final:
                self._checkpoints.finish(checkpoints)
            else:
                self._checkpoints.keep(checkpoints)

    def fail(self, why: str) -> None:
        """Lets the run end FAILED, though no error ends it: what was asked for was refused."""
        self._failure = why

    def describe(self, note: str) -> None:
        """Sets the description that the UI shows above the run; Markdown."""
        self.set_tags({"mlflow.note.content": note})

    def link_to(self, run_id: str, name: str, experiment_id: str | None = None) -> str:
        """Markdown that leads to another run of the same server."""
        return f"[{name}](#/experiments/{experiment_id or self.experiment_id}/runs/{run_id})"

    def log_file(self, path: Path, artifact_path: str | None = None) -> None:
        with self._call(f"upload {path.name}"):
            self._client.log_artifact(self.run_id, str(path), artifact_path)

    def log_model(
        self,
        name: str,
        checkpoint: Path,
        *,
        embedder: Path | None = None,
        scorer: str,
        example: Mapping[str, Sequence[str]],
        requirements: list[str],
        parameters: dict[str, str],
        tags: dict[str, str],
    ) -> str:
        """Logs a checkpoint as the run's model; see `logged_model.log_model`. Returns the model's ID."""
        from ppi_train.tracking.logged_model import log_model  # mlflow.pyfunc, not wanted at the start

        with self._call("log the model"):
            return log_model(
                name,
                checkpoint,
                embedder=embedder,
                scorer=scorer,
                example=example,
                requirements=requirements,
                parameters=parameters,
                tags=tags,
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._failure = shown(str(error)) or type(error).__name__
        killed = error is not None and not isinstance(error, Exception)
        status = "KILLED" if killed else "FAILED" if self._failure else "FINISHED"
        try:
            with self._call("end the run"):
                if self._failure:
                    self.set_tags({"ppi.error": self._failure})
                mlflow.end_run(status)
                if killed and self._of_mlflow_run:
                    keep_status(self.run_id, status)
        except Exception:
            # The error that ended the run matters more than the one that kept us from saying so.
            if error is None:
                raise
            logger.exception("the run could not be marked %s", status)


def mark_failed(message: str) -> None:
    """Marks the run that `mlflow run` made as FAILED, for a mistake found before the run was taken up."""
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if not run_id:
        return
    connect()
    with translated_errors("mark the run as FAILED"):
        client = mlflow.MlflowClient()
        client.set_tag(run_id, "ppi.error", message[:_TAG_LIMIT])
        client.set_terminated(run_id, "FAILED")
