"""A tracked MLflow run: parameters, tags, data sets, metrics and artifacts."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import socket
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal

import mlflow
import psutil
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from ppi_train.errors import TrackingError, addressed, first_line, shown
from ppi_train.io.files import file_digest
from ppi_train.tracking.artifacts import LocalCheckpoints
from ppi_train.tracking.connection import (
    connect,
    experiment_named,
    translated_errors,
    without_secrets,
)
from ppi_train.tracking.final_status import keep_status
from ppi_train.tracking.given_run import MODE_TAG, VARIABLE, GivenRun, find_given_run
from ppi_train.tracking.outbox.records import (
    OWN_MODEL,
    Checkpoints,
    Datasets,
    End,
    Files,
    Header,
    Metrics,
    Model,
    Parameters,
    Point,
    Record,
    Tags,
    TrackedDataset,
)
from ppi_train.tracking.outbox.store import NAME, Store
from ppi_train.tracking.outbox.transport import Transport
from ppi_train.tracking.outbox.worker import BackgroundWorker
from ppi_train.tracking.run_folder import folder_of
from ppi_train.tracking.runs import JOURNAL_TAG, JournalPlace, RunInfo, UnknownRunError, get_run
from ppi_train.tracking.shortcuts import context_tags, default_experiment_id
from ppi_train.tracking.system_metrics import SystemMetrics
from ppi_train.tracking.ui import (
    UI_ADDRESS,
    TrialsView,
    experiment_link,
    run_link,
    show_results_first,
    ui_command,
)

__all__ = ["TrackedDataset", "TrackedRun", "Tracking", "mark_failed", "mark_lost", "mark_lost_children"]

logger = logging.getLogger(__name__)

SYSTEM_METRICS_SECONDS = 5
DEFAULT_FOLDER = "runs"
# Name that MLflow gives to a run that the user did not name, such as `brawny-frog-512`.
RANDOM_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")
_TAG_LIMIT = 5000
_NAME_LIMIT = 250


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Settings for tracking a run.

    `folder` has a folder for each run, with its outbox; `flush_seconds` is how long the end of the run
    waits for the server to receive the rest; `offline` runs contact no server. `run_name` and `experiment`
    are empty where the user gave none. `parent` is the ID of the run to nest in, if it is another process's.
    """

    folder: Path = Path(DEFAULT_FOLDER)
    flush_seconds: float = 60.0
    offline: bool = False
    run_name: str = ""
    experiment: str = ""
    parent: str = ""


