"""Tests that logged data reaches the tracking server exactly once."""

from __future__ import annotations

import logging
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import mlflow
import pytest
import torch
from _pytest.mark.structures import ParameterSet

from ppi_train.checkpoints import checkpoint_digest, write_checkpoint
from ppi_train.errors import JournalError, StorageError, TrackingError
from ppi_train.modes import execute_pipeline
from ppi_train.modes.train.resume import send_what_it_left
from ppi_train.runs.checkpoints import fetch_checkpoint
from ppi_train.tracking import timeouts
from ppi_train.tracking.artifacts import LocalCheckpoints
from ppi_train.tracking.logged_model import verified_model
from ppi_train.tracking.outbox.records import Header, Metrics, Tags
from ppi_train.tracking.outbox.store import LEGACY_NAME, NAME, Store
from ppi_train.tracking.outbox.worker import BackgroundWorker
from ppi_train.tracking.run import TrackedRun, Tracking
from ppi_train.tracking.runs import find_run
from tests.support.faults import (
    CUT,
    HANG,
    LOSE,
    PASS,
    REFUSE,
    SLOW,
    FaultyProxy,
    faulty_proxy,
    fill,
    mounted_disk,
)

STEPS = 40


def slow(fault: str) -> ParameterSet:
    """One more of a kind that is tried in every run of the tests."""
    return pytest.param(fault, marks=pytest.mark.slow)


