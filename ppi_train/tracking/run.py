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

from ppi_train.tracking.connection import connect, translated_errors

logger = logging.getLogger(__name__)

SYSTEM_METRICS_SECONDS = 5
# What MLflow calls a run that the user did not name, such as `brawny-frog-512`.
_RANDOM_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")
_TAG_LIMIT = 5000


@dataclass(frozen=True, kw_only=True)
class TrackedDataset:
    """One split that a run reads.

    `context` is `train`, `validation` or `test`; `digest` the sha256 of the pairs, of which MLflow
    keeps 36 characters; `source` a path or URL; `size` in pairs.
    """

    name: str
    context: str
    digest: str
    source: str
    size: int


class TrackedRun:
    """A context manager around one MLflow run.

    The run that `mlflow run` has made (MLFLOW_RUN_ID) is continued; otherwise one is made. When the
    block ends the run is FINISHED, FAILED with the message in `ppi.error`, or KILLED on a signal.

    Args:
        mode: The run mode.

    Raises:
        TrackingError: the tracking server does not answer.
    """

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self.seconds = 0.0
        """Wall time spent in calls to the tracking server, all told."""

    def __enter__(self) -> TrackedRun:
        self.started_at = time.time()
        with self._call("start a run"):
            connect()
            mlflow.set_system_metrics_sampling_interval(SYSTEM_METRICS_SECONDS)
            mlflow.set_system_metrics_samples_before_logging(1)
            given = os.environ.get("MLFLOW_RUN_ID")
            self._run = mlflow.start_run(run_name=None if given else self._mode, log_system_metrics=True)
            self._client = mlflow.MlflowClient()
            # A name that a user gave to `mlflow run` stays; the random one that MLflow gives does not.
            self._may_rename = not given or bool(_RANDOM_NAME.fullmatch(self._run.info.run_name or ""))
            self.set_tags({"ppi.mode": self._mode})
        logger.info("run %s at %s", self.run_id, mlflow.get_tracking_uri())
        return self

    @property
    def run_id(self) -> str:
        return str(self._run.info.run_id)

    @property
    def experiment_id(self) -> str:
        return str(self._run.info.experiment_id)

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
        points = [Metric(key, float(one), now, step, model_id=model_id) for key, one in metrics.items()]
        with self._call("log metrics"):
            self._client.log_batch(self.run_id, metrics=points)

    def log_datasets(self, datasets: Sequence[TrackedDataset]) -> None:
        """Records what a run has read, so that the UI shows it beside the metrics; in one request."""
        inputs = []
        for one in datasets:
            # Abstract to a type checker only: MLflow leaves `profile` to its base class here.
            dataset = MetaDataset(  # type: ignore[abstract]
                HTTPDatasetSource(url=one.source), name=one.name, digest=one.digest[:36]
            )
            tags = {"mlflow.data.context": one.context, "pairs": str(one.size)}
            input_tags = [InputTag(key, value) for key, value in tags.items()]
            inputs.append(DatasetInput(dataset._to_mlflow_entity(), input_tags))
        with self._call("log the data sets"):
            self._client.log_inputs(self.run_id, inputs)

    def log_folder(self, folder: Path, artifact_path: str) -> None:
        with self._call(f"upload {artifact_path}"):
            self._client.log_artifacts(self.run_id, str(folder), artifact_path)

    def log_file(self, path: Path, artifact_path: str | None = None) -> None:
        with self._call(f"upload {path.name}"):
            self._client.log_artifact(self.run_id, str(path), artifact_path)

    def log_model(
        self,
        name: str,
        checkpoint: Path,
        *,
        scorer: str,
        requirements: list[str],
        parameters: dict[str, str],
        tags: dict[str, str],
    ) -> str:
        """Logs a checkpoint as the run's model; see `logged_model.log_model`. Returns the model's ID."""
        from ppi_train.tracking.logged_model import log_model  # mlflow.pyfunc, not wanted at the start

        with self._call("log the model"):
            return log_model(
                name, checkpoint, scorer=scorer, requirements=requirements, parameters=parameters, tags=tags
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "FINISHED"
        if error is not None:
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
        try:
            with self._call("end the run"):
                if error is not None:
                    self.set_tags({"ppi.error": str(error) or type(error).__name__})
                mlflow.end_run(status)
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
