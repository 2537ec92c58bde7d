"""Tests of embedding on workers: the same bytes for any number, whatever is killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import psutil
import pytest

from ppi_train.data.fasta import write_fasta
from ppi_train.embeddings.cache.parts import parts_folder
from ppi_train.errors import ClusterError
from ppi_train.parallel.options import ParallelOptions
from ppi_train.parallel.pool import worker_pool
from tests.support import ROOT
from tests.support.pool_tasks import NamedJob, square
from tests.support.processes import descendants

PROGRAM = ROOT / "tests" / "support" / "embedding_process.py"
SLURM = ROOT / "tests" / "support" / "slurm"
PROTEINS = 200


@pytest.fixture(scope="module")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("fasta") / "proteins.fasta"
    sequences = {
        f"P{number:03}": "".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=rng.randint(5, 120)))
        for number in range(PROTEINS)
    }
    write_fasta(path, sequences)
    return path


def start(fasta: Path, output: Path, seconds: float, workers: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(fasta), str(output), "residue", str(seconds), str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> dict[str, int]:
    """The counts that the process prints."""
    printed, log = process.communicate(timeout=120)
    assert process.returncode == 0, log
    words = printed.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


def parts_of(output: Path) -> list[Path]:
    return list(parts_folder(output).glob("[0-9]*-*.parquet"))


def wait_for_parts(process: subprocess.Popen[str], output: Path, number: int) -> None:
    while len(parts_of(output)) < number:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def alone(fasta: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The cache that one process makes."""
    output = tmp_path_factory.mktemp("alone") / "cache.parquet"
    finish(start(fasta, output, 0))
    return output.read_bytes()


@pytest.mark.parametrize(
    "workers", [2, pytest.param(1, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
def test_the_same_bytes_for_any_number_of_workers(
    fasta: Path, alone: bytes, workers: int, tmp_path: Path
) -> None:
    output = tmp_path / "cache.parquet"
    counts = finish(start(fasta, output, 0, workers))
    assert counts == {"embedded": PROTEINS, "reused": 0, "retried": 0}
    assert output.read_bytes() == alone
    assert [path.name for path in tmp_path.iterdir()] == ["cache.parquet"]


@pytest.mark.slow
def test_workers_that_are_killed_at_random_moments(fasta: Path, alone: bytes, tmp_path: Path) -> None:
    output = tmp_path / "cache.parquet"
    process = start(fasta, output, 0.4, workers=2)
    moments = random.Random(1)
    wait_for_parts(process, output, 1)
    for _ in range(5):
        time.sleep(moments.uniform(0.2, 1.5))
        if workers := descendants(process.pid, "multiprocessing.spawn"):
            moments.choice(workers).kill()
    counts = finish(process)
    assert counts["embedded"] == PROTEINS
    assert 1 <= counts["retried"] <= 5
    assert output.read_bytes() == alone
    assert [path.name for path in tmp_path.iterdir()] == ["cache.parquet"]


@pytest.mark.slow
def test_the_command_goes_on_after_it_was_killed(fasta: Path, alone: bytes, tmp_path: Path) -> None:
    output = tmp_path / "cache.parquet"
    process = start(fasta, output, 0.2, workers=2)
    wait_for_parts(process, output, 4)
    workers = descendants(process.pid, "multiprocessing.spawn")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    psutil.wait_procs(workers, timeout=10)
    assert not any(worker.is_running() for worker in workers), "workers outlive the command"
    counts = finish(start(fasta, output, 0, workers=2))
    assert counts["reused"] > 0
    assert counts["embedded"] + counts["reused"] == PROTEINS
    assert output.read_bytes() == alone


@pytest.mark.slow
def test_what_a_worker_still_writes_is_not_removed(fasta: Path, alone: bytes, tmp_path: Path) -> None:
    output = tmp_path / "cache.parquet"
    process = start(fasta, output, 0.2)
    wait_for_parts(process, output, 2)
    process.kill()
    process.communicate()
    still = parts_folder(output) / ".000009.0a1b2c.unfinished.0a1b2c.partial"
    still.write_bytes(b"half")
    process = start(fasta, output, 0.2)
    wait_for_parts(process, output, 4)
    assert still.exists()
    finish(process)
    assert output.read_bytes() == alone


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A description of a cluster; its commands start jobs on this machine."""
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    monkeypatch.setenv("SLURM_STAND_IN", str(jobs))
    monkeypatch.setenv("PATH", f"{SLURM}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "slurm.yaml"
    path.write_text("cores: 1\nprocesses: 1\nmemory: 1GB\ninterface: lo\n")
    return path


@pytest.mark.slow
def test_workers_by_slurm(slurm: Path) -> None:
    options = ParallelOptions(cluster=f"slurm:{slurm}", workers=2)
    with worker_pool(options) as pool:
        found = list(pool.run(square, NamedJob("x"), range(20)))
        assert sorted(found) == [(number, f"x{number * number}") for number in range(20)]
        assert all(address.startswith("tls://127.0.0.1:") for address in pool.everywhere(os.getpid))
        (folder,) = slurm.parent.glob(".ppi_train-workers-*")
        assert (folder / "key.pem").exists()
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


@pytest.mark.slow
def test_ctrl_c_ends_a_command_that_waits_for_slurm(
    slurm: Path, fasta: Path, store: mlflow.MlflowClient, data_dir: Path
) -> None:
    """The import of dask-jobqueue takes SIGINT for itself, and then ends a program with exit code 0."""
    command = [sys.executable, "-m", "entry_points.embed", "--fasta", str(fasta), "--output", "cache.parquet"]
    given = ["--cluster", f"slurm:{slurm}", "--workers", "1", "--data_dir", str(data_dir)]
    with subprocess.Popen([*command, *given], stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr
        while "waiting for the first of 1 workers" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=120)
    assert process.returncode == 130, log
    (run,) = store.search_runs([os.environ["MLFLOW_EXPERIMENT_ID"]])
    assert run.info.status == "KILLED"


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ("cores: 1\nsecurity: true\n", "security"),
        ("- cores\n", "a list"),
        ("core: 1\n", "'core'"),
        ("a: [", "while"),
    ],
)
def test_a_file_of_a_cluster_that_cannot_be_used(slurm: Path, content: str, got: str) -> None:
    slurm.write_text(content)
    with (
        pytest.raises(ValueError, match="the file of the cluster") as caught,
        worker_pool(ParallelOptions(cluster=f"slurm:{slurm}", workers=2)),
    ):
        pass
    assert got in str(caught.value)


def test_slurm_without_its_commands(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with (
        pytest.raises(ClusterError, match="the command sbatch is not there"),
        worker_pool(ParallelOptions(cluster=f"slurm:{slurm}", workers=2)),
    ):
        pass
