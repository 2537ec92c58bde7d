"""The queue of concurrent promotions and rollbacks of a registry alias.

MLflow can set an alias, but cannot do so only if it still points to a given version. Two promotions that
were compared with the same holder could therefore both succeed, the second by mistake. What MLflow does
atomically is to number the versions of a model. So a promotion queues by creating its version: in the
same transaction, the version gets tags that say "pending for this alias, compared with this holder". Of
the pending versions with the same alias and holder the lowest number goes first. The others wait until it
wins, and then withdraw, or until it disappears, and then the next one goes. A version that has moved the
alias is no longer pending.

This relies on MLflow's SQL store (mlflow/store/model_registry/sqlalchemy_store.py, 3.17):
`create_model_version` uses the highest number ever given plus one, under a primary key, so that a process
that has a number can read all lower ones, and stores the tags with the row; a deleted version keeps its
number; `set_registered_model_alias` refuses a deleted version; `delete_model_version` also deletes the
aliases that point to it. A read replica that lags behind would break the first of these.

A process may die, or stall and wake up, between any two calls. A process that waits for it deletes its
pending version after TAKEOVER_SECONDS. From then on the first process cannot move the alias any more: its
turn is revoked. MLflow's own check and write are two statements, so that a call that began just before
could pass. Therefore no process begins to move the alias later than LEASE_SECONDS after its turn was
confirmed, and MLflow lets SQLite wait at most 20 s for its lock.

A version says which process made it, and, from just before the call on, that this begins to move the alias.
So one whose process is seen to be dead, on the same machine, is deleted at once unless it says that: no call
of its process can be on the way. All others get the whole time.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import mlflow
import requests
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from ppi_train.errors import TrackingError
from ppi_train.tracking.registry.processes import is_dead, this_process
from ppi_train.tracking.registry.versions import (
    TENURE,
    CurrentVersion,
    describe,
    look_up_current_version,
    model_id_of,
)

logger = logging.getLogger(__name__)

CLAIM = "ppi.promotion"
"""Tag of a version, JSON: its alias, the holder it was compared with, the time, the process, and `moves`
once that begins to move the alias."""
PENDING = "ppi.pending"
"""Tag of a version that is still in the queue: the alias."""

TAKEOVER_SECONDS = 30.0
LEASE_SECONDS = 10.0
_POLL_SECONDS = 0.25
_VERSIONS_OF_MODEL = "mlflow.modelVersions"  # MLflow's tag of a logged model, which its UI shows
_REFUSALS = (MlflowException, requests.RequestException, SQLAlchemyError)


class PromotionLostError(TrackingError):
    """The alias has moved since the comparison, and nothing was changed."""


class AliasLock:
    """The right to move an alias, for one process at a time; a context manager.

    Entering it registers `source` as a new version, and waits until no other process is ahead. Then the block
    may call `move_alias_to`, once. A block that fails leaves no version behind; the alias is where it was, or
    where the block has moved it.

    Args:
        client: The client of the registry.
        name, alias: The registered model, and its alias that is to be moved.
        source: Where the files of the new version are.
        against: The version that must have the alias until it is moved; None: no version.
        remedy: What the user can do if another process was first.
        run_id, model_id, tags, description: Those of the new version.

    Attributes:
        version: The number of the new version.

    Raises:
        PromotionLostError: the alias has moved.
        TrackingError: the registry answers too slowly to be sure of one's turn.
    """

    def __init__(
        self,
        client: mlflow.MlflowClient,
        name: str,
        alias: str,
        *,
        source: str,
        against: CurrentVersion | None,
        remedy: str,
        run_id: str | None = None,
        model_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> None:
        self._queue = _Queue(client, name, alias, against, remedy)
        self._new_version: dict[str, Any] = {
            "source": source,
            "run_id": run_id,
            "model_id": model_id,
            "tags": tags or {},
            "description": description,
        }
        self.version = self._moved_to = ""

    def __enter__(self) -> Self:
        self.version = self._queue.wait_with(**self._new_version)
        return self

    def move_alias_to(self, version: str) -> None:
        """Moves the alias, to the new version or another one."""
        self._queue.announce_move(self.version)
        self._queue.check_lease()
        self._moved_to = version
        self._queue.move_alias_to(version)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._queue.settle(self._moved_to)
        elif self._moved_to != self.version:
            # Once the alias was to move to it, it may have done so even if the answer was lost.
            self._queue.withdraw()


class _Queue:
    """This process's place among those that want to move an alias."""

    def __init__(
        self, client: mlflow.MlflowClient, name: str, alias: str, against: CurrentVersion | None, remedy: str
    ) -> None:
        self._client, self._name, self._alias = client, name, alias
        self._against, self._remedy = against, remedy
        self._key = _key(against)
        # Also identifies our versions: a request that MLflow repeats creates a second one.
        self._tenure_id = uuid.uuid4().hex
        self._claim: dict[str, object] = {}
        self._made: ModelVersion | None = None
        self._sure_at = 0.0

    def wait_with(
        self,
        *,
        source: str,
        run_id: str | None,
        model_id: str | None,
        tags: Mapping[str, str],
        description: str,
    ) -> str:
        """Creates a version, waits for its turn and returns its number."""
        self._claim = {
            "alias": self._alias,
            "against": self._key,
            "claimed_at": int(time.time()),
            "process": this_process(),
        }
        own = {CLAIM: json.dumps(self._claim), PENDING: self._alias, TENURE: self._tenure_id}
        self._sure_at = time.monotonic()
        try:
            with self._lost_if_gone():
                self._made = self._client.create_model_version(
                    self._name,
                    source,
                    run_id,
                    {**tags, **own},
                    description=description or None,
                    model_id=model_id,
                    await_creation_for=0,
                )
                version = self._wait()
                if self._against and PENDING in self._against.tags:
                    # It was killed just after it won: without this it would look as if it never won.
                    self._client.delete_model_version_tag(self._name, self._against.version, PENDING)
                return version
        except BaseException:
            self.withdraw()
            raise

    def announce_move(self, version: str) -> None:
        """Notes at our version that its process begins to move the alias."""
        with self._lost_if_gone():
            claim = json.dumps({**self._claim, "moves": True})
            self._client.set_model_version_tag(self._name, version, CLAIM, claim)

    def move_alias_to(self, version: str) -> None:
        """Moves the alias; MLflow refuses this if the version was revoked."""
        with self._lost_if_gone():
            self._client.set_registered_model_alias(self._name, self._alias, version)

    def settle(self, holder: str) -> None:
        """Clears the queue after the alias has moved.

        A failure does not undo the move, and is only logged.
        """
        try:
            self._client.delete_model_version_tag(self._name, holder, PENDING)
            pending = self._pending()
            # Read after the queue, so that a version compared with a still newer holder is not removed.
            current = _key(look_up_current_version(self._client, self._name, self._alias))
            for version in pending:
                if _claimed_against(version) not in (current, None):
                    self._remove(version)  # it has lost, and its process may be dead
        except _REFUSALS as error:
            where = f"models:/{self._name}@{self._alias}"
            logger.warning("%s has moved, but the queue could not be cleared: %s", where, error)

    def withdraw(self) -> None:
        """Removes our own versions, unless they have an alias.

        A failure is not reported: the error before it says more, and the next promotion cleans up.
        """
        with suppress(*_REFUSALS):
            for version in self._rivals():
                if version.tags.get(TENURE) == self._tenure_id:
                    self._remove(version)
            if self._made is not None:
                # Another process may have removed it before the server had listed it there.
                _forget_version(self._client, self._made)

    def _wait(self) -> str:
        """Waits until no lower version is pending; returns our version's number.

        Raises PromotionLostError if the alias moves meanwhile.
        """
        waits_for, until = "", 0.0
        while True:
            asked_at = time.monotonic()
            first = self._first_in_queue()
            # After the queue: a version that left it by winning has moved the alias before.
            self._check_holder()
            if first.tags.get(TENURE) == self._tenure_id:
                self.check_lease()
                return str(first.version)
            self._sure_at = asked_at
            if self._remove_if_dead(first):
                continue
            if first.version != waits_for:
                waits_for, until = first.version, asked_at + TAKEOVER_SECONDS
            elif asked_at > until:
                logger.warning(
                    "version %s of %s has been pending for too long: it is removed", waits_for, self._name
                )
                self._remove(first)
                continue
            time.sleep(_POLL_SECONDS)

    def _first_in_queue(self) -> ModelVersion:
        queue = self._rivals()
        if not any(version.tags.get(TENURE) == self._tenure_id for version in queue):
            raise self._lost()
        return queue[0]

    def _rivals(self) -> list[ModelVersion]:
        """The pending versions that were compared with the same holder, by number."""
        same_holder = (version for version in self._pending() if _claimed_against(version) == self._key)
        return sorted(same_holder, key=_number)

    def _pending(self) -> list[ModelVersion]:
        condition = f"name = '{self._name}' AND tags.`{PENDING}` = '{self._alias}'"
        return list(self._client.search_model_versions(condition, max_results=1000))

    def _check_holder(self) -> None:
        if _key(look_up_current_version(self._client, self._name, self._alias)) != self._key:
            raise self._lost()

    def check_lease(self) -> None:
        """Raises TrackingError if processes behind us may have revoked our turn."""
        if time.monotonic() - self._sure_at > LEASE_SECONDS:
            raise TrackingError(
                "the registry is too slow: the alias was not moved, since others may have stopped waiting",
                where=f"{mlflow.get_tracking_uri()}, models:/{self._name}@{self._alias}",
                expected=f"a few answers within {LEASE_SECONDS:.0f} s",
                remedy="run it again when the server is less busy",
            )

    def _remove_if_dead(self, version: ModelVersion) -> bool:
        """Removes a version whose process is dead and has not begun to move the alias."""
        if not is_dead(str(_claim_of(version).get("process"))):
            return False
        with _gone_is_fine():
            # Asked only now: what the process has noted before it died is there.
            left = self._client.get_model_version(self._name, version.version)
            if _claim_of(left).get("moves"):
                return False
            logger.warning("the process of version %s of %s is dead: it is removed", left.version, self._name)
            self._remove(left)
        return True

    def _remove(self, version: ModelVersion) -> None:
        """Deletes a pending version; one with an alias only leaves the queue."""
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
        holder = look_up_current_version(self._client, self._name, self._alias)
        return PromotionLostError(
            "another promotion or rollback was first, and nothing was changed",
            where=f"models:/{self._name}@{self._alias}",
            got=f"now held by {describe(holder)}",
            expected=f"held by {describe(self._against)}, as when this began",
            remedy=self._remedy,
        )


