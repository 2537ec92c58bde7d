"""Reading and writing of whole files, with bounds and messages.

A user's file is read through `read_file` or `text_lines`, which say what is wrong with it. A file is written
under a temporary name and moved into place, so that no reader sees half of it. A full disk is reported with
the free and the needed space.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import mmap
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from ppi_train.errors import DataError, StorageError
from ppi_train.io.limits import FREE_BYTES, MAX_RESIDUES

logger = logging.getLogger(__name__)

GZIP_MAGIC = b"\x1f\x8b"
# Limit of other files that are read as a whole.
MAX_FILE_BYTES = 1 << 30
# A longer stretch without the beginning of a record or a line is refused before it is in memory; this is
# 40 times the longest sequence.
LONGEST_STRETCH = 4 << 20
_READ_AT_ONCE = 1 << 20
SPLIT_REMEDY = "divide it into several files"

# A quota that is used up is, for its user, a full disk.
_FULL = (errno.ENOSPC, errno.EDQUOT)


def refuse_endless(path: str | Path, mark: bytes, kind: str) -> None:
    """Refuses a large file with an endless record, before reading it.

    Args:
        path: A file, which need not exist.
        mark: The byte that begins a record, or ends a line.
        kind: Names the file in messages.

    Raises:
        DataError: a stretch of LONGEST_STRETCH bytes does not have the mark.
    """
    file = Path(path)
    if not file.is_file() or file.stat().st_size <= FREE_BYTES or not os.access(file, os.R_OK):
        return  # `read_file` reports any problem
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:2] == GZIP_MAGIC or content[:4] == b"PAR1":
            return
        for start in range(0, len(content) - LONGEST_STRETCH, LONGEST_STRETCH):
            if content.find(mark, start, start + LONGEST_STRETCH) < 0:
                refuse_stretch(path, mark.decode(), kind)


def refuse_stretch(path: str | Path, mark: str, kind: str) -> NoReturn:
    raise DataError(
        f"the {kind} has a sequence or a line without end",
        where=path,
        got=f"{LONGEST_STRETCH:,} bytes without {mark!r}",
        expected=f"sequences of at most {MAX_RESIDUES:,} letters" if mark == ">" else "short lines",
    )


@contextmanager
def reading(path: str | Path, kind: str) -> Iterator[None]:
    """Context manager that reports why a user's file cannot be read.

    Args:
        path: The file.
        kind: Names the file in messages.

    Raises:
        DataError: the file is absent, a directory or not readable.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(
            f"the {kind} is not there",
            where=path,
            remedy="check the path; it is taken from the current folder",
        ) from error
    except IsADirectoryError as error:
        raise DataError(
            f"the {kind} is a directory", where=path, expected="a file", remedy="name a file inside it"
        ) from error
    except OSError as error:
        raise DataError(f"the {kind} cannot be read", where=path, got=error.strerror) from error


def read_file(path: str | Path, kind: str, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a user's file; `kind` names it in messages.

    Raises:
        DataError: the file is absent, a directory, not readable, empty, or has more than `limit` bytes.
    """
    with reading(path, kind):
        data = _at_most(path, limit)
    if data is None:
        raise DataError(
            f"the {kind} is too large to be read whole",
            where=path,
            expected=f"at most {limit:,} bytes",
            remedy=SPLIT_REMEDY,
        )
    if not data:
        raise DataError(f"the {kind} is empty", where=path, got="0 bytes")
    return data


def _at_most(path: str | Path, limit: int) -> bytes | None:
    """A file's bytes; None if there are more than `limit`.

    The size of a pipe is not known before it is read.
    """
    with Path(path).open("rb") as stream:
        about = os.fstat(stream.fileno())
        if stat.S_ISREG(about.st_mode):
            return stream.read() if about.st_size <= limit else None
        parts: list[bytes] = []
        while part := stream.read(_READ_AT_ONCE):
            parts.append(part)
            if _READ_AT_ONCE * (len(parts) - 1) > limit:
                return None
        return b"".join(parts)


def file_digest(path: Path) -> str:
    """sha256 of a file's content, as hex.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_file(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name and moves it into place.

    Two processes may write the same file at the same time: the last one to finish wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def text_lines(path: str | Path, kind: str) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1.

    Args:
        path: The file.
        kind: Names the file in messages.

    Raises:
        DataError: the file is absent, empty, or not text in UTF-8.
    """
    try:
        text = read_file(path, kind).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"the {kind} is not text", where=path, got=f"the byte 0x{error.object[error.start]:02x}"
        ) from error
    return [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


@contextmanager
def disk_space(path: Path, needed: Callable[[], int], *, kept: Callable[[], str]) -> Iterator[None]:
    """Context manager that turns a full disk into a StorageError.

    Args:
        path: The file.
        needed: Gives the bytes still to be written, to it and next to it; called when the disk is full.
        kept: Gives a text for the message: which part of the work is safe.

    Raises:
        StorageError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StorageError(
            "the disk is full",
            where=path.absolute(),
            got=f"{free_bytes(path) / 1e6:,.1f} MB free",
            expected=f"about {needed() / 1e6:,.1f} MB for what is left to write",
            remedy=f"make room and give the same command again; {kept()}",
        ) from error


def free_bytes(path: Path) -> int:
    """The free bytes on the disk of an existing or future path."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return shutil.disk_usage(folder).free
