"""Tests of a prediction that is killed and continued.

It computes only the missing parts, and the table has the same bytes.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppi_train.embeddings.cache.parts import parts_folder
from tests.support import ROOT

PROGRAM = ROOT / "tests" / "support" / "prediction_process.py"
PAIRS = 90 * 89 // 2


def start(output: Path, blocks: int, *options: str) -> subprocess.Popen[str]:
    """A process that stops after some blocks."""
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(output), str(blocks), *options],
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


def tasks_done(output: Path) -> int:
    return len(list(parts_folder(output).glob("*.parquet")))


def wait_for(process: subprocess.Popen[str], output: Path, tasks: int) -> None:
    for _ in range(30_000):
        assert process.poll() is None, process.communicate()
        if tasks_done(output) == tasks:
            return
        time.sleep(0.01)
    process.kill()
    raise AssertionError(process.communicate())


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        pytest.param(".parquet", (), id="threshold", marks=pytest.mark.slow),
        pytest.param(".csv", ("3",), id="top_k"),
    ],
)
def test_killed_it_goes_on_to_the_same_bytes(suffix: str, options: tuple[str, ...], tmp_path: Path) -> None:
    output, whole = tmp_path / f"killed{suffix}", tmp_path / f"whole{suffix}"
    for done in (3, 5):
        process = start(output, done - tasks_done(output), *options)
        wait_for(process, output, done)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not output.exists()
    counts, log = finish(start(output, 1000, *options))
    assert re.search(rf"going on: [\d,]+ of {PAIRS:,} pairs are scored", log)
    assert 0 < counts["scored"] < counts["pairs"] == PAIRS
    uninterrupted, _ = finish(start(whole, 1000, *options))
    assert uninterrupted == {**counts, "scored": PAIRS}
    assert 0 < counts["kept"] < PAIRS
    assert output.read_bytes() == whole.read_bytes()
    assert output.with_suffix(".tsv").read_bytes() == whole.with_suffix(".tsv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"killed{suffix}", "killed.tsv", f"whole{suffix}", "whole.tsv",
    ]  # fmt: skip
