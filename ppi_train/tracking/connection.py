"""Connection to the tracking server, with errors reported within seconds."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import unquote, urlsplit

import mlflow
import requests
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import read_mlflow_creds
from sqlalchemy.exc import SQLAlchemyError

from ppi_train.errors import TrackingError, has_credentials, masked
from ppi_train.tracking.timeouts import probing

_HOW_TO_LOG_IN = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or write them to ~/.mlflow/credentials"
)
# MLflow keeps only the name of the error from an answer.
_STATUS_OF_CODE = {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}
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
    if has_credentials(str(mlflow.get_tracking_uri())):
        # At the end of a run MLflow prints its URL, with the password.
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    with probing(), translated_errors("reach the tracking server"):
        mlflow.MlflowClient().search_experiments(max_results=1)
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
        TrackingError: the server did not answer, or refused; the message says whether it needs another name
            or password, or does not permit this to the user.
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


def _refused_with(error: BaseException | None) -> int | None:
    """401 or 403 if the server refused the user, else None.

    MLflow may have wrapped the answer in another error.
    """
    while error is not None:
        status = _status_of(error)
        if status in _REFUSALS:
            return status
        error = error.__cause__ or error.__context__
    return None


def _status_of(error: BaseException) -> int | None:
    if isinstance(error, MlflowException):
        return _STATUS_OF_CODE.get(error.error_code)
    # The proxy of artifacts answers with a status only.
    return getattr(getattr(error, "response", None), "status_code", None)


def _not_known(action: str, _error: Exception) -> TrackingError:
    user, password = _credentials()
    return TrackingError(
        f"could not {action}: the tracking server does not accept the user name and password"
        if user and password
        else f"could not {action}: the tracking server requires a user name and a password",
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
        remedy=f"ask the server's administrator for it, or log in as another user: {_HOW_TO_LOG_IN}",
    )


_REFUSALS = {401: _not_known, 403: _not_permitted}


def _credentials() -> tuple[str | None, str | None]:
    """The user name and password that MLflow sends.

    Those in the URI take precedence, as in MLflow itself.
    """
    uri = urlsplit(str(mlflow.get_tracking_uri()))
    if uri.password:
        return unquote(uri.username or ""), uri.password
    known = read_mlflow_creds()
    return known.username, known.password


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def without_secrets(uri: str) -> str:
    """A tracking URI without user and password, for display and storage; other secrets are masked."""
    return masked(uri).replace("***@", "")
