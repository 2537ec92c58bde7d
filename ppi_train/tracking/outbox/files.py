"""The files that records name: whether they are still what they were, and how large."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ppi_train.errors import UserError
from ppi_train.io.files import file_digest
from ppi_train.tracking.outbox.records import Checkpoints, Files, Model


class UndeliverableError(UserError):
    """What a record speaks of is gone from this machine, or is not what it was."""


def file_state(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written to, or another takes its place."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def check_file(path: Path, digest: str) -> tuple[int, int, int]:
    """Makes sure that a file is still what a record says; gives what `file_state` says of it.

    Raises:
        UndeliverableError: it is gone, or another one.
    """
    try:
        state, found = file_state(path), file_digest(path)
    except OSError as error:
        raise UndeliverableError(
            "a file that was to be uploaded cannot be read", where=path, got=error.strerror
        ) from None
    if found != digest:
        raise UndeliverableError(
            "a file was changed after it was logged, and is not uploaded",
            where=path,
            got=f"sha256 {found}",
            expected=f"sha256 {digest}",
        )
    return state


def largest_file(record: Files | Checkpoints | Model, folder: Path) -> int:
    """The bytes of the largest file of a record, whose paths are relative to the folder."""
    if isinstance(record, Files):
        return _largest(folder / record.folder / name for name in record.digests)
    folders = (
        record.folders.values() if isinstance(record, Checkpoints) else (record.checkpoint, record.embedder)
    )
    return _largest(path for name in folders if name for path in (folder / name).rglob("*"))


def _largest(paths: Iterable[Path]) -> int:
    return max((_size(path) for path in paths), default=0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # that it is gone is said where it is read
