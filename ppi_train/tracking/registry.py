"""The model registry: who holds an alias, moving it so that of concurrent promotions one wins, and back.

MLflow can set an alias but not "set it if it still points there", so that two promotions that were
judged against the same holder could both succeed, the second unseen. What MLflow does once only is
to number the versions of a model. So a promotion queues by making its version: with the version, in
one transaction, come tags that say "pending for this alias, judged against this holder". Of the
pending versions with the same alias and holder the lowest number goes first; the others wait to see
it win, and then withdraw, or go, and then are next. Who has moved the alias is no longer pending.

This rests on MLflow's SQL store (mlflow/store/model_registry/sqlalchemy_store.py, 3.17):
`create_model_version` numbers by the highest number ever given plus one under a primary key, so that
whoever has a number can read all lower ones, and stores the tags with the row; a deleted version
keeps its number; `set_registered_model_alias` refuses a deleted version; `delete_model_version` also
deletes the aliases that point to it. A read replica that lags behind would break the first.

A process may die, or stall and wake up, between any two calls. Who waits for it deletes its pending
version after TAKEOVER_SECONDS, after which it cannot move the alias any more: that is the revocation.
MLflow's own check and write are two statements, so that a call that began just before could pass;
hence nobody begins to move the alias later than LEASE_SECONDS after its turn was sure, and MLflow
lets SQLite wait 20 s at most for its lock.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import mlflow
import requests
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from ppi_train.errors import ConfigError, TrackingError
from ppi_train.tracking.connection import connect, translated_errors

logger = logging.getLogger(__name__)

REIGN = "ppi.reign"
"""Tag of a version: drawn anew each time that it comes to hold the alias."""
CLAIM = "ppi.promotion"
"""Tag of a version: which alias it was made for, against which holder, and when; JSON."""
PENDING = "ppi.pending"
"""Tag of a version that is still in the queue: the alias."""

TAKEOVER_SECONDS = 30.0
LEASE_SECONDS = 10.0
_POLL_SECONDS = 0.25
_VERSIONS_OF_MODEL = "mlflow.modelVersions"  # MLflow's tag of a logged model, which its UI shows
_URI = re.compile(
    r"models:/(?:(?P<model>m-[^/@]+)|(?P<name>[^/@]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d{1,9})))"
)
_REFUSED = set("/:@?%#'\"`\\")  # by MLflow, or by its URIs and search filters
_REFUSALS = (MlflowException, requests.RequestException, SQLAlchemyError)
_LONGEST = 256
_LISTED = 20


class PromotionLostError(TrackingError):
    """The alias has moved since the comparison; nothing was changed."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The version that an alias points to.

    `reign` tells apart the times that the same version held the alias, for instance before a
    promotion and after a rollback; "" if it was set by hand. `model_id` is None if the version was
    not made of a logged model.
    """

    version: str
    run_id: str
    model_id: str | None
    reign: str
    tags: Mapping[str, str]


def previous_alias(alias: str) -> str:
    """The alias of the version that held `alias` before."""
    return f"previous_{alias}"


def holder_of(name: str, alias: str) -> Holder | None:
    """Looks up who holds an alias; None if there is no such model, or the alias points nowhere.

    Raises:
        ConfigError: a name or an alias that the registry cannot have.
        TrackingError: the registry does not answer, or the version belongs to no run.
    """
    _check_names(name, alias)
    connect()
    with translated_errors("look the alias up"):
        holder = _holder(mlflow.MlflowClient(), name, alias)
    if holder and not holder.run_id:
        raise _without_run(f"models:/{name}@{alias}", f"version {holder.version}")
    return holder


def promote_version(
    *,
    name: str,
    alias: str,
    model_id: str,
    run_id: str,
    against: Holder | None,
    tags: Mapping[str, str],
) -> str:
    """Registers a logged model as a new version and moves the alias to it, unless the alias has moved.

    Killed before the alias moved, this leaves a pending version, which the next promotion removes;
    perhaps an empty registered model; and perhaps `previous_<alias>` at the present holder, which
    makes `rollback` refuse until the next promotion. Killed after, the version is still marked as
    pending, which the next promotion mends. The alias never points to anything but a whole version.

    Args:
        name: Of the registered model, made if it is not there.
        alias: Is moved; `previous_<alias>` goes to who held it.
        model_id: Of a logged model.
        run_id: The run that trained it.
        against: The holder that the model was compared with; None if nobody held the alias.
        tags: Of the new version.

    Returns:
        The number of the new version.

    Raises:
        ConfigError: a name or an alias that the registry cannot have.
        PromotionLostError: the alias is no longer held by `against`; the version is gone again.
        TrackingError: no such logged model, or the registry does not answer.
    """
    _check_names(name, alias)
    connect()
    with translated_errors(f"promote to models:/{name}@{alias}"):
        client = mlflow.MlflowClient()
        _logged_model(client, model_id)  # before anything is made
        if against is None:
            _make_registered_model(client, name)
        turn = _Turn(client, name, alias, against, "run promote again: it compares with the new holder")
        with turn.taken(f"models:/{model_id}", run_id=run_id, model_id=model_id, tags=tags) as version:
            if against:
                client.set_registered_model_alias(name, previous_alias(alias), against.version)
            turn.check_lease()
        # No longer withdrawn if it fails: the call may have moved the alias even if its answer was lost.
        turn.move_alias_to(version)
        turn.settle(version)
    return version


def rollback(name: str, alias: str) -> tuple[Holder, Holder]:
    """Gives the alias back to the version that held it before; a second rollback undoes the first.

    A rollback queues with the promotions, by a version of its own that is deleted at the end. Killed
    on the way, it leaves that version, which the next promotion or rollback removes; and, just after
    the alias moved, both aliases at the restored version, so that there is nothing to roll back to
    until the next promotion. Unlike a promotion it sets the alias to a version that nobody revokes:
    stalled for over 20 s right before that one call, it would undo what was promoted meanwhile.

    Returns:
        Who holds the alias now, and who held it before.

    Raises:
        ConfigError: a name or an alias that the registry cannot have.
        PromotionLostError: the alias moved meanwhile.
        TrackingError: nobody holds the alias, no version held it before, or no answer.
    """
    _check_names(name, alias)
    connect()
    with translated_errors(f"roll models:/{name}@{alias} back"):
        client = mlflow.MlflowClient()
        now, before = _both_holders(client, name, alias)
        restored = replace(before, reign=uuid.uuid4().hex)
        turn = _Turn(client, name, alias, now, "look at who holds it now; roll back again if need be")
        with turn.taken(f"models:/{name}/{before.version}"):
            client.set_model_version_tag(name, before.version, REIGN, restored.reign)
            turn.check_lease()
            turn.move_alias_to(before.version)
            client.set_registered_model_alias(name, previous_alias(alias), now.version)
        turn.settle(before.version)
    return replace(restored, tags={**before.tags, REIGN: restored.reign}), now


def resolve_model_uri(uri: str) -> tuple[str, str | None]:
    """Finds the run and the logged model behind `models:/NAME@ALIAS`, `models:/NAME/3` or `models:/m-<id>`.

    Returns:
        The run's ID and the model's; None for a version that was not made of a logged model.

    Raises:
        ConfigError: not such a URI.
        TrackingError: no such model, alias or version, one that belongs to no run, or no answer.
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
            run_id, model_id = _logged_model(client, parts["model"]), parts["model"]
        else:
            found = _version_of(client, parts["name"], parts["alias"], parts["version"])
            run_id, model_id = found.run_id or "", _model_id(found)
    if not run_id:
        raise _without_run(uri, f"version {found.version}" if parts["name"] else "the model")
    return run_id, model_id


