"""Tests of the model registry: concurrent promotions and rollback.

Exactly one concurrent promotion wins, the others leave nothing behind, and a rollback stays possible.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from ppi_train.errors import ConfigError, TrackingError
from ppi_train.tracking.registry import alias_lock
from ppi_train.tracking.registry import aliases as registry
from ppi_train.tracking.registry.alias_lock import PromotionLostError
from ppi_train.tracking.registry.aliases import holder_of, promote_version, rollback
from ppi_train.tracking.registry.versions import CurrentVersion, previous_alias, resolve_model_uri
from tests.support import ROOT

ALIAS = "champion"
AT_ONCE = 6


@dataclass
class Lab:
    """A tracking store, the name of a registered model in it, and what a promotion needs."""

    client: mlflow.MlflowClient
    experiment: str
    name: str

    def trained(self) -> dict[str, str]:
        """A run with a logged model that has no files: the registry reads none."""
        run_id = self.client.create_run(self.experiment).info.run_id
        model = self.client.create_logged_model(self.experiment, name="m", source_run_id=run_id)
        self.client.finalize_logged_model(model.model_id, "READY")
        return {"run_id": run_id, "model_id": model.model_id}

    def promote(self, against: CurrentVersion | None, **tags: str) -> str:
        return promote_version(**self.promotion(against, **tags))

    def promotion(self, against: CurrentVersion | None, **tags: str) -> dict[str, Any]:
        return {"name": self.name, "alias": ALIAS, "against": against, "tags": tags, **self.trained()}

    def holder(self) -> CurrentVersion:
        holder = holder_of(self.name, ALIAS)
        assert holder is not None
        return holder

    @property
    def versions(self) -> list[str]:
        found = self.client.search_model_versions(f"name = '{self.name}'", order_by=["version_number ASC"])
        return [str(version.version) for version in found]

    @property
    def pending(self) -> list[str]:
        found = self.client.search_model_versions(f"name = '{self.name}' AND tags.`ppi.pending` = '{ALIAS}'")
        return [str(version.version) for version in found]

    @property
    def aliases(self) -> dict[str, str]:
        found = self.client.get_registered_model(self.name).aliases
        return {alias: str(version) for alias, version in found.items()}

    def versions_on_page_of(self, model_id: str) -> str:
        return str(self.client.get_logged_model(model_id).tags.get("mlflow.modelVersions", "[]"))


@pytest.fixture
def lab(store: mlflow.MlflowClient) -> Lab:
    return Lab(store, "1", "ppi-model")


@pytest.fixture
def server_lab(server: str, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    client = mlflow.MlflowClient(server)
    stamp = time.time_ns()
    return Lab(client, client.create_experiment(f"registry-{stamp}"), f"ppi-{stamp}")


@pytest.fixture(params=["lab", "server_lab"])
def each_lab(request: pytest.FixtureRequest) -> Lab:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Lab)
    return found


@pytest.fixture
def processes(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessPoolExecutor]:
    """Processes of their own at the server; MLflow is imported once, before they are forked."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ppi_train.tracking.registry.aliases"])
    with ProcessPoolExecutor(AT_ONCE, mp_context=context) as pool:
        yield pool


def test_promotions_and_the_way_back(each_lab: Lab) -> None:
    lab = each_lab
    assert holder_of(lab.name, ALIAS) is None
    assert lab.promote(None, colour="red") == "1"
    first = lab.holder()
    assert first.version == "1"
    assert first.tags["colour"] == "red"
    assert lab.aliases == {ALIAS: "1"}

    second_model = lab.promotion(first)
    assert promote_version(**second_model) == "2"
    second = lab.holder()
    assert (second.run_id, second.model_id) == (second_model["run_id"], second_model["model_id"])
    assert lab.aliases == {ALIAS: "2", previous_alias(ALIAS): "1"}

    now, before = rollback(lab.name, ALIAS)
    assert (now, before) == (lab.holder(), second)
    assert now.version == "1"
    assert now.tenure_id != first.tenure_id
    assert lab.aliases == {ALIAS: "1", previous_alias(ALIAS): "2"}

    now, before = rollback(lab.name, ALIAS)
    assert (now.version, before.version) == ("2", "1")
    assert now.tenure_id != second.tenure_id
    assert lab.aliases == {ALIAS: "2", previous_alias(ALIAS): "1"}
    assert lab.versions == ["1", "2"]

    third = lab.promote(lab.holder())
    assert lab.aliases == {ALIAS: third, previous_alias(ALIAS): "2"}
    assert lab.versions == ["1", "2", third]
    assert lab.pending == []


