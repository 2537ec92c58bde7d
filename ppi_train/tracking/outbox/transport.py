"""Bringing records to the tracking server, so that what is brought twice is there once."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

import mlflow
import requests
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from ppi_train.tracking.artifacts import TAG, CheckpointStore, LocalCheckpoints, StoredCheckpoints
from ppi_train.tracking.outbox.files import UndeliverableError, check_file, file_state, largest_file
from ppi_train.tracking.outbox.records import (
    OWN_MODEL,
    Checkpoints,
    Datasets,
    End,
    Files,
    Metrics,
    Model,
    Parameters,
    Point,
    Record,
    Tags,
)
from ppi_train.tracking.runs import JOURNAL_TAG, ready_model
from ppi_train.tracking.timeouts import time_for

logger = logging.getLogger(__name__)

# What MLflow takes in one request.
POINTS_AT_ONCE = 1000
VALUES_AT_ONCE = 100
_NAME = "mlflow.runName"
# What a server says to a request that it will never do, however often it is asked.
_FINAL = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE",
          "NOT_FOUND", "BAD_REQUEST")  # fmt: skip

# How a SQL store keeps an infinite value.
_LARGEST = 1.7976931348623157e308
# Step, timestamp and value.
_Identity: TypeAlias = tuple[int, int, float | str]

T = TypeVar("T")


def is_refusal(error: Exception) -> bool:
    """Whether an error says that a record will never be taken, and not that the server is away or ill."""
    if isinstance(error, UndeliverableError):
        return True
    # Some calls of MLflow make "no such thing" of a look-up that failed, whatever it failed from.
    answers = [
        cause
        for cause in _with_causes(error)
        if isinstance(cause, MlflowException | requests.RequestException)
    ]
    return error in answers and all(_is_final_answer(answer) for answer in answers)


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_final_answer(error: MlflowException | requests.RequestException) -> bool:
    if isinstance(error, MlflowException):
        return error.error_code in _FINAL
    # Too large, a wrong name; but not: log in first, too many requests, no answer.
    status = getattr(error.response, "status_code", None)
    return status in (400, 404, 405, 411, 413, 414, 422)


class Transport:
    """Brings the records of one run to the server, in the order in which it is given them.

    Args:
        run_id: The run at the server.
        folder: What paths in the records are relative to.
        keep_name: Whether the run keeps the name that it has.
        points_only: Whether another process has taken up the run, so that it lacks nothing but the
            points whose steps that one has not logged itself.
    """

    def __init__(
        self, run_id: str, folder: Path, *, keep_name: bool = False, points_only: bool = False
    ) -> None:
        self.run_id, self._folder = run_id, folder
        self._keep_name, self._points_only = keep_name, points_only
        self._client = mlflow.MlflowClient()
        self._points = LoggedPoints(run_id)
        self._store: CheckpointStore | None = None
        self._model_id: str | None = None
        self._uploaded: set[tuple[str, str]] = set()
        self._again = False
        self._failures = 0

    def send(self, records: Sequence[Record], *, again: bool) -> None:
        """Brings records of the same kind to the server.

        With `again` the server may have some of them already. Only metrics and checkpoints need to know: all
        others have the same effect twice as once.

        Raises:
            Exception: whatever MLflow and its transports raise; see `is_refusal`. What of the records
                is at the server is then not known.
        """
        first = records[0]
        if self._points_only and not isinstance(first, Metrics):
            return
        self._again = again
        send = self._senders[type(first)]
        if not isinstance(first, Files | Checkpoints | Model):
            send(self, records)
            return
        try:
            with time_for(largest_file(first, self._folder), failures=self._failures):
                send(self, records)
        except Exception:
            self._failures += 1
            raise
        self._failures = 0

    def run_is_there(self) -> bool:
        """Whether the server answers for the run."""
        try:
            run = self._client.get_run(self.run_id)
        except Exception:
            logger.debug("the server does not answer for the run", exc_info=True)
            return False
        return bool(run.info.lifecycle_stage == "active")

    def _send_metrics(self, records: Sequence[Metrics]) -> None:
        points: list[tuple[Point, Metrics]] = []
        taken: set[tuple[str, int]] = set()  # which the server is to have, and cannot tell of yet
        for record in records:
            new: Sequence[Point] = record.points
            if record.skip_known_steps or self._points_only:
                unknown = self._points.drop_known_steps(record.points)
                new = [point for point in unknown if (point.name, point.step) not in taken]
            taken |= {(point.name, point.step) for point in new}
            points += [(point, record) for point in new]
        if self._again:
            missing = set(self._points.drop_known([point for point, _ in points]))
            points = [(point, record) for point, record in points if point in missing]
        for part in _parts(points, POINTS_AT_ONCE):
            plain = [point for point, _ in part]
            metrics = [self._metric(point, record) for point, record in part]
            try:
                self._client.log_batch(self.run_id, metrics=metrics)
            except Exception:
                self._points.forget(plain)
                raise
            self._points.add(plain)

    def _metric(self, point: Point, record: Metrics) -> Metric:
        model_id = self._own_model() if record.model == OWN_MODEL else record.model
        return Metric(
            point.name,
            point.value,
            point.timestamp,
            point.step,
            model_id=model_id or None,
            dataset_name=record.dataset or None,
            dataset_digest=record.dataset_digest[:36] or None,
        )

    def _own_model(self) -> str | None:
        if self._model_id is None:
            run = self._client.get_run(self.run_id)
            self._model_id = ready_model(run.info.experiment_id, self.run_id)
        return self._model_id

    def _send_parameters(self, records: Sequence[Parameters]) -> None:
        for part in _parts(list(_merged(records).items()), VALUES_AT_ONCE):
            self._client.log_batch(self.run_id, params=[Param(name, value) for name, value in part])

    def _send_tags(self, records: Sequence[Tags]) -> None:
        tags = _merged(records)
        if self._keep_name:
            tags.pop(_NAME, None)
        for part in _parts(list(tags.items()), VALUES_AT_ONCE):
            self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in part])

    def _send_datasets(self, records: Sequence[Datasets]) -> None:
        inputs = []
        for read in (dataset for record in records for dataset in record.datasets):
            # Abstract to a type checker only: MLflow leaves `profile` to its base class here.
            dataset = MetaDataset(  # type: ignore[abstract]
                HTTPDatasetSource(url=read.source), name=read.name, digest=read.digest[:36]
            )
            tags = {"mlflow.data.context": read.context, read.counts: str(read.size)}
            input_tags = [InputTag(key, value) for key, value in tags.items()]
            inputs.append(DatasetInput(dataset._to_mlflow_entity(), input_tags))
        self._client.log_inputs(self.run_id, inputs)

    def _send_files(self, records: Sequence[Files]) -> None:
        for record in records:
            folder = self._folder / record.folder
            for name, digest in record.digests.items():
                target = Path(record.artifact_path, name)
                if (str(target), digest) in self._uploaded:
                    continue  # before this record's upload broke off
                state = check_file(folder / name, digest)
                parent = "" if target.parent == Path() else target.parent.as_posix()
                self._client.log_artifact(self.run_id, str(folder / name), parent or None)
                if file_state(folder / name) != state:
                    raise UndeliverableError(
                        "a file was changed while it was uploaded: the server has something else",
                        where=folder / name,
                    )
                self._uploaded.add((str(target), digest))

    def _send_checkpoints(self, records: Sequence[Checkpoints]) -> None:
        for record in records:
            folders = {name: self._folder / path for name, path in record.folders.items()}
            for name, folder in folders.items():
                check_file(folder / "COMPLETE.json", record.digests[name])
            if self._store is None or self._again:
                run = self._client.get_run(self.run_id)
                self._store = CheckpointStore(self.run_id, StoredCheckpoints.from_tag(run.data.tags.get(TAG)))
            local = LocalCheckpoints(folders=folders, digests=record.digests, step=record.step)
            if record.final:
                self._store.finish(local)
            else:
                self._store.keep(local)

    def _send_model(self, records: Sequence[Model]) -> None:
        from ppi_train.tracking.logged_model import log_model  # mlflow.pyfunc, not wanted at the start

        for record in records:
            if self._own_model():
                continue
            for name, digest in record.digests.items():
                check_file(self._folder / record.checkpoint / name, digest)
            if record.embedder and not (self._folder / record.embedder).is_dir():
                raise UndeliverableError(
                    "the embedder's weights are gone, so that the run's model cannot be made",
                    where=self._folder / record.embedder,
                )
            self._model_id = log_model(self.run_id, record, self._folder)

    def _send_end(self, records: Sequence[End]) -> None:
        for record in records:
            self._client.set_terminated(self.run_id, record.status, record.time)
        run = self._client.get_run(self.run_id)
        if JOURNAL_TAG in run.data.tags:
            self._client.delete_tag(self.run_id, JOURNAL_TAG)

    _senders: Mapping[type, Callable[..., None]] = {
        Metrics: _send_metrics,
        Parameters: _send_parameters,
        Tags: _send_tags,
        Datasets: _send_datasets,
        Files: _send_files,
        Checkpoints: _send_checkpoints,
        Model: _send_model,
        End: _send_end,
    }


def _merged(records: Sequence[Parameters | Tags]) -> dict[str, str]:
    """The values of several records; the last word on a name counts."""
    return {name: value for record in records for name, value in record.values.items()}


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


class LoggedPoints:
    """The points of each metric of a run, asked for when the metric is first met."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._client = mlflow.MlflowClient()
        self._known: dict[str, set[_Identity]] = {}

    def drop_known_steps(self, points: Iterable[Point]) -> list[Point]:
        """Those points whose step of their metric the run does not have."""
        return [point for point in points if point.step not in {step for step, *_ in self._of(point.name)}]

    def drop_known(self, points: Iterable[Point]) -> list[Point]:
        """Those points that the run does not have exactly so."""
        return [point for point in points if _identity(point) not in self._of(point.name)]

    def add(self, points: Iterable[Point]) -> None:
        """Notes that the run has these points now."""
        for point in points:
            if point.name in self._known:
                self._known[point.name].add(_identity(point))

    def forget(self, points: Iterable[Point]) -> None:
        """Has the server asked again for these metrics: a request may have changed them."""
        for point in points:
            self._known.pop(point.name, None)

    def _of(self, name: str) -> set[_Identity]:
        if name not in self._known:
            history = self._client.get_metric_history(self._run_id, name)
            self._known[name] = {_identity(point) for point in history}
        return self._known[name]


def _identity(point: Point | Metric) -> _Identity:
    """What a point is compared by: NaN equals itself, and infinity what a store makes of it."""
    value = "nan" if math.isnan(point.value) else max(-_LARGEST, min(_LARGEST, point.value))
    return int(point.step), int(point.timestamp), value