class _Turn:
    """A place in the queue for an alias; see the module's docstring.

    Args:
        client: Of the registry.
        name, alias: What is to be moved.
        against: Who must hold the alias until it is moved; None: nobody.
        remedy: What to do if somebody else was first.
    """

    def __init__(
        self, client: mlflow.MlflowClient, name: str, alias: str, against: Holder | None, remedy: str
    ) -> None:
        self._client, self._name, self._alias = client, name, alias
        self._against, self._remedy = against, remedy
        self._key = _key(against)
        # Also tells our versions from others': a request that MLflow repeats makes a second one.
        self._reign = uuid.uuid4().hex
        self._sure_at = 0.0

    @contextmanager
    def taken(
        self,
        source: str,
        *,
        run_id: str | None = None,
        model_id: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Iterator[str]:
        """Queues, waits for the turn and gives the version's number; withdraws if the block fails."""
        claim = {"alias": self._alias, "against": self._key, "claimed_at": int(time.time())}
        own = {CLAIM: json.dumps(claim), PENDING: self._alias, REIGN: self._reign}
        self._sure_at = time.monotonic()
        made = None
        try:
            with self._lost_if_gone():
                made = self._client.create_model_version(
                    self._name,
                    source,
                    run_id,
                    {**(tags or {}), **own},
                    model_id=model_id,
                    await_creation_for=0,
                )
                version = self._wait()
                if self._against and PENDING in self._against.tags:
                    # Killed just after it had won: unmarked, lest it be taken for one that never won.
                    self._client.delete_model_version_tag(self._name, self._against.version, PENDING)
                yield version
        except BaseException:
            with suppress(*_REFUSALS):  # the first error says more; the next promotion cleans up
                self._withdraw()
                if made is not None:
                    # Whoever removed it may have done so before the server had listed it there.
                    _forget_version(self._client, made)
            raise

    def move_alias_to(self, version: str) -> None:
        """Moves the alias; refused by MLflow if the version was revoked."""
        with self._lost_if_gone():
            self._client.set_registered_model_alias(self._name, self._alias, version)

    def settle(self, holder: str) -> None:
        """Ends the queue after the alias has moved; a failure does not undo that, and is only told."""
        try:
            self._client.delete_model_version_tag(self._name, holder, PENDING)
            pending = self._pending()
            # Read after them: one that was judged against a still newer holder is then not taken for lost.
            held = _key(_holder(self._client, self._name, self._alias))
            for one in pending:
                if _claimed_against(one) not in (held, None):
                    self._remove(one)  # it has lost, and its process may be dead
        except _REFUSALS as error:
            where = f"models:/{self._name}@{self._alias}"
            logger.warning("%s has moved, but the queue could not be cleared: %s", where, error)

    def _withdraw(self) -> None:
        """Removes our own versions, unless they hold an alias."""
        for one in self._queue():
            if one.tags.get(REIGN) == self._reign:
                self._remove(one)

    def _wait(self) -> str:
        """Returns our version's number once no lower one is pending, and the holder still is the same."""
        waits_for, until = "", 0.0
        while True:
            asked_at = time.monotonic()
            first = self._first_in_queue()
            # After the queue: who has left it by winning has moved the alias before.
            self._check_holder()
            if first.tags.get(REIGN) == self._reign:
                self.check_lease()
                return str(first.version)
            self._sure_at = asked_at
            if first.version != waits_for:
                waits_for, until = first.version, asked_at + TAKEOVER_SECONDS
            elif asked_at > until:
                logger.warning("version %s of %s waits no more: it is removed", waits_for, self._name)
                self._remove(first)
                continue
            time.sleep(_POLL_SECONDS)

    def _first_in_queue(self) -> ModelVersion:
        queue = self._queue()
        if not any(one.tags.get(REIGN) == self._reign for one in queue):
            raise self._lost()
        return queue[0]

    def _queue(self) -> list[ModelVersion]:
        """The pending versions that were judged against the same holder, in the order of their numbers."""
        return sorted((one for one in self._pending() if _claimed_against(one) == self._key), key=_number)

    def _pending(self) -> list[ModelVersion]:
        wanted = f"name = '{self._name}' AND tags.`{PENDING}` = '{self._alias}'"
        return list(self._client.search_model_versions(wanted, max_results=1000))

    def _check_holder(self) -> None:
        if _key(_holder(self._client, self._name, self._alias)) != self._key:
            raise self._lost()

    def check_lease(self) -> None:
        """Raises TrackingError if those behind us may by now have taken us for dead."""
        if time.monotonic() - self._sure_at > LEASE_SECONDS:
            raise TrackingError(
                "the registry is too slow: the alias was not moved, since others may not wait that long",
                where=f"{mlflow.get_tracking_uri()}, models:/{self._name}@{self._alias}",
                expected=f"a few answers within {LEASE_SECONDS:.0f} s",
                remedy="run it again when the server is less busy",
            )

    def _remove(self, version: ModelVersion) -> None:
        """Deletes a version that is still pending; one that an alias points to only leaves the queue."""
        with _gone_is_fine():
            found = self._client.get_model_version(self._name, version.version)
            if found.aliases:
                self._client.delete_model_version_tag(self._name, found.version, PENDING)
            elif PENDING in found.tags:
                self._client.delete_model_version(self._name, found.version)
                _forget_version(self._client, found)

    @contextmanager
    def _lost_if_gone(self) -> Iterator[None]:
        try:
            yield
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise self._lost() from error

    def _lost(self) -> PromotionLostError:
        holder = _holder(self._client, self._name, self._alias)
        return PromotionLostError(
            "another promotion or rollback was first, and nothing was changed",
            where=f"models:/{self._name}@{self._alias}",
            got=f"now held by {_told(holder)}",
            expected=f"held by {_told(self._against)}, as when this began",
            remedy=self._remedy,
        )


def _key(holder: Holder | None) -> str:
    return f"{holder.version}:{holder.reign}" if holder else "none"


def _told(holder: Holder | None) -> str:
    return f"version {holder.version} of run {holder.run_id}" if holder else "nobody"


def _claimed_against(version: ModelVersion) -> str | None:
    try:
        return str(json.loads(version.tags[CLAIM])["against"])
    except (ValueError, KeyError, TypeError):
        return None  # edited by hand: it is left alone


def _number(version: ModelVersion) -> int:
    return int(version.version)


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def _holder(client: mlflow.MlflowClient, name: str, alias: str) -> Holder | None:
    try:
        found = client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        # The second for an alias that is not there: the names were checked before.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return Holder(
        version=str(found.version),
        run_id=found.run_id or "",
        model_id=_model_id(found),
        reign=found.tags.get(REIGN, ""),
        tags=dict(found.tags),
    )