def test_a_promotion_against_a_former_holder_is_lost_and_leaves_nothing(each_lab: Lab) -> None:
    lab = each_lab
    lab.promote(None)
    former = lab.holder()
    lab.promote(former)
    late = lab.promotion(former)
    for against in (former, None):
        with pytest.raises(PromotionLostError, match="another promotion or rollback was first") as caught:
            promote_version(**late | {"against": against})
        assert "now held by version 2 of run" in str(caught.value)
        assert "run promote again" in str(caught.value)
    assert lab.versions == ["1", "2"]
    assert lab.aliases == {ALIAS: "2", previous_alias(ALIAS): "1"}
    assert lab.versions_on_page_of(late["model_id"]) == "[]"


def test_a_promotion_judged_before_a_rollback_is_lost_after_it(lab: Lab) -> None:
    lab.promote(None)
    first_reign = lab.holder()
    lab.promote(first_reign)
    rollback(lab.name, ALIAS)
    assert lab.holder().version == first_reign.version
    with pytest.raises(PromotionLostError):
        lab.promote(first_reign)
    lab.promote(lab.holder())
    assert lab.aliases[previous_alias(ALIAS)] == "1"


def outcomes(waiting: list[Future[Any]]) -> tuple[list[Any], list[BaseException]]:
    """What the calls gave, and what they raised."""
    errors = [future.exception(timeout=60) for future in waiting]
    won = [future.result() for future, error in zip(waiting, errors, strict=True) if error is None]
    return won, [error for error in errors if error is not None]


def test_of_concurrent_promotions_exactly_one_wins(server_lab: Lab, processes: ProcessPoolExecutor) -> None:
    lab, kept = server_lab, []
    for _ in range(3):
        against = holder_of(lab.name, ALIAS)
        promotions = [lab.promotion(against) for _ in range(AT_ONCE)]
        waiting: list[Future[Any]] = [
            processes.submit(promote_version, **promotion) for promotion in promotions
        ]
        won, errors = outcomes(waiting)
        assert len(won) == 1
        assert [type(error) for error in errors] == [PromotionLostError] * (AT_ONCE - 1)
        kept += won
        assert lab.versions == kept
        assert lab.pending == []
        former = {previous_alias(ALIAS): against.version} if against else {}
        assert lab.aliases == {ALIAS: won[0], **former}
        listed = [lab.versions_on_page_of(promotion["model_id"]) for promotion in promotions]
        assert listed.count("[]") == AT_ONCE - 1


def test_a_rollback_and_promotions_at_once(server_lab: Lab, processes: ProcessPoolExecutor) -> None:
    lab = server_lab
    lab.promote(None)
    lab.promote(lab.holder())
    for _ in range(2):
        against = lab.holder()
        waiting: list[Future[Any]] = [processes.submit(rollback, lab.name, ALIAS)]
        waiting += [processes.submit(promote_version, **lab.promotion(against)) for _ in range(2)]
        won, _ = outcomes(waiting)
        assert won
        # A rollback that begins after a promotion has won takes back that promotion, and wins too.
        winners = {outcome if isinstance(outcome, str) else outcome[0].version for outcome in won}
        assert lab.holder().version in winners
        assert sum(isinstance(outcome, str) for outcome in won) <= 1
        assert lab.pending == []
        lab.promote(lab.holder())


