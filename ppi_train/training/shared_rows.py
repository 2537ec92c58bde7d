"""Rows of numbers in memory that the processes of one machine share.

Through it they exchange gradients in the time of a copy. A connection to the same machine takes ten times as
long, which is as long as the rest of a step of a wide model.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path("/dev/shm")
"""Where Linux shows memory as files."""
_BYTES = 4  # of a float32


def make_rows(rows: int, numbers: int) -> Path | None:
    """Makes a file of memory for so many rows of float32 numbers, which only this user can open.

    It should be removed as soon as all have opened it: the memory stays until the last one ends.

    Returns:
        The file; None where the system has no such files, or no room.
    """
    if not FOLDER.is_dir():
        return None
    path: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix="ppi_train-", dir=FOLDER)
        path = Path(name)
        try:
            # Not only its size: a process that writes to memory that is not there is killed.
            os.posix_fallocate(descriptor, 0, rows * numbers * _BYTES)
        finally:
            os.close(descriptor)
    except OSError:
        if path:
            path.unlink(missing_ok=True)
        return None
    return path


def open_rows(path: Path, rows: int, numbers: int) -> Tensor | None:
    """Opens what `make_rows` has made.

    Returns:
        (rows, numbers) float32, in memory that all processes have in common; None if the file is not on this
        process's machine.
    """
    try:
        with path.open("r+b") as file:
            memory = mmap.mmap(file.fileno(), rows * numbers * _BYTES)
    except (OSError, ValueError):  # ValueError: a file of another size
        return None
    return torch.frombuffer(memory, dtype=torch.float32).view(rows, numbers)
