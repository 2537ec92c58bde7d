"""Reaching the tracking server: where it is, and saying within seconds that it is not there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

import mlflow
import requests
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import read_mlflow_creds
from sqlalchemy.exc import SQLAlchemyError

from ppi_train.errors import TrackingError, has_credentials

# MLflow's own defaults (7 retries, 120 s each) keep a dead server secret for minutes.
_PROBE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
}
_HOW_TO_LOG_IN = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or write them to ~/.mlflow/credentials"
)
# MLflow keeps of an answer the name of the error alone.
_STATUS_OF_CODE = {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}
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
    if has_credentials(str(mlflow.get_tracking_uri())):
        # At a run's end it prints where to view it, with the password.
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
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
def translated_errors(action: str, *, of_artifacts: bool = False) -> Iterator[None]:
    """Turns what MLflow and its transports raise into one message for the user.

    Args:
        action: What was to be done, as in "could not ...".
        of_artifacts: Whether artifacts are read. Where they lie the server says; MLflow has a client for
            each kind of place, with errors of its own, of which some look like a fault of ours.

    Raises:
        TrackingError: the server did not answer, or refused; where it wants another name or password, or
            does not let this user do it, the message says that.
    """
    try:
        yield
    except Exception as error:
        if not is_the_servers(error) and (not of_artifacts or _is_of_the_disk(error)):
            raise
        refusal = _REFUSALS.get(_refused_with(error) or 0)
        if refusal:
            raise refusal(action, error) from error
        raise TrackingError(
            f"could not {action}",
            where=mlflow.get_tracking_uri(),
            got=first_line(error),
            expected="an MLflow tracking server or a SQLite file that can be written",
            remedy="start the server, or set MLFLOW_TRACKING_URI to one that runs",
        ) from error


def _is_of_the_disk(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def is_the_servers(error: Exception) -> bool:
    """Whether it came from the server, its database or its artifact store, and not from a fault of ours."""
    if isinstance(error, ImportError):
        return error.name in _STORE_CLIENTS  # MLflow needs one for s3:// artifacts: pip install boto3
    of_mlflow = (MlflowException, requests.RequestException, SQLAlchemyError)
    return isinstance(error, of_mlflow) or type(error).__module__.partition(".")[0] in _STORE_CLIENTS


def is_conflict(error: Exception) -> bool:
    """Whether another run made the same thing at the same moment, such as a data set that both read."""
    return "IntegrityError" in str(error)


def _refused_with(error: BaseException | None) -> int | None:
    """401 or 403 if the server asked who asks, also where MLflow has made another error of it."""
    while error is not None:
        status = _status_of(error)
        if status in _REFUSALS:
            return status
        error = error.__cause__ or error.__context__
    return None


def _status_of(error: BaseException) -> int | None:
    if isinstance(error, MlflowException):
        return _STATUS_OF_CODE.get(error.error_code)
    # The proxy of artifacts answers by status alone.
    return getattr(getattr(error, "response", None), "status_code", None)


def _not_known(action: str, _error: Exception) -> TrackingError:
    user, password = _credentials()
    return TrackingError(
        f"could not {action}: the tracking server does not accept the user name and password"
        if user and password
        else f"could not {action}: the tracking server wants a user name and a password",
        where=mlflow.get_tracking_uri(),
        got=f"user {user}, HTTP status 401" if user else "HTTP status 401",
        remedy=f"{_HOW_TO_LOG_IN}; the server's administrator can give you a new password",
    )


def _not_permitted(action: str, error: Exception) -> TrackingError:
    user, _ = _credentials()
    return TrackingError(
        f"permission denied: the tracking server does not let {f'user {user}' if user else 'you'} do this",
        where=mlflow.get_tracking_uri(),
        got=f"could not {action}: {first_line(error)}",
        expected="the permission EDIT on the experiment, and to promote also on the registered model",
        remedy=f"ask the server's administrator for it, or log in as somebody else: {_HOW_TO_LOG_IN}",
    )


_REFUSALS = {401: _not_known, 403: _not_permitted}


def _credentials() -> tuple[str | None, str | None]:
    """The user name and password that MLflow sends; those in the URI win, as in what sends them."""
    uri = urlsplit(str(mlflow.get_tracking_uri()))
    if uri.password:
        return unquote(uri.username or ""), uri.password
    known = read_mlflow_creds()
    return known.username, known.password


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def without_secrets(uri: str) -> str:
    """A tracking URI without user and password, as it may be shown and kept."""
    scheme, mark, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else uri