class Stall:
    """Holds one thread's call of a method of MLflow's client until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self.reached, self.released = threading.Event(), threading.Event()
        self._real = getattr(mlflow.MlflowClient, method)
        stall = self

        def stalling(client: mlflow.MlflowClient, *args: Any, **named: Any) -> Any:
            if not stall.reached.is_set():
                stall.reached.set()
                assert stall.released.wait(60)
            return stall._real(client, *args, **named)

        monkeypatch.setattr(mlflow.MlflowClient, method, stalling)


def test_a_claim_that_does_nothing_is_taken_over_and_cannot_win_any_more(
    each_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = each_lab
    promotions = [lab.promotion(None) for _ in range(2)]
    stall = Stall(monkeypatch, "set_registered_model_alias")
    with ThreadPoolExecutor(1) as pool:
        stalled = pool.submit(promote_version, **promotions[0])
        assert stall.reached.wait(30)
        assert lab.pending == ["1"]
        monkeypatch.setattr(alias_lock, "TAKEOVER_SECONDS", 1.0)
        started = time.monotonic()
        assert promote_version(**promotions[1]) == "2"
        assert time.monotonic() - started >= 1
        stall.released.set()
        with pytest.raises(PromotionLostError, match="now held by version 2"):
            stalled.result(60)
    assert lab.aliases == {ALIAS: "2"}
    assert lab.versions == ["2"]


def test_who_waits_has_lost_as_soon_as_the_other_has_won(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    promotions = [lab.promotion(None) for _ in range(2)]
    stall = Stall(monkeypatch, "set_registered_model_alias")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(promote_version, **promotions[0])
        assert stall.reached.wait(30)
        second = pool.submit(promote_version, **promotions[1])
        while lab.pending != ["2", "1"]:
            assert not second.done()
            time.sleep(0.02)
        stall.released.set()
        assert first.result(60) == "1"
        with pytest.raises(PromotionLostError):
            second.result(10)
    assert lab.versions == ["1"]


def test_who_waits_goes_on_when_the_other_gives_up(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    promotions = [lab.promotion(None) for _ in range(2)]
    stall = Stall(monkeypatch, "get_model_version_by_alias")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(promote_version, **promotions[0])
        assert stall.reached.wait(30)
        second = pool.submit(promote_version, **promotions[1])
        while lab.pending != ["2", "1"]:
            time.sleep(0.02)
        lab.client.delete_model_version(lab.name, "1")
        assert second.result(10) == "2"
        stall.released.set()
        with pytest.raises(PromotionLostError):
            first.result(10)
    assert lab.versions == ["2"]


class Killed(BaseException):
    """What a process that is killed does not get to see."""


class MortalClient:
    """A client whose process dies at one call: that call and all later ones reach nobody."""

    def __init__(self, client: mlflow.MlflowClient, calls: int) -> None:
        self._client, self._left = client, calls

    def __getattr__(self, method: str) -> Any:
        if self._left == 0:
            raise Killed
        self._left -= 1
        return getattr(self._client, method)


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_killed_between_any_two_calls(lab: Lab, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    monkeypatch.setattr(alias_lock, "TAKEOVER_SECONDS", 0.02)
    monkeypatch.setattr(alias_lock, "_POLL_SECONDS", 0.02)
    lab.promote(None)
    kept, killed = ["1"], True
    for calls in range(40):
        kept.append(lab.promote(lab.holder()))
        assert lab.versions == kept, "what the killed process left is gone"
        assert lab.pending == []
        promotion = lab.promotion(lab.holder())
        with monkeypatch.context() as mortal:
            mortal.setattr(registry, "connect", lambda: None)
            mortal.setattr(mlflow, "MlflowClient", lambda: MortalClient(lab.client, calls))  # noqa: B023
            try:
                promote_version(**promotion) if action == "promote" else rollback(lab.name, ALIAS)
                killed = False
            except Killed:
                pass
        holder = lab.holder()
        assert resolve_model_uri(f"models:/{lab.name}@{previous_alias(ALIAS)}")
        if action == "promote" and holder.run_id == promotion["run_id"]:
            kept.append(holder.version)
        assert holder.version in kept
        if not killed:
            break
    assert not killed


# Dies just before one call of a promotion.
DIE = """
import json, os, signal, sys
import mlflow
from ppi_train.tracking.registry.aliases import promote_version

