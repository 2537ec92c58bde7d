"""Tests of resolving a run ID to a verified checkpoint.

Each failure has its own message, and a foreign checkpoint is never opened.

Tests that read artifacts run three times: on a SQLite store, on a server that proxies artifacts, and on a
server with artifacts in an S3-like store. Tests that read only the run omit the third, and tests of the local
cache use only the first.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import requests
import torch
from mlflow.entities import Param
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from ppi_train.checkpoints import DESCRIPTION, MARKER, TRAINING_STATE, WEIGHTS, checkpoint_digest
from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.data.fasta import read_fasta, sequence_digest
from ppi_train.embeddings.cache import CacheSpec
from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.errors import CacheError, CheckpointError, TrackingError, UserError
from ppi_train.io.files import file_digest
from ppi_train.modes import execute_pipeline
from ppi_train.runs.checkpoints import resolve_checkpoint
from ppi_train.tracking.artifacts import TAG, CheckpointStore, LocalCheckpoints
from tests.support.stores import make_store

BUCKET = "artifacts"
ON_RUNS = pytest.mark.parametrize(
    "place", ["sqlite", pytest.param("proxy", marks=pytest.mark.slow)], indirect=True, scope="module"
)
ON_THIS_MACHINE = pytest.mark.parametrize("place", ["sqlite"], indirect=True, scope="module")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This test's own cache of checkpoints, empty."""
    monkeypatch.setenv("PPI_TRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "checkpoints"


def held_in(cache: Path) -> list[str]:
    return [path.name for path in cache.glob("[!.]*")]


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of an S3-like store on loopback with one bucket."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed: no client of S3-like stores")
    moto_server = pytest.importorskip("moto.server", reason="moto[server] is not installed: no S3-like store")
    store = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{store.get_host_and_port()[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
        client.create_bucket(Bucket=BUCKET)
        yield client
    store.stop()


@pytest.fixture(scope="module")
def s3_server(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server that leaves artifacts to its clients, which bring them to the S3-like store."""
    del s3
    folder = tmp_path_factory.mktemp("s3_server")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", make_store(folder / "server.db")]
    command += ["--default-artifact-root", f"s3://{BUCKET}/runs", "--no-serve-artifacts"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # it starts sooner without
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment)
    try:
        uri = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 120
        while not _healthy(uri):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.5)
        yield uri
    finally:
        process.terminate()
        process.wait(timeout=30)


def _healthy(uri: str) -> bool:
    try:
        return requests.get(f"{uri}/health", timeout=2).ok
    except requests.RequestException:
        return False


@dataclass(frozen=True)
class Place:
    """A tracking store with a finished training run; `checkpoints` are the run's own, on this machine."""

    client: mlflow.MlflowClient
    experiment: str
    folders: dict[str, Any]
    trained: str
    checkpoints: Path


@pytest.fixture(
    scope="module",
    params=["sqlite", *(pytest.param(backend, marks=pytest.mark.slow) for backend in ("proxy", "s3"))],
)
def place(
    request: pytest.FixtureRequest, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("empty_store"), folder / "mlflow.db")
        uri, location = f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri()
    else:
        uri = request.getfixturevalue("server" if request.param == "proxy" else "s3_server")
        location = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
        client = mlflow.MlflowClient(uri)
        experiment = client.create_experiment(f"resolver-{time.time_ns()}", artifact_location=location)
        patch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
        folders = {"data_dir": str(data_dir), "output_dir": str(folder / "runs")}
        # A checkpoint after each step: both of the folders that take turns are filled on the way.
        result = execute_pipeline("train_only", folders | {"epochs": 1, "checkpoint_every": "1 steps"})
        shutil.move(Path(result.outputs["checkpoints"]) / "checkpoints", folder / "trained")
        yield Place(client, experiment, folders, result.run_id, folder / "trained")


def refused(place: Place, run_id: str, error: type[UserError] = CheckpointError, **parameters: object) -> str:
    """What finetuning from a run ends with, in the terminal and in the run that is FAILED by it."""
    given = {"pretrain_run_id": run_id, "epochs": 1} | parameters
    with pytest.raises(error) as caught:
        execute_pipeline("finetune_from_pretrain", place.folders | given)
    assert caught.value.exit_code == 2
    return failed(place, "finetune_from_pretrain", caught.value)


def failed(place: Place, mode: str, error: UserError) -> str:
    """The message of an error, which the newest run of a mode must have ended FAILED with."""
    newest = place.client.search_runs(
        [place.experiment],
        filter_string=f"tags.`ppi.mode` = '{mode}'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )[0]
    assert newest.info.status == "FAILED"
    assert newest.data.tags["ppi.error"] == str(error)
    return str(error)


def run_by_hand(place: Place, status: str = "FINISHED", **tags: str) -> str:
    """The ID of a run that no training made; `mode` is the tag `ppi.mode`."""
    run = place.client.create_run(
        place.experiment, tags={f"ppi.{name}": value for name, value in tags.items()}, run_name="by-hand"
    )
    place.client.update_run(run.info.run_id, status=status)
    return str(run.info.run_id)


def tag_of(folder: Path, **digests: str) -> str:
    """The tag that a run with the checkpoints of a folder has, or with other digests than theirs."""
    own = {path.name: checkpoint_digest(path) for path in folder.iterdir() if (path / MARKER).exists()}
    return json.dumps({"folder": "checkpoints", "step": 2, "digests": own | digests})


def copied_run(place: Place, folder: Path, *, tag: str, status: str = "FINISHED") -> str:
    """The ID of a run like the trained one, but with the checkpoints of a folder, and a tag of its own."""
    client, trained = place.client, place.client.get_run(place.trained)
    run_id = str(client.create_run(place.experiment, tags={"ppi.mode": "train_only"}).info.run_id)
    client.log_batch(run_id, params=[Param(name, value) for name, value in trained.data.params.items()])
    client.log_artifacts(run_id, str(folder), "checkpoints")
    client.set_tag(run_id, TAG, tag)
    client.update_run(run_id, status=status)
    return run_id


def delete_artifacts(place: Place, run_id: str) -> None:
    get_artifact_repository(place.client.get_run(run_id).info.artifact_uri).delete_artifacts("checkpoints")
    assert not place.client.list_artifacts(run_id, "checkpoints")


@pytest.fixture
def best(place: Place, tmp_path: Path) -> Path:
    """A copy of the trained run's best checkpoint, to be spoiled; alone in its parent folder."""
    return Path(shutil.copytree(place.checkpoints / "best", tmp_path / "checkpoints" / "best"))


class WritesAFile:
    """Unpickling one writes a file: the proof that a loader ran its code."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Callable[..., int], tuple[Path, str]]:
        return Path.write_text, (self._target, "this ran")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The file that a pickle would write; at the end, that the pickle is live is proved by loading it."""
    return tmp_path / "written"


@pytest.fixture
def live_pickle(target: Path) -> Iterator[bytes]:
    content = pickle.dumps({"weights": WritesAFile(target)})
    yield content
    assert not target.exists(), "the pickle ran"
    pickle.loads(content)
    assert target.exists(), "the pickle is a dud: that it did not run proves nothing"


def forge(folder: Path, name: str, content: bytes) -> None:
    """Replaces a file of a checkpoint and makes the marker agree, as whoever can write there can."""
    (folder / name).write_bytes(content)
    digests = json.loads((folder / MARKER).read_text())
    (folder / MARKER).write_text(json.dumps({**digests, name: file_digest(folder / name)}))


def test_finetuning_needs_the_run_id_alone(place: Place, cache: Path, tmp_path: Path) -> None:
    given = {"pretrain_run_id": place.trained, "epochs": 1, "output_dir": str(tmp_path / "runs")}
    result = execute_pipeline("finetune_from_pretrain", place.folders | given)
    assert place.client.get_run(result.run_id).info.status == "FINISHED"
    digest = checkpoint_digest(place.checkpoints / "best")
    assert held_in(cache) == [digest]
    resolved = resolve_checkpoint(place.trained)
    assert (resolved.digest, resolved.folder) == (digest, cache / digest)
    for name in (WEIGHTS, DESCRIPTION, MARKER):
        assert (resolved.folder / name).read_bytes() == (place.checkpoints / "best" / name).read_bytes()


def test_last_comes_with_its_training_state(place: Place) -> None:
    checkpoint = resolve_checkpoint(place.trained, "last").read(with_training_state=True)
    assert checkpoint.step == 8
    assert checkpoint.training_state is not None


def test_what_is_kept_on_the_way_takes_turns_and_is_removed_at_the_end(place: Place) -> None:
    left = {item.path for item in place.client.list_artifacts(place.trained, "checkpoints")}
    assert left == {"checkpoints/best", "checkpoints/last"}
    run_id = run_by_hand(place, mode="train_only")
    store = CheckpointStore(run_id, None)
    folders = {name: place.checkpoints / name for name in ("best", "last")}
    digests = {name: checkpoint_digest(folder) for name, folder in folders.items()}
    here = LocalCheckpoints(folders=folders, digests=digests, step=8)
    for turns in ({"resume-a"}, {"resume-a", "resume-b"}):
        store.keep(here)
        left = {item.path for item in place.client.list_artifacts(run_id, "checkpoints")}
        assert left == {f"checkpoints/{turn}" for turn in turns}
        assert resolve_checkpoint(run_id, "last").digest == digests["last"]
    store.finish(here)
    left = {item.path for item in place.client.list_artifacts(run_id, "checkpoints")}
    assert left == {"checkpoints/best", "checkpoints/last"}


@ON_RUNS
@pytest.mark.parametrize("run_id", ["0" * 32, "no-such-run", "../../etc/passwd", "a run; rm -rf"])
def test_no_such_run(place: Place, run_id: str) -> None:
    told = refused(place, run_id, TrackingError)
    assert told.startswith("there is no such run\n")
    assert f"got: {run_id}" in told
    assert f"where: {mlflow.get_tracking_uri()}" in told
    assert "set MLFLOW_TRACKING_URI to the server that has it" in told


def test_a_deleted_run(place: Place, best: Path) -> None:
    run_id = copied_run(place, best.parent, tag=tag_of(best.parent))
    place.client.delete_run(run_id)
    told = refused(place, run_id, TrackingError)
    assert told.startswith("the run was deleted\n")
    assert f"mlflow runs restore --run-id {run_id}" in told
    place.client.restore_run(run_id)
    assert resolve_checkpoint(run_id).run.run_id == run_id


@ON_RUNS
@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_run_that_ended_before_its_first_checkpoint(place: Place, status: str) -> None:
    run_id = run_by_hand(place, status, mode="train_only")
    told = refused(place, run_id)
    assert told.startswith("the run has no finished checkpoint\n")
    assert f"run {run_id} (by-hand, {status})" in told
    assert f"mlflow run . --env-manager local -e resume -P run_id={run_id}" in told


@ON_RUNS
def test_checkpoint_files_without_the_tag_do_not_count(place: Place, best: Path) -> None:
    run_id = copied_run(place, best.parent, tag="")
    assert refused(place, run_id).startswith("the run has no finished checkpoint\n")


@ON_RUNS
@pytest.mark.parametrize("status", ["RUNNING", "SCHEDULED"])
def test_a_run_that_is_still_running(place: Place, best: Path, status: str) -> None:
    run_id = copied_run(place, best.parent, tag=tag_of(best.parent), status=status)
    told = refused(place, run_id)
    assert told.startswith("the run is still running, so its checkpoints still change\n")
    assert f"run_id={run_id}" in told
    place.client.set_terminated(run_id)
    assert resolve_checkpoint(run_id).run.run_id == run_id


@ON_RUNS
def test_a_run_of_another_tool(place: Place) -> None:
    told = refused(place, run_by_hand(place))
    assert told.startswith("this is not a training run, so it has no checkpoint\n")
    assert "got: a run that this project did not make" in told
    assert "expected: train_only or finetune_from_pretrain" in told
    assert "to do: give the ID of a training run" in told


@ON_RUNS
def test_an_evaluation_names_the_run_that_it_scored(place: Place) -> None:
    run_id = run_by_hand(place, mode="eval_only", evaluated_run_id=place.trained)
    told = refused(place, run_id)
    assert "got: mode eval_only" in told
    assert f"to do: it scored run {place.trained}: give that ID" in told


@ON_RUNS
def test_a_whole_pipeline_names_its_stages(place: Place) -> None:
    stages = {"stage.pretrain": place.trained, "stage.finetune": "f" * 32}
    told = refused(place, run_by_hand(place, mode="full_pipeline", **stages))
    assert "got: mode full_pipeline" in told
    named = f"finetune {'f' * 32}, pretrain {place.trained}"
    assert f"to do: give the ID of one of its stages: {named}" in told


@ON_RUNS
@pytest.mark.parametrize(
    ("embedder", "dimension", "differs"),
    [("mine", 804, "embedder"), ("mine", 7, "dimension and embedder"), ("descriptors", 7, "dimension")],
)
def test_embeddings_that_are_not_the_ancestors(
    place: Place, example: Dataset, tmp_path: Path, embedder: str, dimension: int, differs: str
) -> None:
    recipe = json.loads((place.checkpoints / "best" / DESCRIPTION).read_text())["embedding"]["recipe"]
    other: dict[str, object] = {"name": "mine", "parameters": {}, "digest": "1"}
    sequences = read_fasta(example.splits["train"].fasta)
    spec = CacheSpec(
        embedder=recipe["embedder"] if embedder == "descriptors" else other,
        dimension=dimension,
        granularity="protein",
        dtype="float32",
        max_length=recipe["max_length"],
        truncation=recipe["truncation"],
        fasta_digest=sequences.digest,
    )
    path = tmp_path / "other.parquet"
    with CacheWriter(path, spec) as writer:
        for name, sequence in sequences.sequences.items():
            writer.add(name, sequence_digest(sequence), len(sequence), np.ones(dimension, dtype=np.float32))
    told = refused(place, place.trained, CacheError, embeddings=str(path))
    assert told.startswith(f"the embedding cache has another {differs} than asked for\n")
    assert f"where: {path}" in told
    assert ("embedder=mine@1" in told) == ("embedder=descriptors@" in told) == ("embedder" in differs)
    assert ("dimension=7" in told) == ("dimension=804" in told) == ("dimension" in differs)


@pytest.mark.parametrize("accepts", [False, True], ids=["refuses", "accepts and never answers"])
def test_a_server_that_does_not_answer_is_named_within_10_seconds(
    accepts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if accepts:
            listener.listen(8)
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        started = time.monotonic()
        with pytest.raises(TrackingError, match="could not reach the tracking server") as caught:
            execute_pipeline("finetune_from_pretrain", {"pretrain_run_id": "0" * 32})
        assert time.monotonic() - started < 10
    assert caught.value.exit_code == 2
    assert f"where: {uri}" in str(caught.value)
    assert "set MLFLOW_TRACKING_URI to one that runs" in str(caught.value)


def test_a_second_use_downloads_nothing(
    place: Place, best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = copied_run(place, best.parent, tag=tag_of(best.parent))
    first = resolve_checkpoint(run_id)
    delete_artifacts(place, run_id)
    second = resolve_checkpoint(run_id)
    assert second.folder == first.folder
    assert second.read().weights.keys() == first.read().weights.keys()
    # The store has nothing to give: without the cache the same call fails.
    monkeypatch.setenv("PPI_TRAIN_CACHE", str(tmp_path / "another"))
    with pytest.raises(CheckpointError, match="not where the tracking server looks for them"):
        resolve_checkpoint(run_id)


@ON_THIS_MACHINE
def test_runs_with_the_same_checkpoint_share_one_download(place: Place, best: Path) -> None:
    runs = [copied_run(place, best.parent, tag=tag_of(best.parent)) for _ in range(2)]
    first = resolve_checkpoint(runs[0])
    delete_artifacts(place, runs[1])
    assert resolve_checkpoint(runs[1]).folder == first.folder


def flip_a_byte(path: Path) -> None:
    """Flips a bit in the middle; of a marker, in the middle of a digest, so that it stays readable."""
    content = bytearray(path.read_bytes())
    place = content.index(b'": "') + 32 if path.name == MARKER else len(content) // 2
    content[place] ^= 1
    path.write_bytes(content)


def one_flipped_byte(folder: Path, place: Place) -> None:
    del place
    flip_a_byte(folder / WEIGHTS)


def one_lost_file(folder: Path, place: Place) -> None:
    del place
    (folder / DESCRIPTION).unlink()


def one_file_too_many(folder: Path, place: Place) -> None:
    del place
    (folder / "model.pkl").write_bytes(b"x")


def another_whole_checkpoint(folder: Path, place: Place) -> None:
    shutil.rmtree(folder)
    shutil.copytree(place.checkpoints / "last", folder)


def a_file_in_its_place(folder: Path, place: Place) -> None:
    del place
    shutil.rmtree(folder)
    folder.write_bytes(b"x")


DAMAGES = [one_flipped_byte, one_lost_file, one_file_too_many, another_whole_checkpoint, a_file_in_its_place]


@ON_THIS_MACHINE
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_is_downloaded_again(place: Place, damage: Callable[[Path, Place], None]) -> None:
    folder = resolve_checkpoint(place.trained).folder
    damage(folder, place)
    assert resolve_checkpoint(place.trained).folder == folder
    assert {path.name for path in folder.iterdir()} == {WEIGHTS, DESCRIPTION, MARKER}
    for path in folder.iterdir():
        assert path.read_bytes() == (place.checkpoints / "best" / path.name).read_bytes()


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION, MARKER])
def test_one_flipped_byte_in_the_store(place: Place, best: Path, name: str, cache: Path) -> None:
    tag = tag_of(best.parent)
    flip_a_byte(best / name)
    run_id = copied_run(place, best.parent, tag=tag)
    told = refused(place, run_id)
    assert told.startswith("a file of the checkpoint was altered after it was written\n")
    assert f"checkpoints/best of run {run_id}" in told
    assert "got: sha256 " in told
    assert held_in(cache) == []


# Resolves and reads a checkpoint at the same moments as the other processes, in ever another cache.
_ONE_OF_MANY = """
import os, sys, time
from pathlib import Path
from ppi_train.runs.checkpoints import resolve_checkpoint

run_id, folder, rounds, others = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
for turn in range(rounds):
    os.environ["PPI_TRAIN_CACHE"] = str(folder / f"cache-{turn}")
    (folder / f"{turn}-{os.getpid()}").touch()
    while len(list(folder.glob(f"{turn}-*"))) < others:
        assert not (folder / "failed").exists(), "another process has failed"
        time.sleep(0.001)
    try:
        resolved = resolve_checkpoint(run_id)
        for _ in range(20):
            assert resolved.read().step == 8
    except BaseException:
        (folder / "failed").touch()
        raise
"""


@pytest.mark.slow
@ON_THIS_MACHINE
def test_processes_that_resolve_at_once_do_not_disturb_each_other(place: Place, tmp_path: Path) -> None:
    for turn in range(0, 6, 2):  # half of the caches are empty, half hold a damaged copy
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PPI_TRAIN_CACHE", str(tmp_path / f"cache-{turn}"))
            flip_a_byte(resolve_checkpoint(place.trained).folder / WEIGHTS)
    command = [sys.executable, "-c", _ONE_OF_MANY, place.trained, str(tmp_path), "6", "3"]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        told = [process.communicate(timeout=60)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0, 0], "\n".join(told)


@dataclass(frozen=True)
class Attack:
    """What a copy of a checkpoint is turned into, and what is said of it.

    `spoil` takes the folder and a pickle that writes a file when it is loaded; with `tag_agrees` the
    run's tag is that of the spoiled folder, as if its owner had logged it.
    """

    spoil: Callable[[Path, bytes], None]
    told: str
    tag_agrees: bool = False


NOT_OURS = "the checkpoint is not one of ours: "


def only_a_pickle(best: Path, content: bytes) -> None:
    shutil.rmtree(best)
    best.mkdir()
    (best / "model.pkl").write_bytes(content)


def a_pickle_beside(best: Path, content: bytes) -> None:
    (best / "model.pkl").write_bytes(content)


def a_pickle_in_a_folder_beside(best: Path, content: bytes) -> None:
    (best / "data").mkdir()
    (best / "data" / WEIGHTS).write_bytes(content)


def a_pickle_that_the_marker_names(best: Path, content: bytes) -> None:
    forge(best, "model.pkl", content)


def a_pickle_as_training_state_of_best(best: Path, content: bytes) -> None:
    (best / TRAINING_STATE).write_bytes(content)


def pickled_weights(best: Path, content: bytes) -> None:
    forge(best, WEIGHTS, content)


def weights_saved_by_torch(best: Path, content: bytes) -> None:
    torch.save({"weights": content}, best / WEIGHTS)  # a zip, as torch's own checkpoints are
    forge(best, WEIGHTS, (best / WEIGHTS).read_bytes())


def pickled_description(best: Path, content: bytes) -> None:
    forge(best, DESCRIPTION, content)


def pickled_marker(best: Path, content: bytes) -> None:
    (best / MARKER).write_bytes(content)


def marker_that_names_a_file_outside(best: Path, content: bytes) -> None:
    (best.parent / "outside").write_bytes(content)
    forge(best, "../outside", content)


def marker_that_names_a_file_of_the_system(best: Path, content: bytes) -> None:
    del content
    digests = json.loads((best / MARKER).read_text())
    (best / MARKER).write_text(json.dumps(digests | {"/etc/hostname": "0" * 64}))


def a_folder_in_place_of_the_weights(best: Path, content: bytes) -> None:
    (best / WEIGHTS).unlink()
    (best / WEIGHTS).mkdir()
    (best / WEIGHTS / WEIGHTS).write_bytes(content)


def marker_with_other_spaces(best: Path, content: bytes) -> None:
    del content
    (best / MARKER).write_text((best / MARKER).read_text() + "\n")


ATTACKS = [
    Attack(only_a_pickle, f"{NOT_OURS}it holds other files, which are not opened"),
    Attack(a_pickle_beside, f"{NOT_OURS}it holds other files, which are not opened"),
    Attack(a_pickle_in_a_folder_beside, f"{NOT_OURS}it holds other files, which are not opened"),
    Attack(a_pickle_that_the_marker_names, f"{NOT_OURS}it holds other files, which are not opened", True),
    Attack(a_pickle_as_training_state_of_best, f"{NOT_OURS}it holds other files than its marker names"),
    Attack(pickled_weights, f"{NOT_OURS}it differs from the one that the run has logged"),
    Attack(pickled_weights, f"{NOT_OURS}it cannot be read", True),
    Attack(weights_saved_by_torch, f"{NOT_OURS}it cannot be read", True),
    Attack(pickled_description, f"{NOT_OURS}it differs from the one that the run has logged"),
    Attack(pickled_description, f"{NOT_OURS}it cannot be read", True),
    Attack(pickled_marker, f"{NOT_OURS}its {MARKER} cannot be read", True),
    Attack(marker_that_names_a_file_outside, f"{NOT_OURS}it holds other files than its marker names", True),
    Attack(
        marker_that_names_a_file_of_the_system, f"{NOT_OURS}it holds other files than its marker names", True
    ),
    Attack(a_folder_in_place_of_the_weights, f"{NOT_OURS}it holds other files, which are not opened"),
    Attack(marker_with_other_spaces, f"{NOT_OURS}it differs from the one that the run has logged"),
]


def named(attack: Attack) -> str:
    return attack.spoil.__name__ + (" and a tag that agrees" if attack.tag_agrees else "")


@pytest.mark.parametrize("attack", ATTACKS, ids=named)
def test_what_is_not_ours_is_refused_and_does_not_run(
    place: Place, best: Path, live_pickle: bytes, target: Path, attack: Attack
) -> None:
    logged = tag_of(best.parent)
    attack.spoil(best, live_pickle)
    run_id = copied_run(place, best.parent, tag=tag_of(best.parent) if attack.tag_agrees else logged)
    told = refused(place, run_id)
    assert not target.exists()
    assert told.startswith(f"{attack.told}\n")
    # And once more, now that some of it may lie in the cache.
    with pytest.raises(CheckpointError, match=re.escape(attack.told)):
        resolve_checkpoint(run_id).read(with_training_state=True)
    assert not target.exists()


def test_a_name_that_leads_out_of_the_checkpoint(
    place: Place, best: Path, cache: Path, tmp_path: Path
) -> None:
    run_id = copied_run(place, best.parent, tag=tag_of(best.parent))
    location = place.client.get_run(run_id).info.artifact_uri
    if location.startswith("s3:"):
        # Clients tidy such keys up before they send them, so that this one is put there behind their backs.
        from moto.s3.models import s3_backends

        (store,) = (account["aws"] for account in s3_backends.values() if BUCKET in account["aws"].buckets)
        prefix = location.removeprefix(f"s3://{BUCKET}/")
        store.put_object(BUCKET, f"{prefix}/checkpoints/best/../../../evil/{WEIGHTS}", b"evil")
    else:
        name = "..%2F..%2F..%2Fevil"
        (tmp_path / name).write_bytes(b"evil")
        if location.startswith("mlflow-artifacts:"):
            with pytest.raises(requests.HTTPError, match="Invalid path"):
                place.client.log_artifact(run_id, str(tmp_path / name), "checkpoints/best")
            return  # this server takes no such name
        place.client.log_artifact(run_id, str(tmp_path / name), "checkpoints/best")
    told = refused(place, run_id)
    assert told.startswith(f"{NOT_OURS}it holds other files, which are not opened\n")
    assert held_in(cache) == []
    assert not list(tmp_path.rglob("evil"))


WHOLE = {"folder": "checkpoints", "step": 2, "digests": {"best": "0" * 64}}
JUNK_TAGS = {
    "no JSON": "model.pkl",
    "null": "null",
    "a list": "[1, 2]",
    "nested without end": "[" * 5000,
    "no folder": json.dumps({"step": 2, "digests": {}}),
    "digests are no mapping": json.dumps(WHOLE | {"digests": ["best"]}),
    "a step without end": json.dumps(WHOLE | {"step": float("inf")}),
    "a step that is no number": json.dumps(WHOLE | {"step": "two"}),
    "a folder above": json.dumps(WHOLE | {"folder": "../" * 9 + "etc"}),
    "a folder above by a detour": json.dumps(WHOLE | {"folder": "checkpoints/../../other"}),
    "a folder of the system": json.dumps(WHOLE | {"folder": "/etc"}),
    "a folder of another name": json.dumps(WHOLE | {"folder": "figures"}),
}


@ON_THIS_MACHINE
@pytest.mark.parametrize("tag", JUNK_TAGS.values(), ids=JUNK_TAGS.keys())
def test_a_tag_that_is_not_ours_names_no_checkpoint(place: Place, tag: str, cache: Path) -> None:
    run_id = run_by_hand(place, mode="train_only", checkpoints=tag)
    assert refused(place, run_id).startswith("the run has no finished checkpoint\n")
    assert not cache.exists()


JUNK_DIGESTS = ["../" * 21 + "x", "/etc/passwd", "0" * 63, "A" * 64, "٠" * 64, ".", ""]


@ON_THIS_MACHINE
@pytest.mark.parametrize("digest", JUNK_DIGESTS)
def test_a_digest_that_is_none_becomes_no_path(place: Place, best: Path, digest: str, tmp_path: Path) -> None:
    run_id = copied_run(place, best.parent, tag=tag_of(best.parent, best=digest))
    before = set(tmp_path.rglob("*"))
    told = refused(place, run_id)
    assert told.startswith("the checkpoint is not one of ours\n")
    assert f"got: digest {digest!r}" in told
    assert set(tmp_path.rglob("*")) == before


@pytest.fixture
def killed(place: Place, tmp_path: Path) -> Path:
    """Copies of the trained run's checkpoints, for a run that was killed; to be spoiled."""
    return Path(shutil.copytree(place.checkpoints, tmp_path / "checkpoints"))


def refused_to_resume(place: Place, run_id: str, output: Path) -> str:
    """What resuming ends with, on a machine where the run has never been; both runs are FAILED by it."""
    with pytest.raises(CheckpointError) as caught:
        execute_pipeline("resume", {"run_id": run_id, "output_dir": str(output)})
    continued = place.client.get_run(run_id)
    assert continued.info.status == "FAILED"
    assert continued.data.tags["ppi.error"] == str(caught.value)
    return failed(place, "resume", caught.value)


def test_a_killed_run_is_resumed_from_the_store_alone(place: Place, killed: Path, tmp_path: Path) -> None:
    run_id = copied_run(place, killed, tag=tag_of(killed), status="KILLED")
    execute_pipeline("resume", {"run_id": run_id, "output_dir": str(tmp_path / "runs")})
    assert place.client.get_run(run_id).info.status == "FINISHED"


@pytest.mark.parametrize("by_torch", [False, True], ids=["pickle", "torch.save"])
def test_a_pickled_training_state_does_not_run_on_resume(
    place: Place, killed: Path, live_pickle: bytes, target: Path, tmp_path: Path, by_torch: bool
) -> None:
    if by_torch:
        torch.save({"step": WritesAFile(target)}, tmp_path / "saved")
        live_pickle = (tmp_path / "saved").read_bytes()
    logged = tag_of(killed)
    forge(killed / "last", TRAINING_STATE, live_pickle)
    # Whoever can only change the artifacts; and whoever can change the run as well.
    run_id = copied_run(place, killed, tag=logged, status="KILLED")
    told = refused_to_resume(place, run_id, tmp_path / "runs")
    assert told.startswith(f"{NOT_OURS}it differs from the one that the run has logged\n")
    place.client.set_tag(run_id, TAG, tag_of(killed))
    told = refused_to_resume(place, run_id, tmp_path / "runs")
    assert told.startswith(f"{NOT_OURS}its training state cannot be read\n")
    assert "anything else could run code" in told
    assert not target.exists()
    if by_torch:
        torch.load(tmp_path / "saved", weights_only=False)
        assert target.exists()
        target.unlink()


@ON_RUNS
@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION, TRAINING_STATE])
def test_one_flipped_byte_in_last_stops_a_resume(
    place: Place, killed: Path, tmp_path: Path, name: str
) -> None:
    flip_a_byte(killed / "last" / name)
    run_id = copied_run(place, killed, tag=tag_of(killed), status="KILLED")
    told = refused_to_resume(place, run_id, tmp_path / "runs")
    assert told.startswith("a file of the checkpoint was altered after it was written\n")
    assert f"checkpoints/last of run {run_id}" in told


@pytest.mark.slow
def test_an_artifact_store_that_does_not_answer_is_named(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    data_dir: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The run is whole in its outbox, and the message says what does not answer."""
    uri = request.getfixturevalue("s3_server")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:9")  # nothing listens there
    client = mlflow.MlflowClient(uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", client.create_experiment(f"mute-{time.time_ns()}"))
    given = {"epochs": 1, "data_dir": str(data_dir), "output_dir": str(tmp_path / "runs")}
    result = execute_pipeline("train_only", given | {"tracking_flush_seconds": 10})
    assert "records of the run are not on the tracking server yet" in caplog.text
    assert "127.0.0.1:9" in caplog.text
    assert (tmp_path / "runs" / result.run_id / "outbox.db").is_file()
