"""Reading and writing of whole files, with bounds and messages.

A user's file is read through `read_file` or `text_lines`, which say what is wrong with it. A file is written
under a temporary name and moved into place, so that no reader sees half of it. A full disk is reported with
the free and the needed space.

docs/design/broken-files.md lists the limits on what a file may claim before it is refused. They are far above
what real data need, and low enough that no file of a few kilobytes uses up the memory of a machine. Readers
compare what a file claims with these limits before they allocate memory for it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import mmap
import os
import secrets
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

from ppi_train.errors import ConfigError, DataError, StorageError, first_line
from ppi_train.io.unavailable import unavailable_error

logger = logging.getLogger(__name__)

MAX_RESIDUES = 100_000
"""Longest sequence. Titin, the longest human protein, has 34,350; the longest of any species 45,000."""

FREE_BYTES = 64 << 20
"""Bytes that any file may unpack to, however small it is."""

MAX_RATIO = 100
"""Largest ratio of unpacked to packed size.

Sequences do not reach 10; decompression bombs exceed 1,000.
"""

GZIP_MAGIC = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
BZIP2_MAGIC = b"BZh"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
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

# A quota that is used up is, for its user, a full disk.
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def unpacked_limit(size: int) -> int:
    """Bytes that a file of `size` bytes may unpack to.

    >>> unpacked_limit(1000) >> 20, unpacked_limit(10 << 20) >> 20
    (64, 1000)
    """
    return max(FREE_BYTES, MAX_RATIO * size)


def check_torch_archive(path: Path) -> None:
    """Refuses a zip archive that `torch.save` cannot have written.

    `torch.save` stores bytes uncompressed, and only once. A file that is not a zip archive passes;
    `torch.load` reads the older format from end to end.

    Raises:
        ValueError: entries are compressed, or claim more bytes together than the file has.
        OSError, zipfile.BadZipFile: the file cannot be read.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    claimed, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if claimed > size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError(f"an archive of {size:,} bytes whose entries unpack to {claimed:,}")


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
    with reading(path, kind):
        if not file.is_file() or file.stat().st_size <= FREE_BYTES:
            return  # `read_file` reports any problem
    with (
        reading(path, kind),
        file.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        if content[:4].startswith((GZIP_MAGIC, BZIP2_MAGIC, ZSTD_MAGIC, b"PAR1")):
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
        DataError: the file is absent or a directory.
        UnavailableError: it cannot be read, or memory ran out.
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
    except (OSError, MemoryError) as error:
        unavailable = unavailable_error(error, path, f"the {kind} cannot be read")
        if unavailable is not None:
            raise unavailable from error
        raise DataError(f"the {kind} cannot be read", where=path, got=first_line(error)) from error


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
    refuse_stand_in(path, data, kind)
    return data


def refuse_stand_in(path: str | Path, data: bytes, kind: str) -> None:
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
    with replacing(path) as partial:
        partial.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Context manager that gives a temporary path, and moves the file there into place.

    If the block ends with an error, nothing is moved or left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def remove_locked(folder: Path) -> None:
    """Removes a folder with a lock that this process has.

    It is renamed first, so that no other process locks a file in it. The new name is random: every container
    has a process 1.
    """
    shutil.rmtree(folder.rename(folder.with_name(f"{folder.name}.{secrets.token_hex(6)}.done")))


def lock_file(lock: IO[str], busy: Callable[[str], None]) -> None:
    """Locks an open file until it is closed, and writes the number of this process into it.

    Args:
        lock: Opened for appending and reading.
        busy: Called with the number of the process that has the lock, if any; unless it raises, the lock
            is waited for.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        busy(lock.read() or "?")
        fcntl.flock(lock, fcntl.LOCK_EX)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


def output_exists_error(path: Path) -> ConfigError:
    """The error for an output file that already exists."""
    return ConfigError(
        "the output exists", where=path.absolute(), remedy="give another output, or overwrite=true"
    )


def text_lines(path: str | Path, kind: str, data: bytes | None = None) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1.

    Args:
        path: The file.
        kind: Names the file in messages.
        data: Its bytes, if they were read before.

    Raises:
        DataError: the file is absent, empty, or not text in UTF-8.
    """
    content = read_file(path, kind) if data is None else data
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"the {kind} is not text in UTF-8",
            where=f"{path}, line {line}",
            got=f"the byte 0x{content[error.start]:02x}",
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
        if error.errno not in FULL_DISK:
            raise
        raise StorageError(
            "the disk is full",
            where=path.absolute(),
            got=f"{free_bytes(path) / 1e6:,.1f} MB free",
            expected=f"about {needed() / 1e6:,.1f} MB for what is left to write",
            remedy=f"make room and give the same command again; {kept()}",
        ) from error


def user_cache() -> Path:
    """The folder of what was fetched: $PPI_TRAIN_CACHE if that is set, else under the user's cache folder."""
    import pooch  # only where something is fetched

    return Path(os.environ.get("PPI_TRAIN_CACHE") or pooch.os_cache("ppi_train"))


def expanded(path: str) -> Path:
    """A path with `~` replaced by the home folder, where that is known."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def free_bytes(path: Path) -> int:
    """The free bytes on the disk of an existing or future path."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return shutil.disk_usage(folder).free
