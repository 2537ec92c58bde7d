"""Why the tracking server, or what was taken for one, refused, and what helps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import read_mlflow_creds

from ppi_train.errors import TrackingError

_HOW_TO_LOG_IN = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or write them to ~/.mlflow/credentials"
)
# MLflow keeps only the name of the error from an answer.
_STATUS_OF_CODE = {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}


@dataclass(frozen=True, kw_only=True)
class _Cause:
    """What a text in an error's message stands for; groups of the text may stand in the remedy."""

    mark: str
    what: str
    remedy: str


_CAUSES = (
    _Cause(
        mark="Invalid Host header",
        what="the tracking server does not answer to this host name",
        remedy="use the name that its administrator gives, or have this one added there: "
        "mlflow server --allowed-hosts NAME",
    ),
    _Cause(
        mark=r"The experiment (\d+) must be in the 'active' state",
        what="the experiment was deleted",
        remedy=r"restore it: mlflow experiments restore --experiment-id \1; or name another one by "
        "MLFLOW_EXPERIMENT_NAME",
    ),
    _Cause(
        # The answer itself: MLflow says "does not exist" of an ID that it could not look up as well.
        mark="No Experiment with id=|Invalid experiment ID",
        what="the tracking server has no such experiment",
        remedy="set MLFLOW_EXPERIMENT_ID to the ID of one that it has, or unset it and set "
        "MLFLOW_EXPERIMENT_NAME; or set MLFLOW_TRACKING_URI to the server that has it",
    ),
    _Cause(
        mark="filesystem tracking backend",
        what="the tracking URI is a folder, and MLflow does not keep runs in folders any more",
        remedy="set MLFLOW_TRACKING_URI to a server, http://HOST:PORT, or to sqlite:///mlflow.db; "
        "`mlflow migrate-filestore --source FOLDER --target sqlite:///mlflow.db` brings the runs over",
    ),
    _Cause(
        mark="unsupported URI|not in a valid JSON format|WRONG_VERSION_NUMBER|file is not a database",
        what="the tracking URI is not that of an MLflow tracking server or a SQLite file",
        remedy="set MLFLOW_TRACKING_URI to a server, http://HOST:PORT or https://HOST, or to sqlite:///PATH",
    ),
    _Cause(
        mark="NameResolutionError|Name or service not known",
        what="the host of the tracking server is unknown",
        remedy="correct the host name in MLFLOW_TRACKING_URI",
    ),
    _Cause(
        mark="Failed to download artifacts from path|No such artifact",
        what="the artifact is not where the tracking server looks for it",
        remedy="if the store of artifacts was moved, move it back, or start the server with its new place: "
        "mlflow server --artifacts-destination PLACE",
    ),
)


def refusal_error(action: str, error: Exception) -> TrackingError:
    """The message for an error of MLflow and its transports.

    Args:
        action: What was attempted, as in "could not ...".
        error: What came of it.
    """
    text = _texts_of(error)
    for cause in _CAUSES:
        found = re.search(cause.mark, text)
        if found:
            return TrackingError(
                f"could not {action}: {cause.what}",
                where=mlflow.get_tracking_uri(),
                got=first_line(error),
                remedy=found.expand(cause.remedy),
            )
    refusal = _REFUSALS.get(_refused_with(error) or 0)
    if refusal:
        return refusal(action, error)
    return TrackingError(
        f"could not {action}",
        where=mlflow.get_tracking_uri(),
        got=first_line(error),
        expected="an MLflow tracking server or a SQLite file that can be written",
        remedy="start the server, or set MLFLOW_TRACKING_URI to one that runs",
    )


def _texts_of(error: BaseException | None) -> str:
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


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
