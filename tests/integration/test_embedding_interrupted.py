"""Tests of embedding that is killed, run twice, or out of disk.

It continues, and the cache has the same bytes.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ppi_train.data.fasta import write_fasta
from ppi_train.embeddings.cache.parts import parts_folder
from ppi_train.embeddings.cache.reader import EmbeddingCache
from tests.support import ROOT

PROGRAM = ROOT / "tests" / "support" / "embedding_process.py"
MEMORY_PROGRAM = ROOT / "tests" / "support" / "embedding_memory.py"
PROTEINS = 200
BYTES_A_VECTOR = 256 * 4
GRANULARITIES = ("protein", "residue")


def start(
    fasta: Path, output: Path, granularity: str = "protein", seconds: float = 0.0
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(fasta), str(output), granularity, str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[dict[str, int], str]:
    """The counts that the process tells, and its log."""
    told, log = process.communicate(timeout=120)
    assert process.returncode == 0, log
    words = told.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True)), log


def parts_of(output: Path) -> list[Path]:
    return list(parts_folder(output).glob("[0-9]*-*.parquet"))


def wait_for_parts(process: subprocess.Popen[str], output: Path, number: int) -> None:
    while len(parts_of(output)) < number:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


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


@pytest.fixture(scope="module")
def uninterrupted(fasta: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The cache of each granularity, made in one go."""
    return {
        granularity: _made_in_one_go(fasta, tmp_path_factory.mktemp("whole"), granularity)
        for granularity in GRANULARITIES
    }


def _made_in_one_go(fasta: Path, folder: Path, granularity: str) -> bytes:
    counts, _ = finish(start(fasta, folder / "cache.parquet", granularity))
    assert counts == {"embedded": PROTEINS, "reused": 0}
    assert [path.name for path in folder.iterdir()] == ["cache.parquet"]
    return (folder / "cache.parquet").read_bytes()


