"""Connection to the tracking server, with errors reported within seconds."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import mlflow
import requests
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from ppi_train.errors import TrackingError, masked
from ppi_train.tracking.refusals import refusal_error
from ppi_train.tracking.timeouts import probing

_MARKS_OF_CONFLICTS = ("IntegrityError", "UniqueViolation", "/gkpj")
_STORE_CLIENTS = ("boto3", "botocore")


def connect() -> str:
    """Chooses the tracking URI and checks that the server answers.

    The URI is MLFLOW_TRACKING_URI, or else SQLite in the current folder.

    Raises:
        TrackingError: it does not answer within 10 s.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri("sqlite:///mlflow.db")
    # MLflow draws its own progress bars over ours, even if the output is not a terminal.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # At the end of a run MLflow prints its URL, with the password if there is one. Ours says more, and opens
    # another page.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    with probing(), translated_errors("reach the tracking server"):
        mlflow.MlflowClient().search_experiments(max_results=1)
    return str(mlflow.get_tracking_uri())


def server_address() -> str:
    """The tracking URI, with its secrets: for processes of this run, not for display."""
    return str(mlflow.get_tracking_uri())


def experiment_named(client: mlflow.MlflowClient, name: str) -> str:
    """The ID of an experiment, which is made if there is none of that name.

    Raises:
        TrackingError: it cannot be made, or was deleted.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        with suppress(MlflowException):  # made by another process at this moment
            return str(client.create_experiment(name))
        found = client.get_experiment_by_name(name)
    if found is None:
        raise TrackingError("the experiment cannot be made", where=mlflow.get_tracking_uri(), got=name)
    if found.lifecycle_stage == "deleted":
        raise TrackingError(
            "the experiment was deleted",
            where=mlflow.get_tracking_uri(),
            got=name,
            remedy=f"restore it with `mlflow experiments restore --experiment-id {found.experiment_id}`, or "
            "name another",
        )
    return str(found.experiment_id)


@contextmanager
def translated_errors(action: str, *, of_artifacts: bool = False) -> Iterator[None]:
    """Turns errors of MLflow and its transports into a TrackingError.

    Args:
        action: What was attempted, as in "could not ...".
        of_artifacts: Whether artifacts are read. The server determines where they are stored; MLflow has a
            client for each kind of store, with its own errors, some of which look like a bug of ours.

    Raises:
        TrackingError: the server did not answer, or refused; the message says why, and what helps.
    """
    try:
        yield
    except Exception as error:
        if not is_the_servers(error) and (not of_artifacts or _is_of_the_disk(error)):
            raise
        raise refusal_error(action, error) from error


def _is_of_the_disk(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def is_the_servers(error: Exception) -> bool:
    """Whether the server, its database or its artifact store caused an error."""
    if isinstance(error, ImportError):
        return error.name in _STORE_CLIENTS  # MLflow needs it for s3:// artifacts: pip install boto3
    of_mlflow = (MlflowException, requests.RequestException, SQLAlchemyError)
    return isinstance(error, of_mlflow) or type(error).__module__.partition(".")[0] in _STORE_CLIENTS


def is_conflict(error: Exception) -> bool:
    """Whether another run created the same thing at the same moment.

    For instance a data set that both read. Drivers give the error names of their own (psycopg:
    `UniqueViolation`), of which a server passes on the text; SQLAlchemy adds the code of its own class.
    """
    return any(mark in str(error) for mark in _MARKS_OF_CONFLICTS)


def without_secrets(uri: str) -> str:
    """A tracking URI without user and password, for display and storage; other secrets are masked."""
    return masked(uri).replace("***@", "")
