"""Tests of predictions by workers: the same bytes for any number of them, whoever is killed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ppi_train.embeddings.cache.parts import parts_folder
from tests.support import ROOT
from tests.support.processes import descendants
from tests.support.scan_by_workers import PROTEINS, predict

pytestmark = pytest.mark.slow

PROGRAM = ROOT / "tests" / "support" / "scan_by_workers.py"
PAIRS = PROTEINS * (PROTEINS - 1) // 2
# The blocks below the diagonal are not scored.
TASKS = 10


def digest(path: Path) -> str:
    """Of a file, or of the manifest of a folder, which has the digests of its files."""
    return hashlib.sha256((path / "_manifest.json" if path.is_dir() else path).read_bytes()).hexdigest()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that scans with two workers."""
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(tmp_path / "killed.parquet"), "2", "3"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def parts(output: Path) -> list[Path]:
    return list(parts_folder(output).glob("0*.parquet"))


def wait_for_parts(process: subprocess.Popen[str], output: Path, count: int) -> None:
    for _ in range(12_000):
        if len(parts(output)) >= count:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError(f"fewer than {count} parts")


@pytest.mark.parametrize(
    ("name", "top_k", "numbers"),
    [("best.parquet", 3, (1, 2, 3)), ("above.tsv", None, (2,)), ("folder", 3, (2,))],
)
def test_the_output_is_the_same_for_any_number_of_workers(
    name: str, top_k: int | None, numbers: tuple[int, ...], tmp_path: Path
) -> None:
    found = set()
    for workers in (None, *numbers):
        output = tmp_path / str(workers) / name
        output.parent.mkdir()
        counts = predict(output, workers, top_k)
        assert counts.scored == PAIRS
        assert [path.name for path in output.parent.iterdir()] == [name]
        found.add(digest(output))
    assert len(found) == 1


def test_workers_that_are_killed_cost_a_task_each(client: subprocess.Popen[str], tmp_path: Path) -> None:
    output, whole = tmp_path / "killed.parquet", tmp_path / "whole.parquet"
    for done in (1, 3):
        wait_for_parts(client, output, done)
        descendants(client.pid, "spawn_main")[0].kill()
    told, log = client.communicate(timeout=120)
    assert client.returncode == 0, log
    assert told.split() == ["pairs", str(PAIRS), "scored", str(PAIRS), "tasks", str(TASKS)]
    assert log.count("its task is done again") <= 2
    predict(whole, None, 3)
    assert digest(output) == digest(whole)


def test_a_client_that_is_killed_is_gone_on_with(client: subprocess.Popen[str], tmp_path: Path) -> None:
    output, whole = tmp_path / "killed.parquet", tmp_path / "whole.parquet"
    wait_for_parts(client, output, 3)
    workers = descendants(client.pid, "spawn_main")
    client.kill()
    client.communicate()
    assert client.returncode == -signal.SIGKILL
    assert not output.exists()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive  # workers do not outlive the client
    done = len(parts(output))
    assert 3 <= done <= TASKS
    counts = predict(output, 2, 3)
    assert counts.tasks == TASKS - done
    predict(whole, None, 3)
    assert digest(output) == digest(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.parquet", "whole.parquet"]
