"""Sending the journal of a process that has ended: what the server lacks of it, once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import mlflow
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException

from ppi_train.errors import TrackingError
from ppi_train.tracking.connection import first_line, translated_errors
from ppi_train.tracking.outbox.store import Contents, Journal
from ppi_train.tracking.outbox.transport import Delivery
from ppi_train.tracking.outbox.worker import Sender
from ppi_train.tracking.run import RANDOM_NAME
from ppi_train.tracking.runs import JOURNAL_TAG, JournalPlace

logger = logging.getLogger(__name__)

_OFFLINE_ID = "ppi.offline_id"
_DIED = "the process ended without saying so: it was killed, or its machine went down"
_ATTEMPTS, _PAUSE = 5, 1.0
_LINES_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What came of a journal: its run, how many records were sent, and why some never will be."""

    run_id: str
    records: int
    refused: tuple[str, ...]


def replay(path: Path, *, experiment_id: str, end: bool) -> Replayed:
    """Sends what the server lacks of a journal, and removes the journal.

    Args:
        path: The journal.
        experiment_id: Where a run that was made offline goes, unless its journal names an experiment.
        end: Whether a run whose process died is marked as KILLED; else it is about to be continued.

    Raises:
        JournalError: it is none, or cannot be read.
        TrackingError: its process lives; the server does not answer, or does not know the run.
    """
    journal, contents = Journal.open(path)
    try:
        with translated_errors(f"send {path}"):
            run, is_new = _bound_run(journal, contents, experiment_id)
            sender = _sender(journal, contents, run)
            _send_all(sender, contents)
            if end and not contents.ended and (is_new or _is_its(run, contents)):
                _mark_killed(run.info.run_id)
    except BaseException:
        journal.close()
        raise
    refused = [*sender.refused, *(f"line {line} is damaged" for line in contents.damaged)]
    if refused:
        logger.error("%d records were not taken; they are kept in %s", len(refused), journal.set_aside())
    else:
        journal.remove()
    return Replayed(run_id=run.info.run_id, records=sender.records_sent, refused=tuple(refused))


def _sender(journal: Journal, contents: Contents, run: Run) -> Sender:
    delivery = Delivery(
        run.info.run_id,
        journal.folder.absolute(),
        keep_name=contents.header.offline and not _may_rename(run),
        points_only=not _is_its(run, contents),
    )
    return Sender(journal, delivery, again=True)


def _may_rename(run: Run) -> bool:
    """Whether nobody has given the run a name: it was made by `sync`, or named at random by `mlflow run`."""
    return _OFFLINE_ID in run.data.tags or bool(RANDOM_NAME.fullmatch(run.info.run_name or ""))


def _is_its(run: Run, contents: Contents) -> bool:
    """Whether no other process has taken up the run since this journal was written."""
    place = JournalPlace.from_tag(run.data.tags.get(JOURNAL_TAG, ""))
    return place is not None and place.journal_id == contents.header.journal_id


def _bound_run(journal: Journal, contents: Contents, experiment_id: str) -> tuple[Run, bool]:
    """The run at the server, and whether it was made or taken up just now."""
    client = mlflow.MlflowClient()
    if contents.run_id:
        return _known_run(client, contents), False
    run = _given_run(client, contents) or _made_before(client, contents, experiment_id)
    run = run or _make(client, contents, experiment_id)
    place = JournalPlace(journal_id=contents.header.journal_id, host="", path=journal.path.absolute())
    client.log_batch(run.info.run_id, tags=[RunTag(JOURNAL_TAG, place.to_tag())])
    journal.note_bound(run.info.run_id)
    contents.bound = run.info.run_id
    # By its ID at the server the run's folder is found too, so that `resume` can go on there.
    link = journal.folder.absolute().with_name(run.info.run_id)
    if not link.exists():
        link.symlink_to(journal.folder.name)
    return client.get_run(run.info.run_id), True


def _known_run(client: mlflow.MlflowClient, contents: Contents) -> Run:
    run = _find(client, contents.run_id)
    if run is None:
        its_server = contents.header.server or "the one that it was sent to before"
        raise TrackingError(
            "the tracking server does not have the run of the journal",
            where=mlflow.get_tracking_uri(),
            got=contents.run_id,
            remedy=f"set MLFLOW_TRACKING_URI to the server that has it: {its_server}",
        )
    if run.info.lifecycle_stage == "deleted":
        raise TrackingError(
            "the run of the journal was deleted",
            where=mlflow.get_tracking_uri(),
            got=contents.run_id,
            remedy=f"restore it with `mlflow runs restore --run-id {contents.run_id}`, or delete the journal",
        )
    return run


def _given_run(client: mlflow.MlflowClient, contents: Contents) -> Run | None:
    """The run that `mlflow run` has made for an offline one, if it is on this server."""
    run = _find(client, contents.header.run_id)
    return run if run and run.info.lifecycle_stage == "active" else None


def _find(client: mlflow.MlflowClient, run_id: str) -> Run | None:
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _experiment(client: mlflow.MlflowClient, contents: Contents, experiment_id: str) -> str:
    name = contents.header.experiment
    if not name:
        return experiment_id
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _made_before(client: mlflow.MlflowClient, contents: Contents, experiment_id: str) -> Run | None:
    """The run that a `sync` before this one has made, which was broken off before it had noted that."""
    found = client.search_runs(
        [_experiment(client, contents, experiment_id)],
        filter_string=f"tags.`{_OFFLINE_ID}` = '{contents.header.run_id}'",
    )
    return found[0] if found else None


def _make(client: mlflow.MlflowClient, contents: Contents, experiment_id: str) -> Run:
    header = contents.header
    return client.create_run(
        _experiment(client, contents, experiment_id),
        start_time=header.started,
        tags={**header.tags, _OFFLINE_ID: header.run_id},
    )


def _send_all(sender: Sender, contents: Contents) -> None:
    pending: Iterator[tuple[int, bytes]] = contents.pending()
    while lines := list(islice(pending, _LINES_AT_ONCE)):
        sender.add(lines)
        failures = 0
        while sender:
            try:
                sender.send_some()
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
