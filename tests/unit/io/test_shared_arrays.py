"""Tests of arrays that processes share: made once, mapped by all."""

from __future__ import annotations

import errno
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from ppi_train.errors import StorageError
from ppi_train.io.shared_arrays import shared_array

CONTENT = np.arange(20, dtype=np.int32).reshape(10, 2)


def made_by_this_process(path: Path) -> int:
    return int(shared_array(path, lambda: np.array([os.getpid()]))[0])


def test_one_of_several_processes_makes_an_array(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        makers = pool.map(made_by_this_process, [tmp_path / "array.npy"] * 6, chunksize=1)
    assert len(set(makers)) == 1
    assert made_by_this_process(tmp_path / "array.npy") == makers[0] != os.getpid()


@pytest.mark.parametrize("content", [CONTENT, CONTENT.T, CONTENT[:, 1].astype(np.int8)])
def test_an_array_is_mapped_as_it_was_made(tmp_path: Path, content: np.ndarray) -> None:
    path = tmp_path / "folder" / "array.npy"
    found = shared_array(path, lambda: content)
    assert isinstance(found, np.memmap)
    assert found.dtype == content.dtype
    np.testing.assert_array_equal(found, content)
    found[0] = -1  # the file is that of all processes
    np.testing.assert_array_equal(shared_array(path, lambda: CONTENT * 0), content)


def test_an_array_that_could_not_be_made_is_made_by_the_next(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        shared_array(tmp_path / "array.npy", lambda: np.array([1 // 0]))
    np.testing.assert_array_equal(shared_array(tmp_path / "array.npy", lambda: CONTENT), CONTENT)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fails(*_: object) -> None:
        raise full

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", fails)
    with pytest.raises(StorageError, match="the disk is full"):
        shared_array(tmp_path / "array.npy", lambda: CONTENT)
    assert not (tmp_path / "array.npy").exists()