def _both_holders(client: mlflow.MlflowClient, name: str, alias: str) -> tuple[Holder, Holder]:
    """Who holds the alias, and who held it before."""
    now, before = _holder(client, name, alias), _holder(client, name, previous_alias(alias))
    where = f"models:/{name}@{alias}"
    if now is None:
        raise _unknown(client, name, alias)
    if before is None or before.version == now.version:
        raise TrackingError(
            "there is no version to roll back to",
            where=where,
            got=f"{previous_alias(alias)}: {_told(before)}; {alias}: {_told(now)}",
            expected=f"{previous_alias(alias)} at another version, where a promotion puts it",
            remedy="choose a version in the MLflow UI and set the alias by hand",
        )
    return now, before


def _model_id(version: ModelVersion) -> str | None:
    # The SQL store keeps a version's source but not its model_id.
    found = re.fullmatch(r"models:/(m-[^/@]+)", version.source or "")
    return found[1] if found else version.model_id


def _logged_model(client: mlflow.MlflowClient, model_id: str) -> str:
    """The run of a logged model, "" if it has none."""
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


def _make_registered_model(client: mlflow.MlflowClient, name: str) -> None:
    """Makes a registered model unless it is there.

    It is never deleted again, though an error may leave it empty: MLflow would delete with it the
    versions that somebody else has made meanwhile.
    """
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _forget_version(client: mlflow.MlflowClient, version: ModelVersion) -> None:
    """Takes a deleted version off the page of its logged model, where MLflow's server has put it."""
    model_id = _model_id(version)
    if model_id is None:
        return
    text = client.get_logged_model(model_id).tags.get(_VERSIONS_OF_MODEL)
    if text is None:
        return
    listed = json.loads(text)
    gone = (version.name, str(version.version))
    kept = [one for one in listed if (one["name"], str(one["version"])) != gone]
    if kept != listed:
        client.set_logged_model_tags(model_id, {_VERSIONS_OF_MODEL: json.dumps(kept)})


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
    raise _unknown(client, name, alias)


