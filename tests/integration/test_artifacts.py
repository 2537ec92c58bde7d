"""Tests of checkpoint uploads that are killed at any moment.

The run always has a complete checkpoint, and a continued upload leaves no stray files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
import torch
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from ppi_train.checkpoints import checkpoint_digest, write_checkpoint
from ppi_train.runs.checkpoints import fetch_checkpoint
from ppi_train.tracking.artifacts import CheckpointStore, LocalCheckpoints, StoredCheckpoints
from ppi_train.tracking.run import TrackedRun, Tracking
from ppi_train.tracking.runs import find_run

# Uploads checkpoints 1, 2, ... in a child process that kills itself before its n-th step, for ever larger n
# until one lives to the end. A step puts a file or folder into the artifact store, or deletes one there,
# sends something to a server, or sets the tag. Forked before it has touched MLflow, a child starts in no
# time and owns all that it opens.
_UPLOADS = """
import os, signal, sys
from pathlib import Path
import mlflow, sqlalchemy.orm
from mlflow.store.tracking import sqlalchemy_store
from ppi_train.tracking.artifacts import CheckpointStore, LocalCheckpoints
from ppi_train.checkpoints import checkpoint_digest

sqlalchemy.orm.configure_mappers()  # or every child does it
local, artifacts, runs, before, sequence, stride = *map(Path, sys.argv[1:4]), *sys.argv[4:7]
left = None

def step(event, arguments):
    global left
    if left is None or not changes_something(event, arguments):
        return
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

def changes_something(event, arguments):
    if event in ("ppi.set_tag", "http.client.send", "os.remove", "os.rmdir"):
        return True
    if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
        return False
    return event in ("open", "os.rename", "os.mkdir") and str(arguments[0]).startswith(str(artifacts))

set_tag = mlflow.MlflowClient.set_tag
def announced(*arguments):
    sys.audit("ppi.set_tag")
    set_tag(*arguments)
mlflow.MlflowClient.set_tag = announced
sys.addaudithook(step)

def upload(store, sequence):
    for turn, how in enumerate(sequence.split(), start=1):
        turn, how = int(how[1:]), {"k": store.keep, "f": store.finish}[how[0]]
        folders = {name: local / str(turn) / name for name in ("best", "last")}
        digests = {name: checkpoint_digest(folder) for name, folder in folders.items()}
        how(LocalCheckpoints(folders=folders, digests=digests, step=turn))

steps = 0
while True:
    child = os.fork()
    if not child:
        run_id = mlflow.MlflowClient().create_run(os.environ["MLFLOW_EXPERIMENT_ID"]).info.run_id
        (runs / f"{steps:04d}").write_text(run_id)
        store = CheckpointStore(run_id, None)
        upload(store, before)
        left = steps
        upload(store, sequence)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status == 0:
        break
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
    steps += int(stride)
"""


@pytest.fixture(autouse=True)
def _own_checkpoint_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPI_TRAIN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints after steps 1 to 4, in folders of that name."""
    folder = tmp_path_factory.mktemp("local")
    for step in range(1, 5):
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


