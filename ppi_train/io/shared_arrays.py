"""Arrays that the processes of a machine share: one of them makes a file, and all of them map it."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ppi_train.io.files import disk_space, replacing


def shared_array(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array in a memory-mapped file, which the first process that needs it makes.

    Other processes wait for it. All of them share the pages of the file in memory; the system may give them
    up, since it can read them again. A process that writes to the array changes its own copy of a page only.

    Args:
        path: The file; one that exists is taken as it is. A file `.<name>.lock` is made next to it.
        make: Computes the array, of at least one number.

    Raises:
        StorageError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a process that ends gives it up, even without the file
        if not path.exists():
            _write(path, np.ascontiguousarray(make()))
    mapped: np.ndarray = np.lib.format.open_memmap(path, mode="c")
    return mapped


def _write(path: Path, array: np.ndarray) -> None:
    kept = "nothing that was computed is lost"
    with (
        disk_space(path, lambda: array.nbytes, kept=lambda: kept),
        replacing(path) as partial,
        partial.open("wb") as stream,
    ):
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
        stream.write(array.reshape(-1).view(np.uint8).data)  # `tofile` does not say that a disk is full