@pytest.mark.parametrize("granularity", ["protein", pytest.param("residue", marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(
    fasta: Path, granularity: str, uninterrupted: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "cache.parquet"
    moments = random.Random(granularity)
    kept = 0
    for _ in range(3):
        process = start(fasta, output, granularity, 0.05)
        wait_for_parts(process, output, kept + 1)
        time.sleep(moments.uniform(0, 0.2))
        kill(process)
        assert len(parts_of(output)) > kept
        assert not output.exists()
        kept = len(parts_of(output))
    embedded = sum(len(EmbeddingCache(part)) for part in parts_of(output))
    counts, log = finish(start(fasta, output, granularity))
    assert counts == {"embedded": PROTEINS - embedded, "reused": embedded}
    assert f"going on: {embedded} of {PROTEINS} sequences are embedded" in log
    assert output.read_bytes() == uninterrupted[granularity]
    assert [path.name for path in tmp_path.iterdir()] == ["cache.parquet"]


@pytest.mark.slow
def test_killed_while_it_assembles_and_cleans_up(
    fasta: Path, uninterrupted: dict[str, bytes], tmp_path: Path
) -> None:
    """From the last part on, in steps of a few milliseconds: whatever is left, the next one mends."""
    output = tmp_path / "cache.parquet"
    states = set()
    for delay in (0.0, 0.004, 0.01):
        process = start(fasta, output)
        while process.poll() is None and not (parts_folder(output) / "whole.parquet").exists():
            if list(parts_folder(output).glob(".whole*")):
                break
        time.sleep(delay)
        process.kill()
        process.communicate()
        states.add((output.exists(), parts_folder(output).exists()))
        finish(start(fasta, output))
        assert output.read_bytes() == uninterrupted["protein"]
        assert not parts_folder(output).exists()
        output.unlink()
    assert (False, True) in states  # killed before the cache was whole


def test_a_damaged_part_is_embedded_again(
    fasta: Path, uninterrupted: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "cache.parquet"
    process = start(fasta, output, seconds=0.05)
    wait_for_parts(process, output, 4)
    kill(process)
    short, flipped, *whole = sorted(parts_of(output))
    intact = sum(len(EmbeddingCache(part)) for part in whole)
    short.write_bytes(short.read_bytes()[:-9])
    content = bytearray(flipped.read_bytes())
    content[len(content) // 3] ^= 1
    flipped.write_bytes(content)
    (parts_folder(output) / "unfinished.parquet").write_bytes(whole[0].read_bytes())
    counts, log = finish(start(fasta, output))
    assert counts["reused"] == intact
    for path in (short, flipped):
        assert f"{path} is damaged; its sequences are embedded again" in log
    assert output.read_bytes() == uninterrupted["protein"]


def test_the_parts_of_a_killed_one_serve_a_changed_fasta_beside_it(fasta: Path, tmp_path: Path) -> None:
    output = tmp_path / "cache.parquet"
    process = start(fasta, output, seconds=0.05)
    wait_for_parts(process, output, 4)
    kill(process)
    left = sorted(parts_of(output))
    embedded = sum(len(EmbeddingCache(part)) for part in left)
    changed = tmp_path / "changed.fasta"
    changed.write_text(fasta.read_text() + ">NEW\nMKVLAW\n")
    counts, _ = finish(start(changed, tmp_path / "other.parquet"))
    assert counts == {"embedded": PROTEINS + 1 - embedded, "reused": embedded}
    assert sorted(parts_of(output)) == left


def test_of_two_processes_one_waits_and_finds_the_cache(
    fasta: Path, uninterrupted: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "cache.parquet"
    first = start(fasta, output, seconds=0.02)
    wait_for_parts(first, output, 1)
    first.send_signal(signal.SIGSTOP)  # until the others are there
    others = [start(fasta, output) for _ in range(2)]
    for other in others:
        assert other.stderr
        assert other.stderr.readline() == f"process {first.pid} is making {output}: waiting for it to end\n"
    first.send_signal(signal.SIGCONT)
    assert finish(first)[0] == {"embedded": PROTEINS, "reused": 0}
    for other in others:
        counts, log = finish(other)
        assert counts == {"embedded": 0, "reused": PROTEINS}
        assert f"embedding cache found: {output}" in log
    assert output.read_bytes() == uninterrupted["protein"]
    assert [path.name for path in tmp_path.iterdir()] == ["cache.parquet"]


def test_the_waiting_process_takes_over_from_a_killed_one(
    fasta: Path, uninterrupted: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "cache.parquet"
    first = start(fasta, output, seconds=0.2)
    wait_for_parts(first, output, 1)
    second = start(fasta, output)
    assert second.stderr
    assert f"process {first.pid} is making" in second.stderr.readline()
    kill(first)
    counts, _ = finish(second)
    assert counts["reused"] > 0
    assert output.read_bytes() == uninterrupted["protein"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk, which `resize` makes larger or smaller."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def resize(disk: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def payload(path: Path, granularity: str) -> int:
    cache = EmbeddingCache(path)
    return sum(cache.lengths.values()) if granularity == "residue" else len(cache)


def used(disk: Path) -> int:
    status = os.statvfs(disk)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@pytest.mark.slow
@pytest.mark.parametrize("granularity", ["protein", "residue"])
def test_a_disk_that_fills_up(
    fasta: Path, granularity: str, uninterrupted: dict[str, bytes], small_disk: Path, tmp_path: Path
) -> None:
    """While it embeds, and again while it assembles; each time what is finished stays and is used."""
    output = small_disk / "cache.parquet"
    size = len(uninterrupted[granularity])
    resize(small_disk, size // 2)
    log = refused(fasta, output, granularity)
    assert "sequences are embedded, and kept" in log
    assert "MB are to be written" in log
    embedded = sum(len(EmbeddingCache(part)) for part in parts_of(output))
    assert 0 < embedded < PROTEINS
    # Room for all parts and the plan, which take whole pages, and for half of the cache beside them.
    (plan,) = parts_folder(output).glob("plan-*")
    values = sum(payload(part, granularity) for part in parts_of(output)) * BYTES_A_VECTOR
    tasks = pq.ParquetFile(plan).num_row_groups
    whole = tmp_path / "whole.parquet"
    whole.write_bytes(uninterrupted[granularity])
    overhead = (used(small_disk) - plan.stat().st_size - values) / len(parts_of(output)) * tasks
    all_parts = payload(whole, granularity) * BYTES_A_VECTOR + overhead
    resize(small_disk, int(all_parts + plan.stat().st_size + size / 2))
    log = refused(fasta, output, granularity)
    assert f"going on: {embedded} of {PROTEINS} sequences" in log
    assert f"{PROTEINS} of {PROTEINS} sequences are embedded, and kept" in log
    resize(small_disk, size * 4)
    counts, _ = finish(start(fasta, output, granularity))
    assert counts == {"embedded": 0, "reused": PROTEINS}
    assert output.read_bytes() == uninterrupted[granularity]
    assert [path.name for path in small_disk.iterdir()] == ["cache.parquet"]


def refused(fasta: Path, output: Path, granularity: str) -> str:
    process = start(fasta, output, granularity, 0.01)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 1
    told = log[log.index("StorageError: ") :]
    assert told.startswith(f"StorageError: the disk is full\n  where: {output}\n  got: ")
    assert re.search(r"expected: about [\d.,]+ MB for what is left to write\n  to do: make room", told)
    assert not output.exists()
    return log


@pytest.mark.slow
def test_memory_follows_from_the_bound_and_not_from_the_cache(tmp_path: Path) -> None:
    """A cache of 800 MB, with at most 16 MB of embeddings at once beside what the writer gathers."""
    output = tmp_path / "cache.parquet"
    process = subprocess.run(
        [sys.executable, str(MEMORY_PROGRAM), str(output), "800", "16000000"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert output.stat().st_size > 800_000_000
    assert int(process.stdout) < 450_000_000
