"""Versions, aliases and their runs in the model registry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from ppi_train.errors import ConfigError, TrackingError
from ppi_train.tracking.connection import connect, translated_errors
from ppi_train.tracking.runs import UnknownRunError, get_run

TENURE = "ppi.reign"
"""Tag of a version: a new random value each time that it gets the alias."""
_URI = re.compile(
    r"models:/(?:(?P<model>m-[^/@]+)|(?P<name>[^/@]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d{1,9})))"
)
_REFUSED = set("/:@?%#'\"`\\")  # not allowed by MLflow, its URIs or its search filters
_LONGEST = 256
_IS_PROMPT = "mlflow.prompt.is_prompt"  # a prompt is a registered model with this tag
_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class CurrentVersion:
    """The version that an alias points to.

    `tenure_id` distinguishes the periods in which the same version had the alias, for instance before a
    promotion and after a rollback; "" if the alias was set by hand. `model_id` is None if the version was
    not made from a logged model.
    """

    version: str
    run_id: str
    model_id: str | None
    tenure_id: str
    tags: Mapping[str, str]


def previous_alias(alias: str) -> str:
    """The alias of the version that had `alias` before."""
    return f"previous_{alias}"


def resolve_model_uri(uri: str) -> tuple[str, str | None]:
    """Finds the run and the logged model of a model URI.

    The URI is `models:/NAME@ALIAS`, `models:/NAME/3` or `models:/m-<id>`.

    Returns:
        The ID of the run, and of the model; None for a version that was not made from a logged model.

    Raises:
        ConfigError: not such a URI.
        TrackingError: no such model, alias or version, one that belongs to no run, or to one that was
            deleted; or no answer.
    """
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise ConfigError(
            "this is not the URI of a registered model",
            got=uri,
            expected="models:/NAME@ALIAS, models:/NAME/VERSION or models:/m-<ID of a logged model>",
            remedy="copy the name and the alias from the model registry in the MLflow UI",
        )
    connect()
    with translated_errors(f"look up {uri}"):
        client = mlflow.MlflowClient()
        if parts["model"]:
            run_id, model_id = run_of_logged_model(client, parts["model"]), parts["model"]
        else:
            found = _version_of(client, parts["name"], parts["alias"], parts["version"])
            run_id, model_id = found.run_id or "", model_id_of(found)
    if not run_id:
        raise without_run(uri, f"version {found.version}" if parts["name"] else "the model")
    try:
        get_run(run_id)
    except UnknownRunError as error:
        raise error.at(f"{uri} at {mlflow.get_tracking_uri()}") from None
    return run_id, model_id


def refuse_prompt(client: mlflow.MlflowClient, name: str) -> None:
    """Refuses the name of a prompt, which MLflow keeps among the registered models.

    A version of ours there would be taken for one of the prompt's texts.
    """
    if client.search_registered_models(filter_string=f"name = '{name}' AND tags.`{_IS_PROMPT}` = 'true'"):
        raise TrackingError(
            "the registered model is a prompt of MLflow's, which cannot hold a model",
            where=f"models:/{name} of {mlflow.get_tracking_uri()}",
            remedy="give registered_model a name that no prompt has",
        )


def describe(holder: CurrentVersion | None) -> str:
    return f"version {holder.version} of run {holder.run_id}" if holder else "nobody"


def look_up_current_version(client: mlflow.MlflowClient, name: str, alias: str) -> CurrentVersion | None:
    try:
        found = client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        # MLflow gives the second for a missing alias: the names were checked before.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        # With users and permissions, MLflow denies access to a model that does not exist.
        if error.error_code == "PERMISSION_DENIED" and not _is_listed(client, name):
            return None
        raise
    return CurrentVersion(
        version=str(found.version),
        run_id=found.run_id or "",
        model_id=model_id_of(found),
        tenure_id=found.tags.get(TENURE, ""),
        tags=dict(found.tags),
    )


def _is_listed(client: mlflow.MlflowClient, name: str) -> bool:
    return bool(client.search_registered_models(filter_string=f"name = '{name}'"))


def model_id_of(version: ModelVersion) -> str | None:
    # The SQL store keeps a version's source but not its model_id.
    found = re.fullmatch(r"models:/(m-[^/@]+)", version.source or "")
    return found[1] if found else version.model_id


def run_of_logged_model(client: mlflow.MlflowClient, model_id: str) -> str:
    """The run ID of a logged model; "" without a run."""
    try:
        return client.get_logged_model(model_id).source_run_id or ""
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    raise TrackingError(
        "there is no such logged model",
        where=mlflow.get_tracking_uri(),
        got=model_id,
        remedy="copy the ID from the run's page in the MLflow UI, or give models:/NAME@ALIAS",
    )


def _version_of(
    client: mlflow.MlflowClient, name: str, alias: str | None, version: str | None
) -> ModelVersion:
    try:
        if alias:
            return client.get_model_version_by_alias(name, alias)
        return client.get_model_version(name, str(version))
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
    refuse_prompt(client, name)
    raise unknown_version(client, name, alias)


def unknown_version(client: mlflow.MlflowClient, name: str, alias: str | None) -> TrackingError:
    """The error for a missing model, alias or version; lists existing ones."""
    try:
        aliases = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        known = [model.name for model in client.search_registered_models(max_results=_LISTED)]
        return TrackingError(
            "there is no such registered model",
            where=mlflow.get_tracking_uri(),
            got=name,
            expected=f"one of {', '.join(known)}" if known else "a model registry that is not empty",
            remedy="promote a run to make it, or set MLFLOW_TRACKING_URI to the server that has it",
        )
    named = [f"{known_alias} (version {number})" for known_alias, number in sorted(aliases.items())]
    newest = client.search_model_versions(
        f"name = '{name}'", max_results=_LISTED, order_by=["version_number DESC"]
    )
    numbers = ", ".join(str(version.version) for version in newest) or "none"
    return TrackingError(
        f"the registered model has no such {'alias' if alias else 'version'}",
        where=f"models:/{name} of {mlflow.get_tracking_uri()}",
        got=alias,
        expected=f"aliases: {', '.join(named) or 'none'}; versions: {numbers}",
        remedy="name one of these, or promote a run",
    )


def without_run(where: str, what: str) -> TrackingError:
    return TrackingError(
        f"{what} belongs to no run, so there is no checkpoint to use",
        where=where,
        expected="a version that `promote` has registered",
        remedy="set the alias to such a version, or remove it, in the MLflow UI",
    )


def check_names(name: str, alias: str) -> None:
    """Refuses names that MLflow, its URIs or its filters do not support.

    MLflow itself would refuse some of them only half-way through a promotion.
    """
    if not name.strip() or name in (".", "..") or len(name) > _LONGEST or not _plain(name):
        raise ConfigError(
            "this cannot be the name of a registered model",
            where="registered_model",
            got=repr(name),
            expected=f"1 to {_LONGEST} characters, none of them {' '.join(sorted(_REFUSED))}",
            remedy="choose letters, digits, `-` and `_`, such as ppi-human",
        )
    reserved = re.fullmatch(r"latest|v\d+|previous_.*", alias, re.IGNORECASE)
    if reserved or not re.fullmatch(r"[\w-]{1,200}", alias):
        raise ConfigError(
            "this cannot be an alias",
            where="alias",
            got=repr(alias),
            expected="letters, digits, `-` and `_`; MLflow keeps `latest` and `v<number>` for itself, "
            "and `previous_<alias>` is where a promotion puts the former holder",
            remedy="choose a word such as champion",
        )


def _plain(name: str) -> bool:
    return name.isprintable() and not _REFUSED & set(name)