@pytest.fixture(params=["sqlite", "proxy"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """A client of a store, or of the real server that proxies artifacts; in an experiment of its own."""
    if request.param == "sqlite":
        store: mlflow.MlflowClient = request.getfixturevalue("store")
        return store
    server = request.getfixturevalue("server")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    client = mlflow.MlflowClient(server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", client.create_experiment(f"store-{time.time_ns()}"))
    return client


@pytest.fixture
def run_id(client: mlflow.MlflowClient) -> str:
    return str(client.create_run(os.environ["MLFLOW_EXPERIMENT_ID"]).info.run_id)


def stored(run_id: str) -> StoredCheckpoints | None:
    return find_run(run_id).checkpoints


def folders_of(client: mlflow.MlflowClient, run_id: str) -> set[str]:
    return {item.path.removeprefix("checkpoints/") for item in client.list_artifacts(run_id, "checkpoints")}


def downloaded_step(run_id: str) -> int:
    """The step of the checkpoint that counts, both parts of which are brought here anew and verified."""
    shutil.rmtree(os.environ["PPI_TRAIN_CACHE"], ignore_errors=True)
    run = find_run(run_id)
    parts = {name: fetch_checkpoint(run, name).read(with_training_state=True) for name in ("best", "last")}
    assert parts["best"].step == parts["last"].step == int(parts["best"].weights["weight"][0])
    assert parts["last"].training_state == {"step": parts["last"].step}
    return parts["last"].step


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "before", "sequence", "stride"),
    [
        ("sqlite", "", "k1 k2 f3", 1),
        ("sqlite", "f1", "f2", 1),
        # A server is sent a hundred pieces: every fifth is now the head of a request and now its body.
        ("proxy", "", "k1 k2 f3", 5),
    ],
    ids=["kept twice and finished", "continued after its end", "kept twice and finished at a server"],
    indirect=["client"],
)
def test_killed_before_any_step_of_an_upload_the_run_has_a_whole_checkpoint(
    client: mlflow.MlflowClient, local: Path, tmp_path: Path, before: str, sequence: str, stride: int
) -> None:
    (tmp_path / "run-ids").mkdir()
    places = [str(local), str(tmp_path / "artifacts"), str(tmp_path / "run-ids")]
    command = [sys.executable, "-c", _UPLOADS, *places, before, sequence, str(stride)]
    subprocess.run(command, check=True, timeout=240)
    killed = [path.read_text() for path in sorted((tmp_path / "run-ids").iterdir())]
    reached = []
    for run_id in killed:
        found = stored(run_id)
        reached.append(found.step if found else 0)
        assert not found or downloaded_step(run_id) == found.step
        _check_that_it_goes_on(client, run_id, local)
    # Each moment was there, and no upload lost what an earlier one had brought.
    assert reached == sorted(reached)
    assert set(reached) == ({1, 2} if before else {0, 1, 2, 3})
    assert len(killed) > 10


def _check_that_it_goes_on(client: mlflow.MlflowClient, run_id: str, local: Path) -> None:
    """A later process takes up what the killed one has left, and leaves no litter."""
    found = stored(run_id)
    CheckpointStore(run_id, found).finish(checkpoints(local, max(3, found.step if found else 0)))
    assert folders_of(client, run_id) == {"best", "last"}
    assert downloaded_step(run_id) == 3


def test_uploads_take_turns_until_the_end(client: mlflow.MlflowClient, run_id: str, local: Path) -> None:
    store = CheckpointStore(run_id, None)
    assert stored(run_id) is None
    seen = []
    for step in (1, 2, 3):
        store.keep(checkpoints(local, step))
        found = stored(run_id)
        assert found is not None
        assert downloaded_step(run_id) == found.step == step
        seen.append((found.folder, folders_of(client, run_id)))
    both = {"resume-a", "resume-b"}
    assert seen == [
        ("checkpoints/resume-a", {"resume-a"}),
        ("checkpoints/resume-b", both),
        ("checkpoints/resume-a", both),
    ]
    store.finish(checkpoints(local, 4))
    found = stored(run_id)
    assert found is not None
    assert found.folder == "checkpoints"
    assert folders_of(client, run_id) == {"best", "last"}
    assert downloaded_step(run_id) == 4


def test_another_process_goes_on_where_the_tag_says(
    client: mlflow.MlflowClient, run_id: str, local: Path
) -> None:
    CheckpointStore(run_id, None).keep(checkpoints(local, 1))
    CheckpointStore(run_id, stored(run_id)).keep(checkpoints(local, 2))
    found = stored(run_id)
    assert found is not None
    assert found.folder == "checkpoints/resume-b"
    CheckpointStore(run_id, found).finish(checkpoints(local, 3))
    assert folders_of(client, run_id) == {"best", "last"}
    assert downloaded_step(run_id) == 3


def test_a_finished_run_that_is_continued_ends_with_the_later_checkpoint(
    client: mlflow.MlflowClient, run_id: str, local: Path
) -> None:
    CheckpointStore(run_id, None).finish(checkpoints(local, 1))
    assert folders_of(client, run_id) == {"best", "last"}
    store = CheckpointStore(run_id, stored(run_id))
    store.keep(checkpoints(local, 2))
    assert downloaded_step(run_id) == 2
    store.finish(checkpoints(local, 3))
    assert folders_of(client, run_id) == {"best", "last"}
    assert downloaded_step(run_id) == 3
    CheckpointStore(run_id, stored(run_id)).finish(checkpoints(local, 4))
    assert folders_of(client, run_id) == {"best", "last"}
    assert downloaded_step(run_id) == 4


def test_what_is_there_already_is_not_uploaded_again(
    client: mlflow.MlflowClient, run_id: str, local: Path
) -> None:
    CheckpointStore(run_id, None).finish(checkpoints(local, 1))
    get_artifact_repository(client.get_run(run_id).info.artifact_uri).delete_artifacts("checkpoints/best")
    CheckpointStore(run_id, stored(run_id)).finish(checkpoints(local, 1))
    assert folders_of(client, run_id) == {"last"}


def test_a_store_that_forbids_deleting_does_not_fail_the_run(
    store: mlflow.MlflowClient, local: Path, tmp_path: Path
) -> None:
    run_id = str(store.create_run("1").info.run_id)
    uploads = CheckpointStore(run_id, None)
    uploads.keep(checkpoints(local, 1))
    uploads.keep(checkpoints(local, 2))
    folder = tmp_path / "artifacts" / run_id / "artifacts" / "checkpoints"
    (folder / "resume-a").rename(folder / "moved")
    (folder / "resume-a").symlink_to(folder / "moved")  # which the store refuses to delete
    uploads.finish(checkpoints(local, 3))
    assert (folder / "resume-a").exists()
    assert not (folder / "resume-b").exists(), "one that cannot be deleted must not keep the other"
    assert downloaded_step(run_id) == 3


def test_file_names_reach_a_server_that_proxies_as_they_are(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    names = ["a b.tsv", "a+b.tsv", "a&b=c.tsv", "a;b.tsv", "a@b,c.tsv", "(a)[b].tsv", "Ünï.tsv"]
    with TrackedRun("predict", system_metrics=False, tracking=Tracking(folder=tmp_path / "runs")) as run:
        for name in names:
            (tmp_path / name).write_text(name)
            run.log_file(tmp_path / name, "predictions")
    client = mlflow.MlflowClient(server)
    assert {item.path for item in client.list_artifacts(run.run_id, "predictions")} == {
        f"predictions/{name}" for name in names
    }
    for name in names:
        fetched = client.download_artifacts(run.run_id, f"predictions/{name}", str(tmp_path))
        assert Path(fetched).read_text() == name