setattr(mlflow.MlflowClient, sys.argv[1], lambda *_: os.kill(os.getpid(), signal.SIGKILL))
promote_version(**json.loads(sys.argv[2]), against=None)
"""


def die_before(call: str, lab: Lab) -> None:
    promotion = {name: value for name, value in lab.promotion(None).items() if name != "against"}
    died = subprocess.run([sys.executable, "-c", DIE, call, json.dumps(promotion)], cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL


def test_a_claim_whose_process_is_dead_costs_no_time(each_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = each_lab
    monkeypatch.setattr(alias_lock, "TAKEOVER_SECONDS", 1e9)
    die_before("get_model_version_by_alias", lab)
    assert lab.pending == ["1"]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lab.promote, None).result(60) == "2"
    assert (lab.versions, lab.pending, lab.aliases) == (["2"], [], {ALIAS: "2"})


def test_a_dead_process_that_had_begun_to_move_the_alias_gets_its_time(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_before("set_registered_model_alias", lab)
    (left,) = lab.client.search_model_versions(f"name = '{lab.name}'")
    assert json.loads(left.tags[alias_lock.CLAIM])["moves"] is True
    polls: list[float] = []

    def watched(seconds: float) -> None:
        polls.append(seconds)
        assert lab.pending == ["2", "1"], "it is waited for"
        if len(polls) == 5:
            lab.client.delete_model_version(lab.name, "1")

    monkeypatch.setattr(time, "sleep", watched)
    assert lab.promote(None) == "2"
    assert len(polls) == 5


def test_killed_just_after_it_won_a_promotion_is_not_taken_for_a_dead_claim(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(alias_lock._Queue, "settle", lambda *_: None)
        lab.promote(None)
    assert lab.pending == ["1"]
    lab.promote(lab.holder())
    assert lab.pending == []
    # As it was before the first promotion: nobody holds the alias.
    for alias in (ALIAS, previous_alias(ALIAS)):
        lab.client.delete_registered_model_alias(lab.name, alias)
    assert lab.promote(None) == "3"
    assert lab.versions == ["1", "2", "3"]


def test_a_request_that_was_repeated_leaves_one_version(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    create = mlflow.MlflowClient.create_model_version

    def twice(client: mlflow.MlflowClient, *args: Any, **named: Any) -> Any:
        create(client, *args, **named)
        return create(client, *args, **named)

    monkeypatch.setattr(mlflow.MlflowClient, "create_model_version", twice)
    assert lab.promote(None) == "1"
    assert lab.versions == ["1"]
    with pytest.raises(PromotionLostError):
        lab.promote(None)
    assert lab.versions == ["1"]


def test_a_registry_that_answers_too_late_moves_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.promote(None)
    monkeypatch.setattr(alias_lock, "LEASE_SECONDS", -1.0)
    with pytest.raises(TrackingError, match="too slow"):
        lab.promote(lab.holder())
    assert lab.versions == ["1"]
    assert lab.aliases == {ALIAS: "1"}


def test_a_failure_on_the_way_withdraws_the_version(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.promote(None)
    lab.promote(lab.holder())
    holder = lab.holder()

    def refuse(*_: object) -> None:
        raise MlflowException("no disk space")

    for call in (lambda: lab.promote(holder), lambda: rollback(lab.name, ALIAS)):
        with monkeypatch.context() as failing:
            failing.setattr(mlflow.MlflowClient, "set_registered_model_alias", refuse)
            with pytest.raises(TrackingError, match="no disk space"):
                call()
        assert lab.versions == ["1", "2"]
        assert lab.aliases == {ALIAS: "2", previous_alias(ALIAS): "1"}


def test_a_model_that_is_not_there_makes_nothing(lab: Lab) -> None:
    with pytest.raises(TrackingError, match="there is no such logged model") as caught:
        promote_version(**lab.promotion(None) | {"model_id": "m-0"})
    assert "got: m-0" in str(caught.value)
    assert lab.client.search_registered_models() == []


def test_a_registered_model_that_was_deleted_is_not_made_again_by_a_late_promotion(lab: Lab) -> None:
    lab.promote(None)
    holder = lab.holder()
    lab.client.delete_registered_model(lab.name)
    with pytest.raises(PromotionLostError, match="now held by nobody"):
        lab.promote(holder)
    assert lab.client.search_registered_models() == []


def test_a_rollback_needs_a_former_holder(lab: Lab) -> None:
    with pytest.raises(TrackingError, match="there is no such registered model"):
        rollback(lab.name, ALIAS)
    lab.promote(None)
    with pytest.raises(TrackingError, match="there is no version to roll back to"):
        rollback(lab.name, ALIAS)
    with pytest.raises(TrackingError, match="no such alias") as caught:
        rollback(lab.name, "challenger")
    assert "aliases: champion (version 1); versions: 1" in str(caught.value)
    # A promotion that was killed half-way leaves both at the same version.
    lab.client.set_registered_model_alias(lab.name, previous_alias(ALIAS), "1")
    with pytest.raises(TrackingError, match="there is no version to roll back to"):
        rollback(lab.name, ALIAS)
    assert lab.versions == ["1"]


def test_two_aliases_of_a_model_do_not_meet(lab: Lab) -> None:
    lab.promote(None)
    other = lab.promotion(None) | {"alias": "challenger"}
    assert promote_version(**other) == "2"
    assert lab.aliases == {ALIAS: "1", "challenger": "2"}


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "a:b", "a@b", "it's", "a\nb", "a" * 257])
def test_a_bad_name_is_refused(name: str) -> None:
    calls = (
        lambda: promote_version(name=name, alias=ALIAS, model_id="m-0", run_id="0", against=None, tags={}),
        lambda: holder_of(name, ALIAS),
        lambda: rollback(name, ALIAS),
    )
    for call in calls:
        with pytest.raises(ConfigError, match="cannot be the name of a registered model"):
            call()


@pytest.mark.parametrize("alias", ["", "latest", "Latest", "v1", "V20", "a b", "a/b", "previous_champion"])
def test_a_bad_alias_is_refused(alias: str) -> None:
    calls = (
        lambda: promote_version(name="a", alias=alias, model_id="m-0", run_id="0", against=None, tags={}),
        lambda: holder_of("a", alias),
        lambda: rollback("a", alias),
    )
    for call in calls:
        with pytest.raises(ConfigError, match="cannot be an alias"):
            call()


def test_unusual_names_work(lab: Lab) -> None:
    for name in ("PPI (human), 2nd", "蛋白质", "m-1", "a.b"):
        lab.name = name
        lab.promote(None)
        lab.promote(lab.holder())
        assert rollback(name, ALIAS)[0].version == "1"
        assert resolve_model_uri(f"models:/{name}@{ALIAS}")[0] == lab.holder().run_id


def test_uris(each_lab: Lab) -> None:
    lab = each_lab
    first, second = lab.promotion(None), lab.trained()
    promote_version(**first)
    promote_version(**first | second | {"against": lab.holder()})
    wanted = {
        promotion["model_id"]: (promotion["run_id"], promotion["model_id"]) for promotion in (first, second)
    }
    assert resolve_model_uri(f"models:/{lab.name}@{ALIAS}") == wanted[second["model_id"]]
    assert resolve_model_uri(f"models:/{lab.name}@{previous_alias(ALIAS)}") == wanted[first["model_id"]]
    assert resolve_model_uri(f"models:/{lab.name}/1") == wanted[first["model_id"]]
    for model_id, expected in wanted.items():
        assert resolve_model_uri(f"models:/{model_id}") == expected


@pytest.mark.parametrize(
    "uri",
    ["", "ppi", "runs:/abc/model", "models:/", "models:/ppi", "models:/ppi/latest", "models:/ppi/Production",
     "models:/ppi@champion/3", "models:/ppi@", "models://ppi@champion", "models:/a/b/3", "models:/ppi/-1"],
)  # fmt: skip
def test_what_is_not_a_uri_is_refused_with_the_forms_that_are(uri: str) -> None:
    with pytest.raises(ConfigError, match="not the URI of a registered model") as caught:
        resolve_model_uri(uri)
    assert "models:/NAME@ALIAS, models:/NAME/VERSION or models:/m-<ID" in str(caught.value)


def test_uris_of_what_is_not_there(lab: Lab) -> None:
    lab.promote(None)
    with pytest.raises(TrackingError, match="there is no such registered model") as caught:
        resolve_model_uri("models:/nobody@champion")
    assert lab.name in str(caught.value)
    with pytest.raises(TrackingError, match="no such alias") as caught:
        resolve_model_uri(f"models:/{lab.name}@challenger")
    assert "aliases: champion (version 1); versions: 1" in str(caught.value)
    with pytest.raises(TrackingError, match="no such version"):
        resolve_model_uri(f"models:/{lab.name}/7")
    with pytest.raises(TrackingError, match="there is no such logged model"):
        resolve_model_uri("models:/m-0")


def test_a_version_without_a_run_is_told_so(lab: Lab) -> None:
    lab.client.create_registered_model(lab.name)
    lab.client.create_model_version(lab.name, "s3://bucket/model")
    lab.client.set_registered_model_alias(lab.name, ALIAS, "1")
    for call in (lambda: holder_of(lab.name, ALIAS), lambda: resolve_model_uri(f"models:/{lab.name}/1")):
        with pytest.raises(TrackingError, match="belongs to no run"):
            call()


def test_the_name_of_a_prompt_is_refused_before_anything_is_made(each_lab: Lab) -> None:
    lab = each_lab
    lab.client.create_prompt(lab.name)
    lab.client.create_prompt_version(lab.name, "Do {{this}}")
    lab.client.set_prompt_alias(lab.name, ALIAS, 1)
    calls = (
        lambda: holder_of(lab.name, ALIAS),
        lambda: holder_of(lab.name, "other"),
        lambda: lab.promote(None),
        lambda: rollback(lab.name, ALIAS),
        lambda: resolve_model_uri(f"models:/{lab.name}@{ALIAS}"),
    )
    for call in calls:
        with pytest.raises(TrackingError, match="is a prompt of MLflow's"):
            call()
    with pytest.raises(MlflowException, match=r"version=2\) not found"):
        lab.client.get_prompt_version(lab.name, 2)
    prompt = lab.client.get_prompt_version(lab.name, 1)
    assert prompt is not None
    assert prompt.template == "Do {{this}}"


@pytest.mark.parametrize("by", ["alias", "version", "model"])
def test_a_version_whose_run_was_deleted_is_named_as_it_was_given(lab: Lab, by: str) -> None:
    promotion = lab.promotion(None)
    promote_version(**promotion)
    uri = {"alias": f"{lab.name}@{ALIAS}", "version": f"{lab.name}/1", "model": promotion["model_id"]}[by]
    lab.client.delete_run(promotion["run_id"])
    with pytest.raises(TrackingError, match="the run was deleted") as caught:
        resolve_model_uri(f"models:/{uri}")
    assert f"where: models:/{uri} at " in str(caught.value)
    assert f"mlflow runs restore --run-id {promotion['run_id']}" in str(caught.value)


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    with pytest.raises(TrackingError, match="could not reach the tracking server"):
        holder_of("ppi", ALIAS)