class TrackedRun:
    """A context manager around one MLflow run.

    Uses the run that `mlflow run` has created for the mode (MLFLOW_RUN_ID); otherwise creates one, nested in
    the run of MLFLOW_RUN_ID or in the active run, if any. What is logged goes to an outbox on this machine's
    disk, from which a thread sends it to the server: no call here but `flush` waits for the disk or the
    server, and none fails because of them. When the block ends, the run is FINISHED, FAILED with the message
    in `ppi.error`, or KILLED on a signal, but never RUNNING. What the server has not received by then stays
    in the outbox, for `sync`.

    Args:
        mode: The run mode.
        aliases: Its other names, by which `mlflow run` may have started it.
        continues: An interrupted run to continue, in place of a new one. Metric points that it already has
            are not logged again.
        system_metrics: Whether the use of processor and memory is logged.
        tracking: Settings for tracking.

    Raises:
        TrackingError: the tracking server does not answer at the start, or MLFLOW_RUN_ID names a run that
            has ended or that it does not have.
        StorageError: the outbox cannot be made.
    """

    _active: list[TrackedRun] = []  # noqa: RUF012 - shared by the process, the innermost run last
    _any_ended = False  # in this process

    def __init__(
        self,
        mode: str,
        *,
        aliases: Sequence[str] = (),
        continues: RunInfo | None = None,
        system_metrics: bool = True,
        tracking: Tracking | None = None,
    ) -> None:
        self._mode, self._names = mode, (mode, *aliases)
        self._continues, self._system_metrics = continues, system_metrics
        self._tracking = tracking or Tracking()
        self._worker: BackgroundWorker | None = None
        self._system: SystemMetrics | None = None
        self._refused = False
        self.run_id = self.experiment_id = ""
        self.seconds = 0.0
        """Wall time that the run spent in tracking, including its start."""

    def __enter__(self) -> TrackedRun:
        self.started_at = time.time()
        # Only the first run of a process waits for the process to start.
        self.startup_from = self.started_at if self._any_ended else psutil.Process().create_time()
        self._journal_id = uuid.uuid4().hex
        with self._call("start a run"):
            if self._tracking.offline:
                self._make_up()
            else:
                self._take_up()
        self._start_seconds = self.seconds
        if self._tracking.offline:
            self.set_tags({MODE_TAG: self._mode})
            logger.info("run %s, offline: %s", self.run_id, self._store.path)
        else:
            logger.info("run %s at %s", self.run_id, shown(mlflow.get_tracking_uri()))
        if self._system_metrics:
            self._system = SystemMetrics(
                self.run_id,
                self._log_system_metrics,
                seconds=SYSTEM_METRICS_SECONDS,
                continued=self._continues is not None,
            )
        self._active.append(self)
        return self

    @classmethod
    def running(cls) -> tuple[str, ...]:
        """The IDs of this process's runs, the innermost first."""
        return tuple(run.run_id for run in reversed(cls._active))

    def child(self, mode: str) -> TrackedRun:
        """A run nested in this one, with the same tracking settings."""
        return TrackedRun(mode, tracking=replace(self._tracking, run_name="", experiment=""))

    def _make_up(self) -> None:
        """Starts an offline run, which no server knows.

        `sync` creates it on the server, or finds the one that `mlflow run` has created.
        """
        given = os.environ.pop(VARIABLE, "")
        self._of_mlflow_run, self._may_rename = False, not self._tracking.run_name
        is_used = bool(given) and self._path_of(given).exists()  # by another offline mode, not sent yet
        self.run_id = given if given and not is_used else uuid.uuid4().hex
        self.experiment_id = "0"
        header = Header(
            run_id=self.run_id,
            journal_id=self._journal_id,
            offline=True,
            server="",
            started=int(1000 * self.started_at),
            experiment=self._tracking.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME", ""),
            tags={
                **context_tags(self._parent(given if is_used else "")),
                "mlflow.runName": self._tracking.run_name or self._mode,
            },
        )
        self._store = Store.create(self._path_of(self.run_id), header)

    def _path_of(self, run_id: str) -> Path:
        return folder_of(self._tracking.folder, run_id) / NAME

    def _take_up(self) -> None:
        connect()
        self._client = mlflow.MlflowClient()
        run = self._continued_run(self._continues.run_id) if self._continues else self._given_or_new_run()
        self.run_id, self.experiment_id = str(run.info.run_id), str(run.info.experiment_id)
        # A name that a user gave to `mlflow run` is kept; a random name from MLflow is not.
        is_named = self._of_mlflow_run and not RANDOM_NAME.fullmatch(run.info.run_name or "")
        self._may_rename = not (is_named or self._continues or self._tracking.run_name)
        path = self._path_of(self.run_id).absolute()
        place = JournalPlace(journal_id=self._journal_id, host=socket.gethostname(), path=path)
        tags = {JOURNAL_TAG: place.to_tag()} | ({} if self._continues else {MODE_TAG: self._mode})
        with self._failed_unless_started(self.run_id):
            self._client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
            if not (self._continues or self._tracking.parent):
                show_results_first(self._client, self.experiment_id)
        self._worker = BackgroundWorker(self._store, Transport(self.run_id, path.parent))

    def _continued_run(self, run_id: str) -> mlflow.entities.Run:
        run = get_run(run_id)
        self._of_mlflow_run = False
        self._store = self._new_store(run_id)
        self._client.update_run(run_id, status="RUNNING")
        if "ppi.error" in run.data.tags:
            self._client.delete_tag(run_id, "ppi.error")
        return run

    def _given_or_new_run(self) -> mlflow.entities.Run:
        if self._tracking.parent:
            self._of_mlflow_run = False
            return self._run_with_store(get_run(self._tracking.parent))
        given = find_given_run(self._names)
        os.environ.pop(VARIABLE, None)  # a run nested in this one must not use the same ID
        run = given.run if given and self._may_take(given) else None
        self._of_mlflow_run = run is not None
        return run or self._run_with_store(given.run if given else None)

    def _run_with_store(self, parent: mlflow.entities.Run | None) -> mlflow.entities.Run:
        run = self._new_run(parent)
        with self._failed_unless_started(run.info.run_id):
            self._store = self._new_store(run.info.run_id)
        return run

    def _may_take(self, given: GivenRun) -> bool:
        """Opens the outbox of a given run; False if the run, or its outbox, belongs to another process."""
        if given.shared:
            return False
        run_id = given.run.info.run_id
        with self._failed_unless_started(run_id):
            try:
                self._store = self._new_store(run_id)
            except TrackingError as error:
                logger.info("a new run is nested in run %s: %s", run_id, error.what)
                return False
        return True

    def _new_run(self, parent: mlflow.entities.Run | None) -> mlflow.entities.Run:
        if self._tracking.experiment:
            experiment_id = experiment_named(self._client, self._tracking.experiment)
        else:
            experiment_id = str(parent.info.experiment_id) if parent else default_experiment_id()
        tags = context_tags(self._parent(parent.info.run_id if parent else ""))
        return self._client.create_run(
            experiment_id, tags=tags, run_name=self._tracking.run_name or self._mode
        )

    def _parent(self, given: str = "") -> dict[str, str]:
        around = mlflow.active_run()
        if self._tracking.parent:
            return {MLFLOW_PARENT_RUN_ID: self._tracking.parent}
        outer = self._active[-1].run_id if self._active else around.info.run_id if around else given
        return {MLFLOW_PARENT_RUN_ID: outer} if outer else {}

    def _new_store(self, run_id: str) -> Store:
        header = Header(
            run_id=run_id,
            journal_id=self._journal_id,
            offline=False,
            server=without_secrets(mlflow.get_tracking_uri()),
            started=int(1000 * self.started_at),
        )
        return Store.create(self._path_of(run_id).absolute(), header)

    @contextmanager
    def _failed_unless_started(self, run_id: str) -> Iterator[None]:
        """Ends a run FAILED, not RUNNING, if it cannot be started."""
        try:
            yield
        except Exception as error:
            with suppress(Exception):  # the error before it says more
                _end_failed(self._client, run_id, str(error))
            raise

    @property
    def offline(self) -> bool:
        """Whether the run contacts no server."""
        return self._tracking.offline

    @property
    def blocked_seconds(self) -> float:
        """Wall time that the run has spent in tracking since its start."""
        return self.seconds - self._start_seconds

    @property
    def url(self) -> str:
        """The run's page in the MLflow UI, or the command that starts a UI of the store."""
        if self._worker is None:
            return ""
        uri = str(mlflow.get_tracking_uri())
        if uri.startswith("http"):
            return run_link(without_secrets(uri), self.experiment_id, self.run_id)
        return ui_command(uri)

    @property
    def places(self) -> tuple[str, ...]:
        """Lines that say where the run is seen; none offline."""
        if self._worker is None:
            return ()
        uri = str(mlflow.get_tracking_uri())
        has_server = uri.startswith("http")
        server = without_secrets(uri) if has_server else UI_ADDRESS
        links = (
            f"this run: {run_link(server, self.experiment_id, self.run_id)}",
            f"all runs: {experiment_link(server, self.experiment_id)}",
        )
        return links if has_server else (f"to see it in a browser: {ui_command(uri)}", *links)

    def save_view(self, view: TrialsView) -> str:
        """Saves a view of trials in the run's experiment; returns its link.

        A server that refuses it is only warned of: the view is a convenience.
        """
        uri = str(mlflow.get_tracking_uri())
        try:
            view.save(self._client, self.experiment_id)
        except MlflowException as error:
            logger.warning("the tracking server takes no view of the trials: %s", first_line(error))
        server = without_secrets(uri) if uri.startswith("http") else UI_ADDRESS
        return experiment_link(server, self.experiment_id, view.key)

    @property
    def continues(self) -> RunInfo | None:
        """The interrupted run that this run continues, as it was found."""
        return self._continues

    def identify(self, *, model: str = "", dataset: str = "", **others: str) -> None:
        """Names the run `<mode>-<model>-<dataset>` and sets the tags `ppi.<name>`."""
        known = {"model": model, "dataset": dataset, **others}
        tags = {f"ppi.{key}": value for key, value in known.items() if value}
        if self._may_rename:
            name = "-".join(part for part in (self._mode, model, dataset) if part)
            tags["mlflow.runName"] = _shortened(name)
        self.set_tags(tags)

    @contextmanager
    def _call(self, action: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            with translated_errors(action):
                yield
        finally:
            self.seconds += time.perf_counter() - started

    def _append(self, record: Record) -> None:
        (self._worker or self._store).add(record)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        with self._call("set tags"):
            self._append(
                Tags(values={key: addressed(str(value))[:_TAG_LIMIT] for key, value in tags.items()})
            )

    def log_parameters(self, parameters: Mapping[str, str]) -> None:
        with self._call("log parameters"):
            self._append(Parameters(values=dict(parameters)))

    def log_metrics(
        self,
        metrics: Mapping[str, float],
        step: int = 0,
        *,
        model_id: str | None = None,
        dataset: TrackedDataset | None = None,
    ) -> None:
        """Logs all metrics of a step.

        With a model ID, the UI also shows them with that model, and with the data set that they were measured
        on, which the run has logged.
        """
        with self._call("log metrics"):
            record = Metrics(
                points=_points(metrics, step),
                model=model_id or "",
                dataset=dataset.name if dataset else "",
                dataset_digest=dataset.digest if dataset else "",
                skip_known_steps=self._continues is not None,
            )
            self._append(record)

    def _log_system_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self._append(Metrics(points=_points(metrics, step)))

    def log_datasets(self, datasets: Sequence[TrackedDataset]) -> None:
        """Logs the data sets that the run has read."""
        with self._call("log the data sets"):
            self._append(Datasets(datasets=tuple(datasets)))

    def log_folder(self, folder: Path, artifact_path: str) -> None:
        """Uploads all files of a folder in the background.

        They must not change until that is done.
        """
        with self._call(f"upload {artifact_path}"):
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            self._log_files(folder, files, artifact_path)

    def log_file(self, path: Path, artifact_path: str | None = None) -> None:
        """Uploads a file in the background; it must not change until then."""
        with self._call(f"upload {path.name}"):
            self._log_files(path.parent, [path], artifact_path or "")

    def _log_files(self, folder: Path, files: Sequence[Path], artifact_path: str) -> None:
        digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in files}
        place = self._store.relative(folder)
        self._append(Files(folder=place, artifact_path=artifact_path, digests=digests))

    def keep_checkpoints(self, checkpoints: LocalCheckpoints, *, final: bool) -> None:
        """Uploads the present checkpoints in the background.

        If several are waiting for upload, only the last ones matter.
        """
        with self._call("keep the checkpoints"):
            kept = {
                name: self._store.checkpoints.keep(folder, name)
                for name, folder in checkpoints.folders.items()
            }
            record = Checkpoints(
                folders={name: self._store.relative(folder) for name, folder in kept.items()},
                digests=dict(checkpoints.digests),
                step=checkpoints.step,
                final=final,
            )
            self._append(record)

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
        """Logs a checkpoint as the run's model, in the background.

        Does nothing if the run already has a model from before it was interrupted.

        Args:
            name: The name shown in the UI.
            checkpoint: A finished checkpoint.
            embedder: The checkpoint of its embedder, if the embedder has its own weights.
            scorer: `module:name` of the callable that makes a scorer of sequences from these folders.
            example: A few rows by column, which the UI shows as an example input.
            requirements: What `pip` must install for the model to be served.
            parameters, tags: Shown with the model.

        Returns:
            A placeholder of the model's ID for `log_metrics`; the server assigns the ID later.
        """
        with self._call("log the model"):
            digests = {path.name: file_digest(path) for path in sorted(checkpoint.iterdir())}
            record = Model(
                name=name,
                checkpoint=self._store.relative(checkpoint),
                digests=digests,
                embedder=self._store.relative(embedder) if embedder else "",
                scorer=scorer,
                example={column: tuple(rows) for column, rows in example.items()},
                requirements=tuple(requirements),
                parameters=parameters,
                tags=tags,
            )
            self._append(record)
        return OWN_MODEL

    def flush(self) -> None:
        """Waits until what was logged is on this machine's disk, where a killed process leaves it."""
        with self._call("write the outbox"):
            self._store.flush()

    def refuse(self) -> None:
        """Keeps the run FINISHED although its exit code is not 0."""
        self._refused = True

    def describe(self, note: str) -> None:
        """Sets the description of the run in the UI; Markdown."""
        self.set_tags({"mlflow.note.content": note})

    def link_to_artifact(self, path: str, name: str) -> str:
        """A Markdown link to an artifact of this run."""
        return f"[{name}](#/experiments/{self.experiment_id}/runs/{self.run_id}/artifacts/{path})"

    def link_to(self, run_id: str, name: str, experiment_id: str | None = None) -> str:
        """A Markdown link to another run on the same server."""
        return f"[{name}](#/experiments/{experiment_id or self.experiment_id}/runs/{run_id})"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        killed = error is not None and not isinstance(error, Exception)
        status: Literal["FINISHED", "FAILED", "KILLED"]
        status = "KILLED" if killed else "FAILED" if error else "FINISHED"
        if self._system:
            self._system.stop()
        self._active.remove(self)
        TrackedRun._any_ended = True
        if error is not None:
            self.set_tags({"ppi.error": shown(str(error)) or type(error).__name__})
        self._append(End(status=status, time=int(time.time() * 1000)))
        self._leave(status, unlike_exit_code=killed or self._refused)

    def _leave(self, status: str, *, unlike_exit_code: bool) -> None:
        """Waits for the server to receive the rest; logs what is unsent."""
        path = self._store.path.absolute()
        remedy = f"mlflow run . --env-manager local -e sync -P journal={path}"
        if self._worker is None:
            self._store.close()
            logger.warning("the run is in its outbox only; to send it to a tracking server: %s", remedy)
        else:
            try:
                sent = self._worker.finish(self._tracking.flush_seconds)
            finally:
                if self._worker.unsent:
                    self._store.flush()
                    logger.warning(
                        "%d records of the run are not on the tracking server yet, but kept in %s; "
                        "to send them once it answers: %s (last error: %s)",
                        self._worker.unsent, path, remedy, self._worker.trouble or "none so far",
                    )  # fmt: skip
            if unlike_exit_code and self._of_mlflow_run:
                keep_status(self.run_id, status)
            if sent:
                return
        if self._store.unwritten:
            logger.error(
                "%d records are LOST: they could be neither sent nor written to the disk: %s",
                self._store.unwritten, path,
            )  # fmt: skip


