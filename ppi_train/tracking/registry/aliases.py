"""Promotion and rollback in the model registry."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace

import mlflow
from mlflow.exceptions import MlflowException

from ppi_train.errors import TrackingError
from ppi_train.tracking.connection import connect, translated_errors
from ppi_train.tracking.registry.alias_lock import AliasLock
from ppi_train.tracking.registry.versions import (
    TENURE,
    CurrentVersion,
    check_names,
    describe,
    look_up_current_version,
    previous_alias,
    refuse_prompt,
    run_of_logged_model,
    unknown_version,
    without_run,
)

_DESCRIPTION = (
    "Predicts whether two proteins interact. The present version is `models:/{name}@{alias}`, the one before "
    "it `models:/{name}@previous_{alias}`. The description of a version says why it was promoted, with its "
    "figures, data and lineage."
)


def holder_of(name: str, alias: str) -> CurrentVersion | None:
    """Looks up the version that holds an alias.

    None if there is no such model or no such alias.

    Raises:
        ConfigError: a name or an alias that the registry does not allow.
        TrackingError: the registry does not answer, the version belongs to no run, or the name is a prompt's.
    """
    check_names(name, alias)
    connect()
    with translated_errors("look the alias up"):
        client = mlflow.MlflowClient()
        refuse_prompt(client, name)
        holder = look_up_current_version(client, name, alias)
    if holder and not holder.run_id:
        raise without_run(f"models:/{name}@{alias}", f"version {holder.version}")
    return holder


def promote_version(
    *,
    name: str,
    alias: str,
    model_id: str,
    run_id: str,
    against: CurrentVersion | None,
    tags: Mapping[str, str],
    description: str = "",
) -> str:
    """Registers a logged model as a new version with the alias.

    Fails if the alias has moved since the comparison.

    If killed before the alias moved, this leaves a pending version, which the next promotion removes;
    perhaps an empty registered model; and perhaps `previous_<alias>` at the present holder, which makes
    `rollback` refuse until the next promotion. If killed afterwards, the version is still marked as pending,
    which the next promotion corrects. The alias always points to a complete version.

    Args:
        name: The registered model, created if it does not exist.
        alias: The alias to move; `previous_<alias>` is set to its former holder.
        model_id: The logged model.
        run_id: The run that trained it.
        against: The holder that the model was compared with; None if no version had the alias.
        tags: Tags of the new version.
        description: Its description, in Markdown.

    Returns:
        The number of the new version.

    Raises:
        ConfigError: a name or an alias that the registry does not allow.
        PromotionLostError: `against` no longer has the alias; the new version was deleted again.
        TrackingError: no such logged model, a prompt's name, or the registry does not answer.
    """
    check_names(name, alias)
    connect()
    with translated_errors(f"promote to models:/{name}@{alias}"):
        client = mlflow.MlflowClient()
        # Before anything is created.
        refuse_prompt(client, name)
        run_of_logged_model(client, model_id)
        if against is None:
            _make_registered_model(client, name, alias)
        with AliasLock(
            client,
            name,
            alias,
            source=f"models:/{model_id}",
            against=against,
            remedy="run promote again: it compares with the new holder",
            run_id=run_id,
            model_id=model_id,
            tags=tags,
            description=description,
        ) as lock:
            if against:
                client.set_registered_model_alias(name, previous_alias(alias), against.version)
            lock.move_alias_to(lock.version)
    return lock.version


def rollback(name: str, alias: str) -> tuple[CurrentVersion, CurrentVersion]:
    """Moves the alias back to its previous version.

    A second rollback undoes the first. A rollback queues with the promotions, by a version that is deleted at
    the end. If killed, it leaves that version, which the next promotion or rollback removes; and, just after
    the alias moved, both aliases at the restored version, so that there is nothing to roll back to until the
    next promotion. Unlike a promotion it sets the alias to a version that no process revokes: if it stalled
    for over 20 s right before that call, it would undo what was promoted meanwhile.

    Returns:
        The new holder of the alias, and the former one.

    Raises:
        ConfigError: a name or an alias that the registry does not allow.
        PromotionLostError: the alias moved meanwhile.
        TrackingError: no version has the alias, none had it before, or the registry does not answer.
    """
    check_names(name, alias)
    connect()
    with translated_errors(f"roll models:/{name}@{alias} back"):
        client = mlflow.MlflowClient()
        refuse_prompt(client, name)
        now, before = _both_holders(client, name, alias)
        restored = replace(before, tenure_id=uuid.uuid4().hex)
        with AliasLock(
            client,
            name,
            alias,
            source=f"models:/{name}/{before.version}",
            against=now,
            remedy="look at who holds it now; roll back again if need be",
        ) as lock:
            client.set_model_version_tag(name, before.version, TENURE, restored.tenure_id)
            lock.move_alias_to(before.version)
            client.set_registered_model_alias(name, previous_alias(alias), now.version)
    return replace(restored, tags={**before.tags, TENURE: restored.tenure_id}), now


def _both_holders(
    client: mlflow.MlflowClient, name: str, alias: str
) -> tuple[CurrentVersion, CurrentVersion]:
    """The present and the previous holder of an alias."""
    now, before = (
        look_up_current_version(client, name, alias),
        look_up_current_version(client, name, previous_alias(alias)),
    )
    where = f"models:/{name}@{alias}"
    if now is None:
        raise unknown_version(client, name, alias)
    if before is None or before.version == now.version:
        raise TrackingError(
            "there is no version to roll back to",
            where=where,
            got=f"{previous_alias(alias)}: {describe(before)}; {alias}: {describe(now)}",
            expected=f"{previous_alias(alias)} at another version, where a promotion puts it",
            remedy="choose a version in the MLflow UI and set the alias by hand",
        )
    return now, before


def _make_registered_model(client: mlflow.MlflowClient, name: str, alias: str) -> None:
    """Creates a registered model, with a description, if it does not exist.

    It is never deleted again, though an error may leave it empty: with it MLflow would delete the versions
    that others have created meanwhile.
    """
    try:
        client.create_registered_model(name, description=_DESCRIPTION.format(name=name, alias=alias))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
