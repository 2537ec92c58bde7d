"""Reads and writes whole files, with bounds, messages and atomic replacement.

The lines of a user's small text file.

Error reports for a full disk, with free and needed space.
"""

from __future__ import annotations

import bz2
import errno
import io
import logging
import mmap
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn, cast

from isal import isal_zlib
from isal.igzip import IGzipFile

from ppi_train.errors import DataError, StorageError
from ppi_train.io.limits import FREE_BYTES, MAX_RESIDUES, unpacked_limit

logger = logging.getLogger(__name__)

GZIP_MAGIC = b"\x1f\x8b"
BZIP2_MAGIC = b"BZh"
# What lies in place of a file that was not fetched, or at the end of a link to a page about it.
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_WEB_PAGE = (b"<!doctype html", b"<html")
# Limit of other files that are read as a whole.
MAX_FILE_BYTES = 1 << 30
# A longer stretch without the beginning of a record or a line is refused before it is in memory; this is
# 40 times the longest sequence.
LONGEST_STRETCH = 4 << 20
_READ_AT_ONCE = 1 << 20
SPLIT_REMEDY = "divide it into several files"


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
        if content[:2] == GZIP_MAGIC or content[:3] == BZIP2_MAGIC or content[:4] == b"PAR1":
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


def read_file(path: str | Path, kind: str, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a user's file; `kind` names it in messages.

    Raises:
        DataError: the file is absent, a directory, not readable, empty, or has more than `limit` bytes.
    """
    try:
        data = _at_most(path, limit)
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
    if data is None:
        raise DataError(
            f"the {kind} is too large to be read whole",
            where=path,
            expected=f"at most {limit:,} bytes",
            remedy=SPLIT_REMEDY,
        )
    if not data:
        raise DataError(f"the {kind} is empty", where=path, got="0 bytes")
    _refuse_stand_in(path, data, kind)
    return data


def _refuse_stand_in(path: str | Path, data: bytes, kind: str) -> None:
    """Refuses what a failed download leaves in place of a file."""
    if data.startswith(_LFS_POINTER):
        raise DataError(
            f"the {kind} is a git-LFS pointer, not the file that it points to",
            where=path,
            got=data.split(b"\n", 1)[0].decode("utf-8", "replace"),
            remedy="fetch the file itself: git lfs pull",
        )
    if data[:1000].lstrip().lower().startswith(_WEB_PAGE):
        raise DataError(
            f"the {kind} is a web page",
            where=path,
            got=repr(data[:60].decode("utf-8", "replace")),
            remedy="download the file itself: its link may need a login, or lead to a page about it",
        )


def unpack(path: str | Path, data: bytes, kind: str, mark: bytes, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """The content of a gzip or bzip2 file, checked while it is unpacked; other data as they are.

    Args:
        path: Named in messages.
        data: The file's bytes.
        kind: Names the file in messages.
        mark: The byte that begins a record, or ends a line.
        limit: The most bytes that are unpacked.

    Raises:
        DataError: the file is cut short or damaged, unpacks to too many bytes, or has an endless record.
    """
    packed: IO[bytes]
    if data.startswith(GZIP_MAGIC):
        packing, packed = "gzip", cast(IO[bytes], IGzipFile(fileobj=io.BytesIO(data)))  # type: ignore[no-untyped-call]
    elif data.startswith(BZIP2_MAGIC):
        packing, packed = "bzip2", bz2.BZ2File(io.BytesIO(data))
    else:
        return data
    limit = min(limit, unpacked_limit(len(data)))
    parts: list[bytes] = []
    size = 0
    try:
        with packed as stream:
            while part := stream.read(LONGEST_STRETCH):
                if len(part) == LONGEST_STRETCH and mark not in part:
                    refuse_stretch(path, mark.decode(), kind)
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise DataError(
                        f"the {packing} file unpacks to more than a {kind} can",
                        where=path,
                        got=f"more than {limit:,} bytes from {len(data):,}",
                        remedy="unpack it yourself if you trust it, or divide it into several files",
                    )
    except (EOFError, OSError, isal_zlib.error) as error:  # type: ignore[misc]
        raise DataError(
            f"the {packing} file is cut short or damaged",
            where=path,
            got=str(error),
            remedy="copy or download it again",
        ) from error
    return b"".join(parts)


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


# A quota that is used up is, for its user, a full disk.
_FULL = (errno.ENOSPC, errno.EDQUOT)


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
