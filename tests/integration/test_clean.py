"""Tests of `clean` on files and runs of the other modes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest

from ppi_train.data.benchmarks import CATALOGUE, local_path
from ppi_train.data.fasta import write_fasta
from ppi_train.errors import StorageError
from ppi_train.modes import PipelineResult, execute_pipeline
from ppi_train.modes.clean.items import items_of_data, items_of_runs
from ppi_train.tracking.run import TrackedRun, Tracking
from ppi_train.tracking.run_folder import run_folder

PROTEINS = {"A": "MKTAYIAKQRQISFVKSHFSRQ", "B": "MSLLTEVETYVLSIIPSGPLKAEIAQRLEDVFAGK"}
_HOLD = """
import sys, time
from ppi_train.io.files import lock_file
lock = open(sys.argv[1], "a+")
lock_file(lock, print)
print("locked", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _here(
    store: mlflow.MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    del store
    monkeypatch.setenv("PPI_TRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", "ppi_train")


def clean(**parameters: object) -> PipelineResult:
    return execute_pipeline("clean", parameters)


def embed() -> Path:
    write_fasta(Path("proteins.fasta"), PROTEINS)
    return Path(execute_pipeline("embed", {"fasta": "proteins.fasta"}).outputs["embeddings"])


def finished_run(**settings: object) -> Path:
    """The folder of a run that has ended, with a file that it has uploaded."""
    tracking = Tracking(folder=Path("runs"), **settings)  # type: ignore[arg-type]
    with (
        TrackedRun("train_only", tracking=tracking, system_metrics=False) as run,
        run_folder("runs", run.run_id) as folder,
    ):
        (folder / "config.yaml").write_text("epochs: 1\n")
        run.log_file(folder / "config.yaml")
    return folder


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_without_free_all_is_listed_and_nothing_removed(caplog: pytest.LogCaptureFixture) -> None:
    execute_pipeline("prepare_data", {})
    cache, folder = embed(), finished_run()
    Path("data/notes.txt").write_text("mine")
    before = files(Path("data")) | files(Path("runs"))
    result = clean()
    assert files(Path("data")) | files(Path("runs")) == before
    for path in (cache, folder, Path("data/example"), Path("data/notes.txt")):
        assert f" {path}" in caplog.text
    listed = sum(len(data) for path, data in before.items() if path.name != "notes.txt")
    assert result.metrics == {"clean/listed_bytes": listed, "clean/freed_bytes": 0}


def test_folders_that_do_not_exist() -> None:
    result = clean(data_dir="absent", output_dir="none_yet", free="downloads,runs,embeddings,checkpoints")
    assert result.metrics == {"clean/listed_bytes": 0, "clean/freed_bytes": 0}
    assert not Path("absent").exists()


def test_embeddings_are_freed_and_made_again() -> None:
    cache = embed()
    content, size = cache.read_bytes(), cache.stat().st_size
    imported = cache.with_name("mine.parquet")
    imported.write_bytes(content)
    assert clean(free="embeddings").metrics["clean/freed_bytes"] == size
    assert not cache.exists()
    assert imported.exists()
    assert embed() == cache
    assert cache.read_bytes() == content


def test_a_cache_whose_name_is_not_its_recipe_is_foreign() -> None:
    cache = embed()
    other = cache.rename(cache.with_name("descriptors-0123456789abcdef.parquet"))
    assert clean(free="embeddings").metrics["clean/freed_bytes"] == 0
    assert other.exists()


def test_downloads_of_the_catalogue_alone_are_freed() -> None:
    file = next(iter(CATALOGUE["bernett"].files.values()))
    ours, foreign = local_path(file, Path("data")), Path("data/downloads/mine/notes.txt")
    for path in (ours, foreign):
        path.parent.mkdir(parents=True)
        path.write_text("12345")
    assert clean(free="downloads").metrics["clean/freed_bytes"] == 5
    assert not ours.exists()
    assert foreign.exists()


def test_studies_are_listed_and_kept() -> None:
    folder = Path("data/sweeps")
    (folder / "mine.scores").mkdir(parents=True)
    for name in ("mine.db", "mine.db.owner", "mine.scores/0.float32"):
        (folder / name).write_text("12345")
    assert clean().metrics["clean/listed_bytes"] == 15
    assert clean(free="embeddings").metrics["clean/freed_bytes"] == 0


def test_similarity_results_and_parts_are_freed() -> None:
    result, part = Path("data/similarity") / f"{'a' * 64}.npz", Path("data/embeddings/.x.parquet.parts")
    result.parent.mkdir(parents=True)
    result.write_bytes(b"123")
    part.mkdir(parents=True)
    (part / "lock").write_text("1")
    (part / f"{'b' * 64}.parquet").write_bytes(b"1234")
    assert clean(free="similarity,parts").metrics["clean/freed_bytes"] == 8
    assert list(Path("data").rglob("*.*")) == []


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_a_run_that_is_fully_sent_is_freed(store: mlflow.MlflowClient, status: str) -> None:
    folder = finished_run()
    store.set_terminated(folder.name, status)
    assert clean(free="runs").metrics["clean/freed_bytes"] > 0
    assert not folder.exists()
    assert [file.path for file in store.list_artifacts(folder.name)] == ["config.yaml"]


def test_a_run_that_was_made_offline_is_kept_until_it_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    folder = finished_run(offline=True)
    before = files(folder)
    clean(free="runs")
    assert files(folder) == before
    assert f"sync -P journal={folder / 'outbox.db'}" in caplog.text
    execute_pipeline("sync", {})
    clean(free="runs")
    assert not folder.exists()


def test_refused_records_are_kept() -> None:
    folder = finished_run()
    (folder / "refused-1-ab-outbox.db").write_bytes(b"1")
    clean(free="runs")
    assert (folder / "config.yaml").exists()


@pytest.mark.parametrize("status", ["RUNNING", "deleted"])
def test_a_run_that_the_server_lacks_or_runs_is_kept(store: mlflow.MlflowClient, status: str) -> None:
    folder = finished_run()
    if status == "deleted":
        store.delete_run(folder.name)
    else:
        store.update_run(folder.name, status=status)
    clean(free="runs")
    assert (folder / "config.yaml").exists()


def test_a_run_that_a_process_has_locked_is_kept(holding: Callable[[Path], None]) -> None:
    folder, cache = finished_run(), embed()
    holding(folder / "lock")
    clean(free="runs,embeddings")
    assert (folder / "config.yaml").exists()
    assert cache.exists(), "the run may read it"


def test_parts_that_a_process_has_locked_are_kept(holding: Callable[[Path], None]) -> None:
    parts = Path("data/embeddings/.x.parquet.parts")
    parts.mkdir(parents=True)
    holding(parts / "lock")
    clean(free="parts")
    assert (parts / "lock").exists()


@pytest.fixture
def holding() -> Iterator[Callable[[Path], None]]:
    """Locks a file in a process of its own."""
    processes: list[subprocess.Popen[str]] = []

    def hold(path: Path) -> None:
        command = [sys.executable, "-c", _HOLD, str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"

    yield hold
    for process in processes:
        process.kill()
        process.communicate()


def test_foreign_files_and_links_keep_a_run() -> None:
    with_file, with_link = finished_run(), finished_run()
    (with_file / "checkpoints").mkdir()
    (with_file / "checkpoints" / "notes.txt").write_text("mine")
    outside = Path("outside")
    outside.mkdir()
    (outside / "precious.tsv").write_text("1")
    (with_link / "figures").symlink_to(outside.absolute())
    clean(free="runs")
    assert (with_file / "config.yaml").exists()
    assert (with_link / "figures" / "precious.tsv").exists()


def test_links_are_neither_followed_nor_removed() -> None:
    cache = embed()
    Path("data/embeddings").rename("elsewhere")
    Path("data/embeddings").symlink_to(Path("elsewhere").absolute())
    folder = finished_run()
    Path("other").mkdir()
    moved = folder.rename(Path("other") / folder.name)
    folder.symlink_to(moved.absolute())
    assert clean(free="embeddings,runs,parts").metrics["clean/freed_bytes"] == 0
    assert cache.exists()
    assert (moved / "config.yaml").exists()
    assert folder.is_symlink()


def test_only_what_is_old_is_removed() -> None:
    old, young = finished_run(), finished_run()
    month_ago = time.time() - 31 * 24 * 3600
    for path in old.iterdir():
        os.utime(path, (month_ago, month_ago))
    clean(free="runs", older_than_days=30)
    assert not old.exists()
    assert young.exists()


def test_a_downloaded_checkpoint_is_freed() -> None:
    folder = Path("cache/checkpoints") / ("c" * 64)
    folder.mkdir(parents=True)
    (folder / "COMPLETE.json").write_text("{}")
    foreign = folder.with_name("mine")
    foreign.mkdir()
    assert clean(free="checkpoints").metrics["clean/freed_bytes"] == 2
    assert not folder.exists()
    assert foreign.exists()


def test_what_cannot_be_removed_is_an_error_and_the_rest_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [Path("data/similarity") / f"{letter * 64}.npz" for letter in "ab"]
    results[0].parent.mkdir(parents=True)
    for path in results:
        path.write_bytes(b"1")
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == results[0]:
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageError, match="1 of what was to be freed"):
        clean(free="similarity")
    assert [path.exists() for path in results] == [True, False]


@pytest.mark.slow
def test_two_at_once_do_not_fail() -> None:
    folders = [finished_run() for _ in range(4)]
    command = [sys.executable, "-m", "ppi_train", "clean", "--free", "runs,similarity"]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert [folder.exists() for folder in folders] == [False] * 4


def test_what_a_killed_removal_has_left_is_freed() -> None:
    left = Path("runs") / f"{'d' * 32}.0123456789ab.done"
    left.mkdir(parents=True)
    (left / "config.yaml").write_text("1")
    clean(free="runs")
    assert not left.exists()


@pytest.mark.slow
def test_the_items_of_the_modes_are_all_recognised() -> None:
    run_id = execute_pipeline("train_only", {"epochs": 1, "processes": 2}).run_id
    execute_pipeline("eval_only", {"run_id": run_id})
    found = [*items_of_data(Path("data")), *items_of_runs(Path("runs"))]
    assert {item.kind for item in found} == {"prepared", "embeddings", "runs", "similarity"}
    assert [item.keep for item in found] == [""] * len(found)
