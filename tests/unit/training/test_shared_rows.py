"""Tests of the memory through which the ranks on a machine exchange gradients."""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ppi_train.training import shared_rows
from ppi_train.training.shared_rows import make_rows, open_rows

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows memory as files")


@pytest.fixture
def path() -> Iterator[Path]:
    made = make_rows(2, 5)
    assert made is not None
    yield made
    made.unlink(missing_ok=True)


def _write(path: Path, row: int) -> None:
    rows = open_rows(path, 2, 5)
    assert rows is not None
    rows[row] = torch.arange(5.0) + row


def test_each_process_sees_what_the_others_write_even_without_the_file(path: Path) -> None:
    rows = open_rows(path, 2, 5)
    assert rows is not None
    writer = multiprocessing.get_context("spawn").Process(target=_write, args=(path, 1))
    writer.start()
    writer.join(60)
    path.unlink()
    rows[0] = 7.0
    assert rows.tolist() == [[7.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]]


def test_another_user_cannot_open_it(path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0


def test_a_file_of_another_machine_or_size_is_not_opened(path: Path) -> None:
    assert open_rows(path, 2, 6) is None
    path.unlink()
    assert open_rows(path, 2, 5) is None


def test_without_room_or_folder_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir=shared_rows.FOLDER) as name:
        monkeypatch.setattr(shared_rows, "FOLDER", Path(name))
        assert make_rows(2, 2**50) is None
        assert list(Path(name).iterdir()) == []
    monkeypatch.setattr(shared_rows, "FOLDER", tmp_path / "absent")
    assert make_rows(2, 5) is None
