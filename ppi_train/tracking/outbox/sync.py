"""Sends the outbox of a process that has ended: what the server lacks, once."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import mlflow
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from ppi_train.errors import TrackingError
from ppi_train.tracking.connection import experiment_named, translated_errors
from ppi_train.tracking.given_run import MODE_TAG, VARIABLE, was_free, was_running
from ppi_train.tracking.outbox.store import Store
from ppi_train.tracking.outbox.transport import Transport
from ppi_train.tracking.outbox.worker import Worker
from ppi_train.tracking.refusals import first_line
from ppi_train.tracking.run import RANDOM_NAME
from ppi_train.tracking.runs import JOURNAL_TAG, JournalPlace

logger = logging.getLogger(__name__)

_OFFLINE_ID = "ppi.offline_id"
_DIED = "the process ended without saying so: it was killed, or its machine went down"
_ATTEMPTS, _PAUSE = 5, 1.0
_RECORDS_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What came of an outbox: its run, how many records were sent, and why some never will be."""

    run_id: str
    records: int
    refused: tuple[str, ...]


def sync_outbox(path: Path, *, experiment_id: str, end: bool) -> Synced:
    """Sends what the server lacks of an outbox, and removes the outbox.

    Args:
        path: The outbox.
        experiment_id: Where a run that was made offline goes, unless its outbox names an experiment.
        end: Whether a run whose process died is marked as KILLED; else it is about to be continued.

    Raises:
        JournalError: it is not an outbox, or cannot be read.
        TrackingError: its process is alive; the server does not answer, or does not know the run.
    """
    store = Store.open(path)
    try:
        with translated_errors(f"send {path}"):
            run, is_new = _bound_run(store, experiment_id)
            worker = _worker(store, run)
            _send_all(worker, store)
            if end and not store.ended and (is_new or _is_its(run, store)):
                _mark_killed(run.info.run_id)
    except BaseException:
        store.close()
        raise
    refused = [*worker.refused, *store.damaged]
    if refused:
        logger.error("%d records were not taken; they are kept in %s", len(refused), store.set_aside())
    else:
        store.remove()
    return Synced(run_id=run.info.run_id, records=worker.records_sent, refused=tuple(refused))


def _worker(store: Store, run: Run) -> Worker:
    transport = Transport(
        run.info.run_id,
        store.folder.absolute(),
        keep_name=store.header.offline and not _may_rename(run),
        points_only=not _is_its(run, store),
    )
    return Worker(store, transport, may_be_sent=True)


def _may_rename(run: Run) -> bool:
    """Whether nobody has given the run a name: it was made by `sync`, or named at random by `mlflow run`."""
    return _OFFLINE_ID in run.data.tags or bool(RANDOM_NAME.fullmatch(run.info.run_name or ""))


def _is_its(run: Run, store: Store) -> bool:
    """Whether no other process has taken up the run since this outbox was written."""
    place = JournalPlace.from_tag(run.data.tags.get(JOURNAL_TAG, ""))
    return place is not None and place.journal_id == store.header.journal_id


def _bound_run(store: Store, experiment_id: str) -> tuple[Run, bool]:
    """The run at the server, and whether it was made or taken up just now."""
    client = mlflow.MlflowClient()
    if store.run_id:
        return _known_run(client, store), False
    given = _given_run(client, store)
    run = _own_run(given, store) or _made_before(client, store, experiment_id)
    run = run or _make(client, store, experiment_id, given)
    place = JournalPlace(journal_id=store.header.journal_id, host="", path=store.path.absolute())
    client.log_batch(run.info.run_id, tags=[RunTag(JOURNAL_TAG, place.to_tag())])
    store.bind(run.info.run_id)
    _link_folder(store.folder.absolute(), run.info.run_id)
    return client.get_run(run.info.run_id), True


