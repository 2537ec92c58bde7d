"""Tests of errors of the system that end a mode as one message."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from ppi_train.errors import MemoryShortageError, StorageError
from ppi_train.modes.faults import reported_faults

PARAMETERS = {"batch_size": None, "hidden_dim": 4096, "members": 4, "epochs": 3, "max_length": None}
LOWER = "to do: lower hidden_dim=4096, members=4, batch_size; or use a machine with more memory"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 8.00 EiB for an array"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_memory_that_ran_out_names_what_to_lower(error: Exception) -> None:
    with pytest.raises(MemoryShortageError, match="memory ran out") as caught, reported_faults(PARAMETERS):
        raise error
    assert LOWER in str(caught.value)


def test_memory_that_torch_cannot_have() -> None:
    with pytest.raises(MemoryShortageError, match="tried to allocate"), reported_faults({}):
        torch.empty(1 << 50)


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EMFILE, "the process has too many open files"),
        (errno.EACCES, "a path cannot be used"),
        (errno.EROFS, "a path cannot be used"),
        (errno.ENAMETOOLONG, "a path cannot be used"),
        (errno.ESTALE, "a path cannot be used"),
    ],
)
def test_a_path_that_cannot_be_used_is_named(number: int, what: str) -> None:
    with pytest.raises(StorageError, match=what) as caught, reported_faults({}):
        raise OSError(number, os.strerror(number), "/lab/x.parquet")
    assert "where: /lab/x.parquet" in str(caught.value)


def test_a_name_that_is_not_text(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="not text in UTF-8"), reported_faults({}):
        str(tmp_path / "\udcff").encode()


@pytest.mark.parametrize(
    "error", [OSError("no number"), RuntimeError("a bug"), ValueError("a bug"), KeyError("x")]
)
def test_a_bug_stays_a_bug(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, reported_faults(PARAMETERS):
        raise error
    assert caught.value is error
