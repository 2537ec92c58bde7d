"""Folder of a run on this machine, locked by one process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ppi_train.errors import StorageError, TrackingError

_LOCK = "lock"
_RUN_ID = re.compile(r"[A-Za-z0-9][\w-]{0,127}", re.ASCII)


@contextmanager
def run_folder(output_dir: str, run_id: str) -> Iterator[Path]:
    """Makes and locks the folder `<output_dir>/<run_id>`.

    The system releases the lock when the process ends.

    Raises:
        TrackingError: another process on this machine works on the run, or its ID is not a valid folder name.
        StorageError: the folder cannot be made or locked.
    """
    folder = folder_of(output_dir, run_id)
    with _lock_file(folder) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise TrackingError(
                "another process works on this run",
                where=folder.absolute(),
                got=f"held by process {lock.read() or '?'}",
                remedy="wait until it ends, or end it",
            ) from None
        except OSError as error:
            raise _unusable(folder, error) from error
        with contextlib.suppress(OSError):  # for the message above only
            os.ftruncate(lock.fileno(), 0)
            os.write(lock.fileno(), str(os.getpid()).encode())
        yield folder


def _lock_file(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / _LOCK).open("a+")
    except OSError as error:
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        "the folder of the run cannot be used",
        where=folder.absolute(),
        got=error.strerror,
        remedy="give an output_dir that can be written to",
    )


def was_here(output_dir: str, run_id: str) -> bool:
    """Whether the run's process ran on this machine, with this output folder."""
    return is_run_folder(folder_of(output_dir, run_id))


def is_run_folder(folder: Path) -> bool:
    """Whether a process on this machine has worked here on a run."""
    return bool(_RUN_ID.fullmatch(folder.name)) and (folder / _LOCK).exists()


def folder_of(output_dir: str | Path, run_id: str) -> Path:
    """The folder of a run, which need not exist.

    Raises:
        TrackingError: the ID is not a valid folder name.
    """
    # The ID comes from the tracking server: an ID such as `../../x` would lead out of the folder.
    if not _RUN_ID.fullmatch(run_id):
        raise TrackingError(
            "the tracking server returned an invalid run ID",
            got=repr(run_id[:200]),
            expected="letters, digits, `-` and `_`",
            remedy="find out who runs this server",
        )
    return Path(output_dir) / run_id
