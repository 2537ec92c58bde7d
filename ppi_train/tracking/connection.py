"""Reaching the tracking server: where it is, and saying within seconds that it is not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
import requests
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from ppi_train.errors import TrackingError

# MLflow's own defaults (7 retries, 120 s each) keep a dead server secret for minutes.
_PROBE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
}
_STORE_CLIENTS = ("boto3", "botocore")
_WORK = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}


def connect() -> str:
    """Chooses the tracking URI (MLFLOW_TRACKING_URI, else SQLite in this folder) and proves it answers.

    Raises:
        TrackingError: it does not answer within 10 s.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri("sqlite:///mlflow.db")
    # MLflow draws its own bars over our progress, also where the output is no terminal.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    chosen = {name: os.environ.get(name) for name in _WORK}
    os.environ.update(_PROBE)
    try:
        with translated_errors("reach the tracking server"):
            mlflow.MlflowClient().search_experiments(max_results=1)
    finally:
        for name, value in chosen.items():
            os.environ[name] = _WORK[name] if value is None else value
    return str(mlflow.get_tracking_uri())


@contextmanager
def translated_errors(action: str) -> Iterator[None]:
    """Turns what MLflow and its transports raise into one message for the user.

    Raises:
        TrackingError: the server did not answer, or refused.
    """
    try:
        yield
    except Exception as error:
        if not is_the_servers(error):
            raise
        raise TrackingError(
            f"could not {action}",
            where=mlflow.get_tracking_uri(),
            got=first_line(error),
            expected="an MLflow tracking server or a SQLite file that can be written",
            remedy="start the server, or set MLFLOW_TRACKING_URI to one that runs",
        ) from error


def is_the_servers(error: Exception) -> bool:
    """Whether it came from the server, its database or its artifact store, and not from a fault of ours."""
    if isinstance(error, ImportError):
        return error.name in _STORE_CLIENTS  # MLflow needs one for s3:// artifacts: pip install boto3
    of_mlflow = (MlflowException, requests.RequestException, SQLAlchemyError)
    return isinstance(error, of_mlflow) or type(error).__module__.partition(".")[0] in _STORE_CLIENTS


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def without_secrets(uri: str) -> str:
    """A tracking URI without user and password, as it may be shown and kept."""
    scheme, mark, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else uri