def _unknown(client: mlflow.MlflowClient, name: str, alias: str | None) -> TrackingError:
    """Says what is not there, the model or its alias or version, and lists what is."""
    try:
        aliases = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        known = [one.name for one in client.search_registered_models(max_results=_LISTED)]
        return TrackingError(
            "there is no such registered model",
            where=mlflow.get_tracking_uri(),
            got=name,
            expected=f"one of {', '.join(known)}" if known else "a model registry that is not empty",
            remedy="promote a run to make it, or set MLFLOW_TRACKING_URI to the server that has it",
        )
    named = [f"{one} (version {number})" for one, number in sorted(aliases.items())]
    newest = client.search_model_versions(
        f"name = '{name}'", max_results=_LISTED, order_by=["version_number DESC"]
    )
    numbers = ", ".join(str(one.version) for one in newest) or "none"
    return TrackingError(
        f"the registered model has no such {'alias' if alias else 'version'}",
        where=f"models:/{name} of {mlflow.get_tracking_uri()}",
        got=alias,
        expected=f"aliases: {', '.join(named) or 'none'}; versions: {numbers}",
        remedy="name one of these, or promote a run",
    )


def _without_run(where: str, what: str) -> TrackingError:
    return TrackingError(
        f"{what} belongs to no run, so that there is no checkpoint to use",
        where=where,
        expected="a version that `promote` has registered",
        remedy="set the alias to such a version, or remove it, in the MLflow UI",
    )


def _check_names(name: str, alias: str) -> None:
    """Refuses what MLflow would refuse half-way, and what its URIs and filters cannot say."""
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