def _link_folder(folder: Path, run_id: str) -> None:
    """Makes the folder findable by its run's ID at the server, so that `resume` can go on there."""
    link = folder.with_name(run_id)
    try:
        if not link.exists():
            link.symlink_to(folder.name)
    except OSError as error:  # not every disk has links; what is sent does not need this one
        logger.info("%s stands for run %s; no link of that name can be made (%s)", folder, run_id, error)


def _known_run(client: mlflow.MlflowClient, store: Store) -> Run:
    run = _find(client, store.run_id)
    if run is None:
        its_server = store.header.server or "the one that it was sent to before"
        raise TrackingError(
            "the tracking server does not have the run of the outbox",
            where=mlflow.get_tracking_uri(),
            got=store.run_id,
            remedy=f"set MLFLOW_TRACKING_URI to the server that has it: {its_server}",
        )
    if run.info.lifecycle_stage == "deleted":
        raise TrackingError(
            "the run of the outbox was deleted",
            where=mlflow.get_tracking_uri(),
            got=store.run_id,
            remedy=f"restore it with `mlflow runs restore --run-id {store.run_id}`, or delete the outbox",
        )
    return run


def _given_run(client: mlflow.MlflowClient, store: Store) -> Run | None:
    """The run of MLFLOW_RUN_ID when an offline run began, if it is on this server."""
    run = _find(client, store.header.run_id)
    return run if run and run.info.lifecycle_stage == "active" else None


def _own_run(given: Run | None, store: Store) -> Run | None:
    """The given run, unless it is another mode's, or had ended when the offline run began."""
    if given is None or _is_its(given, store) or was_free(given, store.header.started):
        return given
    logger.warning(
        "run %s (%s), which %s named, is used by another mode or had ended: a new run is made",
        given.info.run_id, given.info.status, VARIABLE,
    )  # fmt: skip
    return None


def _find(client: mlflow.MlflowClient, run_id: str) -> Run | None:
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _experiment(client: mlflow.MlflowClient, store: Store, experiment_id: str) -> str:
    return experiment_named(client, store.header.experiment) if store.header.experiment else experiment_id


def _made_before(client: mlflow.MlflowClient, store: Store, experiment_id: str) -> Run | None:
    """The run that a `sync` before this one has made, which was broken off before it had noted that."""
    found = client.search_runs(
        [_experiment(client, store, experiment_id)],
        filter_string=f"tags.`{_OFFLINE_ID}` = '{store.header.run_id}'",
    )
    # Other outboxes may have the same ID: those of modes that were given the same run.
    own = [run for run in found if _is_its(run, store) or MODE_TAG not in run.data.tags]
    return own[0] if own else None


def _make(client: mlflow.MlflowClient, store: Store, experiment_id: str, given: Run | None) -> Run:
    header = store.header
    is_nested = given is not None and was_running(given, header.started)
    parent = {MLFLOW_PARENT_RUN_ID: header.run_id} if is_nested else {}
    return client.create_run(
        _experiment(client, store, experiment_id),
        start_time=header.started,
        tags={**header.tags, **parent, _OFFLINE_ID: header.run_id},
    )


def _send_all(worker: Worker, store: Store) -> None:
    pending = store.pending()
    while records := list(islice(pending, _RECORDS_AT_ONCE)):
        for number, record in records:
            worker.put(number, record)
        failures = 0
        while worker:
            try:
                worker.send_some()
                failures = 0
            except Exception as error:
                failures += 1
                if failures == _ATTEMPTS or isinstance(error, ImportError):
                    raise
                logger.warning("the tracking server does not take a record (%s)", first_line(error))
                time.sleep(_PAUSE * failures)


def _mark_killed(run_id: str) -> None:
    client = mlflow.MlflowClient()
    if client.get_run(run_id).info.status == "RUNNING":
        client.set_tag(run_id, "ppi.error", _DIED)
        client.set_terminated(run_id, "KILLED")
        client.delete_tag(run_id, JOURNAL_TAG)