def _key(holder: CurrentVersion | None) -> str:
    return f"{holder.version}:{holder.tenure_id}" if holder else "none"


def _claimed_against(version: ModelVersion) -> str | None:
    against = _claim_of(version).get("against")
    return None if against is None else str(against)


def _claim_of(version: ModelVersion) -> dict[str, object]:
    try:
        claim = json.loads(version.tags[CLAIM])
    except (ValueError, KeyError, RecursionError):
        claim = None
    return claim if isinstance(claim, dict) else {}  # edited by hand: it is left as it is


def _number(version: ModelVersion) -> int:
    return int(version.version)


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def _forget_version(client: mlflow.MlflowClient, version: ModelVersion) -> None:
    """Removes a deleted version from the tag of its logged model.

    MLflow's server has added it there, and shows it on the page of the logged model.
    """
    model_id = model_id_of(version)
    if model_id is None:
        return
    text = client.get_logged_model(model_id).tags.get(_VERSIONS_OF_MODEL)
    if text is None:
        return
    listed = json.loads(text)
    gone = (version.name, str(version.version))
    kept = [entry for entry in listed if (entry["name"], str(entry["version"])) != gone]
    if kept != listed:
        client.set_logged_model_tags(model_id, {_VERSIONS_OF_MODEL: json.dumps(kept)})
