"""The run of a released model: logged once on a tracking server, by the digest of the release."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import mlflow
from mlflow.entities import Run

from ppi_train.tracking.connection import connect, translated_errors
from ppi_train.tracking.given_run import MODE_TAG
from ppi_train.tracking.outbox.records import Record
from ppi_train.tracking.outbox.transport import Transport
from ppi_train.tracking.shortcuts import context_tags, default_experiment_id

TAG = "ppi.released"
"""Tag of such a run: what it is of, with its digest."""


def find_released_run(key: str) -> str | None:
    """The ID of the finished run of a release, in any experiment of the server; None if there is none.

    Raises:
        TrackingError: the server does not answer.
    """
    connect()
    with translated_errors("look for the run of the released model"):
        finished = [run for run in _runs_of(key) if run.info.status == "FINISHED"]
    return str(finished[0].info.run_id) if finished else None


def log_released_run(key: str, *, mode: str, name: str, records: Sequence[Record]) -> str:
    """Logs a run as if it had been trained here; returns its ID.

    The run is FINISHED once it is whole. One that a process has left unfinished is completed.

    Args:
        key: The value of its tag `ppi.released`.
        mode: The mode that trained it.
        name: Its name.
        records: Its content, with absolute paths; the last one ends it.

    Raises:
        TrackingError: the server does not answer, or refuses.
    """
    connect()
    client = mlflow.MlflowClient()
    with translated_errors("log the run of the released model"):
        left = _runs_of(key)
        run = left[0] if left else _new_run(client, key, mode=mode, name=name)
        run_id = str(run.info.run_id)
        try:
            transport = Transport(run_id, Path("/"))
            for record in records:
                transport.send([record], again=True)
        except BaseException:
            with suppress(Exception):  # the error itself says more
                client.set_terminated(run_id, "FAILED")
            raise
    return run_id


def _runs_of(key: str) -> list[Run]:
    """The runs of a release, oldest first, whatever their status."""
    client = mlflow.MlflowClient()
    experiments: list[str] = []
    token: str | None = ""
    while token is not None:
        page = client.search_experiments(page_token=token or None)
        experiments += [experiment.experiment_id for experiment in page]
        token = page.token or None
    found = client.search_runs(
        experiments,
        filter_string=f"tags.`{TAG}` = '{key}'",
        order_by=["attributes.start_time ASC"],
        max_results=100,
    )
    return list(found)


def _new_run(client: mlflow.MlflowClient, key: str, *, mode: str, name: str) -> Run:
    tags = context_tags({}) | {MODE_TAG: mode, TAG: key}
    return client.create_run(default_experiment_id(), tags=tags, run_name=name)