@pytest.fixture(autouse=True)
def _impatience(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody here has to wait for a server as long as in earnest."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(BackgroundWorker, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(BackgroundWorker, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr("ppi_train.tracking.outbox.sync._PAUSE", 0.05)
    monkeypatch.setenv("PPI_TRAIN_CACHE", str(tmp_path / "cache"))


def use(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)


@pytest.fixture
def proxy(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """The way to the real server that the code under test takes; it passes all until told otherwise."""
    with faulty_proxy(server) as proxy:
        use(proxy.uri, monkeypatch)
        experiment = mlflow.MlflowClient(server).create_experiment(f"sink-{time.time_ns()}")
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
        yield proxy


@pytest.fixture
def direct(server: str) -> mlflow.MlflowClient:
    """A client that takes the way to the real server which never fails."""
    return mlflow.MlflowClient(server)


def tracking(tmp_path: Path, **settings: object) -> Tracking:
    return Tracking(**{"folder": tmp_path / "runs", "flush_seconds": 60.0, **settings})  # type: ignore[arg-type]


def points_of(client: mlflow.MlflowClient, run_id: str, name: str = "train/loss") -> list[tuple[int, float]]:
    return [(int(point.step), point.value) for point in client.get_metric_history(run_id, name)]


EVERY_POINT = [(step, step / 8) for step in range(STEPS)]


def now_and_then(fault: str) -> Callable[[int], str]:
    """One request in three, at random but each time at the same ones."""
    draw = random.Random(0)
    return lambda _: fault if draw.random() < 1 / 3 else PASS


@pytest.mark.parametrize("fault", [REFUSE, slow(CUT), slow(HANG)])
def test_a_run_goes_on_while_the_server_is_away(
    fault: str,
    proxy: FaultyProxy,
    direct: mlflow.MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    with TrackedRun("train_only", tracking=tracking(tmp_path), system_metrics=False) as run:
        proxy.set(fault)
        for step, value in EVERY_POINT:
            run.log_metrics({"train/loss": value}, step)
        run.log_parameters({"training.epochs": "3"})
        (tmp_path / "config.yaml").write_text("epochs: 3")
        run.log_file(tmp_path / "config.yaml")
        while not proxy.faults:
            time.sleep(0.01)
        # All was logged, and the server has heard of none of it.
        assert points_of(direct, run.run_id) == []
        proxy.set(PASS)
    found = direct.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert points_of(direct, run.run_id) == EVERY_POINT
    assert found.data.params == {"training.epochs": "3"}
    assert [artifact.path for artifact in direct.list_artifacts(run.run_id)] == ["config.yaml"]
    assert not (tmp_path / "runs" / run.run_id).exists(), "what was sent is still on the disk"
    assert "ppi.journal" not in found.data.tags


@pytest.mark.parametrize(("bytes_per_second", "uploads"), [(10_000, 1), (1_000_000, 2)])
def test_an_upload_has_the_time_that_its_store_takes(
    bytes_per_second: int,
    uploads: int,
    proxy: FaultyProxy,
    direct: mlflow.MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(timeouts, "BYTES_PER_SECOND", bytes_per_second)
    (tmp_path / "large").write_bytes(bytes(40_000))
    with TrackedRun("train_only", tracking=tracking(tmp_path), system_metrics=False) as run:
        proxy.set(SLOW)
        run.log_file(tmp_path / "large")
    # One second and four are enough; if two are expected, the next attempt has twice as many.
    assert proxy.uploads == uploads
    assert [artifact.path for artifact in direct.list_artifacts(run.run_id)] == ["large"]
    assert direct.get_run(run.run_id).info.status == "FINISHED"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "1"


@pytest.mark.parametrize("fault", [LOSE, slow(CUT), slow(REFUSE)])
def test_a_flaky_way_doubles_nothing(
    fault: str, proxy: FaultyProxy, direct: mlflow.MlflowClient, tmp_path: Path
) -> None:
    with TrackedRun("train_only", tracking=tracking(tmp_path), system_metrics=False) as run:
        proxy.set(now_and_then(fault))
        for step, value in EVERY_POINT:
            run.log_metrics({"train/loss": value, "val/nan": float("nan"), "val/inf": float("inf")}, step)
            time.sleep(0.01)  # for more batches than one
    assert proxy.faults
    assert points_of(direct, run.run_id) == EVERY_POINT
    for name in ("val/nan", "val/inf"):
        assert [step for step, _ in points_of(direct, run.run_id, name)] == list(range(STEPS))
    assert direct.get_run(run.run_id).info.status == "FINISHED"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints after steps 1 and 2, in folders of that name."""
    folder = tmp_path_factory.mktemp("local")
    for step in (1, 2):
        for name, state in (("best", None), ("last", {"step": step})):
            write_checkpoint(
                folder / str(step) / name,
                weights={"weight": torch.full((3,), float(step))},
                description={"counters": {"step": step}},
                training_state=state,
            )
    return folder


def checkpoints(local: Path, step: int) -> LocalCheckpoints:
    folders = {name: local / str(step) / name for name in ("best", "last")}
    digests = {name: checkpoint_digest(folder) for name, folder in folders.items()}
    return LocalCheckpoints(folders=folders, digests=digests, step=step)


def cut_at(n: int, fault: str) -> Callable[[int], str]:
    return lambda number: fault if number == n else PASS


@pytest.mark.slow
@pytest.mark.parametrize("fault", [LOSE, CUT])
def test_cut_at_any_request_of_an_upload_the_checkpoint_is_whole_in_the_end(
    fault: str, proxy: FaultyProxy, local: Path, tmp_path: Path
) -> None:
    n = 0
    while True:
        n += 1
        with TrackedRun("train_only", tracking=tracking(tmp_path), system_metrics=False) as run:
            proxy.set(cut_at(n, fault))
            run.keep_checkpoints(checkpoints(local, 2), final=True)
        reached = proxy.faults
        proxy.set(PASS)
        found = find_run(run.run_id)
        assert found.status == "FINISHED"
        for name in ("best", "last"):
            assert fetch_checkpoint(found, name).read().step == 2
        if not reached:
            break
    assert n > 8, "an upload of seven files has more requests than that"


def log_model(run: TrackedRun, checkpoint: Path) -> None:
    run.log_model(
        "model",
        checkpoint,
        scorer="ppi_train.serving:PairScorer",
        example={"protein_a": ["P1"], "protein_b": ["P2"]},
        requirements=["torch"],
        parameters={"model": "pooled_mlp"},
        tags={},
    )


def check_model(client: mlflow.MlflowClient, run_id: str) -> None:
    """The run has one model, which is whole, and nothing was refused."""
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    (model,) = client.search_logged_models(
        [run.info.experiment_id], filter_string=f"source_run_id = '{run_id}'"
    )
    assert str(model.status.value) == "READY"
    assert run.outputs is not None
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert verified_model(model.model_id)


@pytest.mark.slow
def test_cut_at_any_request_the_model_is_there_once_and_whole(
    proxy: FaultyProxy, direct: mlflow.MlflowClient, local: Path, tmp_path: Path
) -> None:
    n, reached = 0, True
    while reached:
        n += 1
        with TrackedRun("train_only", tracking=tracking(tmp_path), system_metrics=False) as run:
            proxy.set(cut_at(n, LOSE))
            log_model(run, local / "1" / "best")
        reached = proxy.faults > 0
        proxy.set(PASS)
        assert not list((tmp_path / "runs").glob("*/refused-*")), f"request {n}"
        check_model(direct, run.run_id)
    assert n > 10, "a model of several files has more requests than that"


def test_of_checkpoints_that_wait_the_last_is_uploaded_and_the_others_take_no_room(
    proxy: FaultyProxy, local: Path, tmp_path: Path
) -> None:
    with TrackedRun("train_only", tracking=tracking(tmp_path), system_metrics=False) as run:
        proxy.set(REFUSE)
        for _ in range(5):
            run.keep_checkpoints(checkpoints(local, 1), final=False)
            while not proxy.faults:
                time.sleep(0.01)
        run.keep_checkpoints(checkpoints(local, 2), final=False)
        unsent = tmp_path / "runs" / run.run_id / "unsent"
        # They go once the outbox on the disk says that others have replaced them.
        for _ in range(200):
            kept = list(unsent.iterdir())
            if len(kept) <= 4:
                break
            time.sleep(0.05)
        assert len(kept) <= 4, "more than the checkpoints that are being sent and those that wait"
        inodes = {path.stat().st_ino for path in (local / "2").rglob("*") if path.is_file()}
        found = set()
        for folder in kept:
            with suppress(FileNotFoundError):  # it has been replaced since
                found |= {path.stat().st_ino for path in folder.iterdir()}
        assert inodes <= found, "copied"
        proxy.set(PASS)
    assert fetch_checkpoint(find_run(run.run_id), "last").read().step == 2


def left_unsent(proxy: FaultyProxy, tmp_path: Path) -> tuple[str, Path]:
    """A run that ended while the server was away; its ID and its journal."""
    with TrackedRun(
        "train_only", tracking=tracking(tmp_path, flush_seconds=0.0), system_metrics=False
    ) as run:
        proxy.set(REFUSE)
        for step, value in EVERY_POINT:
            run.log_metrics({"train/loss": value}, step)
    # The thread that sends gives up after the request at hand.
    journal = tmp_path / "runs" / run.run_id / NAME
    for _ in range(100):
        if not _is_held(journal):
            break
        time.sleep(0.05)
    proxy.set(PASS)
    return run.run_id, journal


def _is_held(journal: Path) -> bool:
    try:
        opened = Store.open(journal)
    except TrackingError:
        return True
    opened.close()
    return False


def test_what_is_unsent_at_the_end_is_told_and_sync_sends_it_once(
    proxy: FaultyProxy, direct: mlflow.MlflowClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_id, journal = left_unsent(proxy, tmp_path)
    assert f"mlflow run . --env-manager local -e sync -P journal={journal}" in caplog.text
    assert direct.get_run(run_id).info.status == "RUNNING"
    # Cut in the middle, it goes on where it stood.
    proxy.set(lambda number: PASS if number < 12 else REFUSE)
    with pytest.raises(TrackingError):
        execute_pipeline("sync", {"journal": str(journal), "tracking_flush_seconds": 0.1})
    proxy.set(PASS)
    execute_pipeline("sync", {"journal": str(tmp_path / "runs")})
    assert direct.get_run(run_id).info.status == "FINISHED"
    assert points_of(direct, run_id) == EVERY_POINT
    again = execute_pipeline("sync", {"journal": str(tmp_path / "runs")})
    assert again.metrics["sync/records"] == 0
    assert points_of(direct, run_id) == EVERY_POINT


def offline_run(tmp_path: Path, **settings: object) -> tuple[str, Path]:
    settings = {"offline": True, **settings}
    with TrackedRun("train_only", tracking=tracking(tmp_path, **settings), system_metrics=False) as run:
        run.identify(model="v3", dataset="mine")
        run.log_parameters({"training.epochs": "3"})
        for step, value in EVERY_POINT:
            run.log_metrics({"train/loss": value}, step)
    return run.run_id, tmp_path / "runs" / run.run_id / NAME


@pytest.mark.slow
@pytest.mark.parametrize("fault", [LOSE, CUT])
def test_an_offline_run_becomes_one_run_wherever_its_sync_is_cut(
    fault: str,
    proxy: FaultyProxy,
    direct: mlflow.MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    experiment = os.environ["MLFLOW_EXPERIMENT_ID"]
    monkeypatch.setattr("ppi_train.tracking.outbox.sync._ATTEMPTS", 1)
    n, reached = 0, True
    while reached:
        n += 1
        proxy.set(HANG)  # nobody may ask anything
        local_id, journal = offline_run(tmp_path)
        assert proxy.requests == 0
        proxy.set(PASS)
        with TrackedRun("sync", tracking=tracking(tmp_path / "other"), system_metrics=False):
            from ppi_train.tracking.outbox.sync import sync_outbox

            proxy.set(cut_at(n, fault))
            try:
                sync_outbox(journal, experiment_id=experiment, end=True)
            except TrackingError:
                sync_outbox(journal, experiment_id=experiment, end=True)
            reached = proxy.faults > 0
            proxy.set(PASS)
        (run,) = direct.search_runs([experiment], filter_string=f"tags.`ppi.offline_id` = '{local_id}'")
        assert run.info.status == "FINISHED"
        assert run.info.run_name == "train_only-v3-mine"
        assert run.data.params == {"training.epochs": "3"}
        assert points_of(direct, run.info.run_id) == EVERY_POINT
        assert run.info.end_time >= run.info.start_time
        assert not journal.exists()
    assert n > 6


def test_an_offline_run_of_mlflow_run_becomes_the_run_that_this_has_made(
    proxy: FaultyProxy, direct: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del proxy
    given = direct.create_run(os.environ["MLFLOW_EXPERIMENT_ID"], run_name="mine").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    local_id, journal = offline_run(tmp_path)
    assert local_id == given
    execute_pipeline("sync", {"journal": str(journal)})
    run = direct.get_run(given)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "mine")
    assert points_of(direct, given) == EVERY_POINT


def test_a_refused_record_does_not_keep_the_others(
    store: mlflow.MlflowClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TrackedRun("train_only", tracking=tracking(tmp_path), system_metrics=False) as run:
        run.log_metrics({"train/loss": 1.0}, 1)
        run.log_metrics({"a name/with a ' quote and a ; or more?": 1.0}, 1)
        run.log_metrics({"train/loss": 2.0}, 2)
        changed = tmp_path / "changed.txt"
        changed.write_text("as it was logged")
        os.utime(changed)
        run._log_files(tmp_path, [changed], "")
    assert points_of(store, run.run_id) == [(1, 1.0), (2, 2.0)]
    assert store.get_run(run.run_id).info.status == "FINISHED"
    (kept,) = (tmp_path / "runs" / run.run_id).glob("refused-*")
    assert "1 records were refused" in caplog.text
    outbox = Store.open(kept)
    ((_, record),) = outbox.pending()
    outbox.close()
    assert isinstance(record, Metrics)
    # It can be tried again, and is set aside again.
    with pytest.raises(TrackingError, match="1 of what 1 outboxes have could not be sent"):
        execute_pipeline("sync", {"journal": str(kept)})
    assert len(list((tmp_path / "runs" / run.run_id).glob("refused-*.db"))) == 1


def test_a_file_that_changed_since_is_not_passed_off_as_the_runs(
    proxy: FaultyProxy, direct: mlflow.MlflowClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TrackedRun("train_only", tracking=tracking(tmp_path), system_metrics=False) as run:
        proxy.set(REFUSE)
        run.log_metrics({"train/loss": 1.0})  # which the files wait behind
        report, other = tmp_path / "report.txt", tmp_path / "other.txt"
        for path in (report, other):
            path.write_text("as it was logged")
            run.log_file(path)
        report.write_text("of another run")
        proxy.set(PASS)
    assert [artifact.path for artifact in direct.list_artifacts(run.run_id)] == ["other.txt"]
    assert "a file was changed after it was logged" in caplog.text


def test_the_journal_of_a_dead_process_is_sent_and_its_run_is_killed(
    store: mlflow.MlflowClient, tmp_path: Path
) -> None:
    run_id, journal = dead_run(store, tmp_path, journal_id="a")
    execute_pipeline("sync", {"journal": str(journal)})
    run = store.get_run(run_id)
    assert run.info.status == "KILLED"
    assert "the process ended without saying so" in run.data.tags["ppi.error"]
    assert run.data.tags["ppi.model"] == "v3"


def dead_run(store: mlflow.MlflowClient, tmp_path: Path, *, journal_id: str) -> tuple[str, Path]:
    """A run whose process died with a journal in hand; its ID, and the journal."""
    run_id = store.create_run("1", tags={"ppi.journal": "a here:/journal"}).info.run_id
    path = tmp_path / "runs" / run_id / NAME
    header = Header(run_id=run_id, journal_id=journal_id, offline=False, server="", started=0)
    outbox = Store.create(path, header)
    outbox.add(Tags(values={"ppi.model": "v3"}))
    outbox.close()
    return run_id, path


def test_a_run_that_another_process_took_up_keeps_what_that_one_says(
    store: mlflow.MlflowClient, tmp_path: Path
) -> None:
    run_id, journal = dead_run(store, tmp_path, journal_id="another")
    execute_pipeline("sync", {"journal": str(journal)})
    run = store.get_run(run_id)
    assert run.info.status == "RUNNING"
    assert "ppi.model" not in run.data.tags


def test_a_journal_in_use_is_left_alone(store: mlflow.MlflowClient, tmp_path: Path) -> None:
    with TrackedRun("train_only", tracking=tracking(tmp_path), system_metrics=False) as run:
        journal = tmp_path / "runs" / run.run_id / NAME
        with pytest.raises(TrackingError, match="could not be sent") as caught:
            execute_pipeline("sync", {"journal": str(journal)})
        assert "another process works on this run" in str(caught.value)
        run.log_metrics({"train/loss": 1.0})
    assert points_of(store, run.run_id) == [(0, 1.0)]


@pytest.mark.usefixtures("store")
def test_sync_of_what_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text("{}\n")
    with pytest.raises(TrackingError, match="could not be sent") as caught:
        execute_pipeline("sync", {"journal": str(path)})
    assert "this is not the outbox of a run" in str(caught.value)
    with pytest.raises(JournalError, match="there is no such journal"):
        execute_pipeline("sync", {"journal": str(tmp_path / "absent")})


@pytest.mark.usefixtures("store")
def test_a_journal_of_version_0_2_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    offline_id, outbox = offline_run(tmp_path)
    journal = tmp_path / "runs" / "older" / LEGACY_NAME
    journal.parent.mkdir()
    shutil.copy(Path(__file__).parents[1] / "data" / "version_0_2" / LEGACY_NAME, journal)
    with pytest.raises(TrackingError, match="1 of what 2 outboxes have") as caught:
        execute_pipeline("sync", {"journal": str(tmp_path / "runs")})
    assert f"{journal}: this is a journal of version 0.2" in str(caught.value)
    assert (
        f"version 0.2.0 (git checkout 4e26ede): mlflow run . --env-manager local -e sync -P journal={journal}"
        in caplog.text
    )
    assert journal.is_file()
    assert not outbox.exists(), offline_id


def test_resume_names_a_journal_of_version_0_2(store: mlflow.MlflowClient, tmp_path: Path) -> None:
    run_id = store.create_run("1").info.run_id
    journal = tmp_path / "runs" / run_id / LEGACY_NAME
    journal.parent.mkdir(parents=True)
    shutil.copy(Path(__file__).parents[1] / "data" / "version_0_2" / LEGACY_NAME, journal)
    with pytest.raises(JournalError, match=r"a journal of version 0\.2") as caught:
        send_what_it_left(find_run(run_id), str(tmp_path / "runs"))
    assert f"mlflow run . --env-manager local -e sync -P journal={journal}" in str(caught.value)


def test_an_outbox_moved_to_another_folder_is_sent_with_its_files(
    store: mlflow.MlflowClient, tmp_path: Path
) -> None:
    runs, moved = tmp_path / "runs", tmp_path / "moved"
    with TrackedRun("train_only", tracking=tracking(tmp_path, offline=True), system_metrics=False) as run:
        report = runs / run.run_id / "report.txt"
        report.write_text("whole")
        run.log_file(report)
    runs.rename(moved)
    execute_pipeline("sync", {"journal": str(moved / run.run_id / NAME)})
    (found,) = store.search_runs([os.environ["MLFLOW_EXPERIMENT_ID"]], "tags.`ppi.mode` = 'train_only'")
    assert [artifact.path for artifact in store.list_artifacts(found.info.run_id)] == ["report.txt"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 2 MB."""
    with mounted_disk(tmp_path / "disk", "2m") as disk:
        yield disk


def test_a_full_disk_here_does_not_keep_numbers_from_the_server(
    proxy: FaultyProxy, direct: mlflow.MlflowClient, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TrackedRun("train_only", tracking=Tracking(folder=small_disk), system_metrics=False) as run:
        proxy.set(REFUSE)
        fill(small_disk)
        for step in range(200):  # more than the outbox's last page has room for
            run.log_metrics({"train/loss": step / 8}, step)
        run._store.flush()
        proxy.set(PASS)
    assert points_of(direct, run.run_id) == [(step, step / 8) for step in range(200)]
    assert direct.get_run(run.run_id).info.status == "FINISHED"
    assert "the outbox cannot be written (database or disk is full)" in caplog.text
    assert "LOST" not in caplog.text


def test_a_disk_that_was_full_for_a_while_leaves_a_whole_outbox(small_disk: Path) -> None:
    path = small_disk / NAME
    outbox = Store.create(path, Header(run_id="a", journal_id="b", offline=True, server="", started=0))
    for number in range(3000):
        if number == 20:
            outbox.flush()
            filler = fill(small_disk)
        outbox.add(Tags(values={"number": str(number)}))
    outbox.flush()
    assert outbox.unwritten > 2000
    filler.unlink()
    outbox.add(Tags(values={"number": "3000"}))
    outbox.flush()
    assert not outbox.unwritten
    outbox.close()
    opened = Store.open(path)
    assert [number for number, _ in opened.pending()] == list(range(3001))
    assert not opened.damaged
    opened.close()


def test_a_disk_that_is_full_from_the_start_keeps_no_number_from_the_server(
    store: mlflow.MlflowClient, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (small_disk / "runs").mkdir()
    fill(small_disk)
    with TrackedRun("train_only", tracking=Tracking(folder=small_disk / "runs"), system_metrics=False) as run:
        run.log_metrics({"train/loss": 0.5}, 1)
    assert points_of(store, run.run_id) == [(1, 0.5)]
    assert "the outbox cannot be written" in caplog.text
    assert "LOST" not in caplog.text


def test_a_disk_without_any_room_is_told_at_the_start(store: mlflow.MlflowClient, small_disk: Path) -> None:
    (small_disk / "runs").write_text("no folder")
    with pytest.raises(StorageError, match="the outbox of the run cannot be made"):
        TrackedRun("train_only", tracking=Tracking(folder=small_disk / "runs")).__enter__()
    (run,) = store.search_runs(["1"])
    assert run.info.status == "FAILED"


def test_the_servers_full_disk_keeps_numbers_here_until_it_has_room(
    empty_store: Path, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small_disk / "mlflow.db").write_bytes(empty_store.read_bytes())
    use(f"sqlite:///{small_disk}/mlflow.db", monkeypatch)
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("small", artifact_location=(small_disk / "artifacts").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    (tmp_path / "report.txt").write_text("x" * 100_000)
    with TrackedRun("train_only", tracking=tracking(tmp_path), system_metrics=False) as run:
        filler = fill(small_disk)
        for step, value in EVERY_POINT:
            run.log_metrics({"train/loss": value}, step)
        run.log_file(tmp_path / "report.txt")
        assert run._worker is not None
        while not run._worker.trouble:
            time.sleep(0.01)
        filler.unlink()
    assert points_of(client, run.run_id) == EVERY_POINT
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert [(artifact.path, artifact.file_size) for artifact in client.list_artifacts(run.run_id)] == [
        ("report.txt", 100_000)
    ]


@pytest.mark.slow
def test_a_locked_database_is_waited_for(store: mlflow.MlflowClient, tmp_path: Path) -> None:
    with TrackedRun("train_only", tracking=tracking(tmp_path), system_metrics=False) as run:
        other = sqlite3.connect(tmp_path / "mlflow.db")
        other.execute("BEGIN EXCLUSIVE")
        for step, value in EVERY_POINT:
            run.log_metrics({"train/loss": value}, step)
        assert run._worker is not None
        while not run._worker.trouble:  # MLflow itself waits for 20 s
            time.sleep(0.1)
        assert "locked" in run._worker.trouble
        other.rollback()
    assert points_of(store, run.run_id) == EVERY_POINT


@pytest.mark.parametrize("together", [False, True])
def test_continued_runs_log_no_step_twice(
    together: bool, proxy: FaultyProxy, direct: mlflow.MlflowClient, tmp_path: Path
) -> None:
    with TrackedRun("train_only", tracking=tracking(tmp_path), system_metrics=False) as run:
        for step in range(3):
            run.log_metrics({"val/auroc": step / 8}, step)
    found = find_run(run.run_id)
    with TrackedRun(
        "train_only", continues=found, tracking=tracking(tmp_path), system_metrics=False
    ) as again:
        if together:  # what waits for the server is sent in one batch
            proxy.set(REFUSE)
        for step in range(5):
            again.log_metrics({"val/auroc": step / 8}, step)
            again.log_metrics({"val/auroc": -1.0}, step)
        proxy.set(PASS)
    assert points_of(direct, run.run_id, "val/auroc") == [(step, step / 8) for step in range(5)]


def test_logging_is_quiet_where_nothing_went_wrong(
    store: mlflow.MlflowClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING),
        TrackedRun("train_only", tracking=tracking(tmp_path), system_metrics=False) as run,
    ):
        run.log_metrics({"train/loss": 1.0})
    assert caplog.text == ""
    assert store.get_run(run.run_id).info.status == "FINISHED"