def _shortened(name: str) -> str:
    """A run name that every database takes; a hash keeps long names different."""
    if len(name) <= _NAME_LIMIT:
        return name
    return f"{name[: _NAME_LIMIT - 9]}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _points(metrics: Mapping[str, float], step: int) -> tuple[Point, ...]:
    now = int(time.time() * 1000)
    return tuple(
        Point(name=name, value=float(value), timestamp=now, step=step) for name, value in metrics.items()
    )


def mark_failed(message: str, mode_names: Collection[str]) -> None:
    """Marks the run that `mlflow run` created for a mode as FAILED.

    For a mistake that was found before the run was started. A run that is not for this mode alone stays as
    it is.

    Raises:
        TrackingError: as in `find_given_run`.
    """
    if not os.environ.get(VARIABLE):
        return
    connect()
    with translated_errors("mark the run as FAILED"):
        given = find_given_run(mode_names)
        if given and not given.shared:
            _end_failed(mlflow.MlflowClient(), given.run.info.run_id, message)


def mark_lost(run_id: str, message: str) -> None:
    """Marks a run whose process was lost as FAILED, unless it has ended otherwise or was deleted.

    Raises:
        TrackingError: the server does not answer.
    """
    connect()
    try:
        run = get_run(run_id)
    except UnknownRunError:  # nothing is left to mark
        return
    if run.info.status == "RUNNING":
        with translated_errors("mark the run as FAILED"):
            _end_failed(mlflow.MlflowClient(), run_id, message)


def mark_lost_children(run_id: str, experiment_id: str, message: str) -> list[str]:
    """Marks the runs that are nested in a run and RUNNING as FAILED; their processes must be gone.

    Returns:
        Their IDs.

    Raises:
        TrackingError: the server does not answer.
    """
    with translated_errors("look for runs that were lost"):
        client = mlflow.MlflowClient()
        found = client.search_runs(
            [experiment_id],
            filter_string=f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}' AND attributes.status = 'RUNNING'",
            max_results=1000,
        )
        for run in found:
            _end_failed(client, run.info.run_id, message)
    return [str(run.info.run_id) for run in found]


def _end_failed(client: mlflow.MlflowClient, run_id: str, message: str) -> None:
    client.set_tag(run_id, "ppi.error", message[:_TAG_LIMIT])
    client.set_terminated(run_id, "FAILED")
