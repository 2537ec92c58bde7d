"""Copies on this disk of objects in stores, so that all readers see ordinary files.

A table or a FASTA is fetched whole, once for each state of the object, and checked by its sha256 when it is
used again. Of an embedding cache there is a lazy copy: a file of the object's size without its bytes (a
sparse file), into which the reader fetches what it needs. The copies together take at most
`PPI_TRAIN_STORE_CACHE_GB`: the least recently used ones go first, and what has no room in a lazy copy is
read from the store each time.

An output is written to a folder of its own here, where an interrupted command finds its parts again, and sent
when it is complete; from then on it counts as a copy.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from ppi_train.errors import ConfigError, DataError, StorageError, show_as
from ppi_train.io.files import FULL_DISK, disk_space, file_digest, user_cache, write_file
from ppi_train.io.stores import StoredObject, download, find, listed, read_ranges

logger = logging.getLogger(__name__)

LIMIT_VARIABLE = "PPI_TRAIN_STORE_CACHE_GB"
_DEFAULT_GB = 50.0
# Bytes that are cheaper to read than another request.
GAP = 128 << 10
# A request at most: so that several go on at the same time, and a failed one costs little.
LARGEST_REQUEST = 16 << 20
_REQUESTS_AT_ONCE = 8
_ORIGIN, _LOCK = "origin.json", "lock"

# Open locks, by entry: a copy in use is not removed by other processes.
_IN_USE: dict[Path, IO[str]] = {}


def whole_copy(url: str) -> Path:
    """The path of a copy of an object, which is fetched if it is not there.

    Raises:
        DataError, UnavailableError, ConfigError: the store does not give it; see `find`.
        StorageError: it has no room.
    """
    stored = find(url)
    with _entry(url, [stored]) as folder:
        path = folder / _name_of(url)
        digest = folder / f".{path.name}.sha256"
        if not (path.exists() and digest.exists() and digest.read_text() == file_digest(path)):
            _make_room(folder, stored.size)
            logger.info("fetching %s (%.1f MB)", url, stored.size / 1e6)
            partial = folder / f".{path.name}.partial"
            with disk_space(path, lambda: stored.size, kept=lambda: "nothing is lost"):
                download(stored, partial)
                write_file(digest, file_digest(partial).encode())
                partial.replace(path)
    show_as(path, url)
    return path


def lazy_copies(url: str) -> Path:
    """The path of a lazy copy of an embedding cache: of a file, or of all files of a folder.

    Raises:
        DataError, UnavailableError, ConfigError: the store does not give it; see `find`.
    """
    single = url.endswith(".parquet")
    objects = [find(url)] if single else listed(url, ".parquet")
    if not objects:
        raise DataError("there is no embedding cache under the address", where=url, expected="*.parquet")
    with _entry(url, objects) as folder:
        for stored in objects:
            path = folder / _name_of(stored.url)
            with path.open("ab") as file:
                if file.tell() != stored.size:
                    file.truncate(stored.size)
            show_as(path, stored.url)
    path = folder / _name_of(url) if single else folder
    show_as(path, url)
    return path


def lazy_copy(path: Path) -> LazyCopy | None:
    """The lazy copy at a path; None for any other file."""
    try:
        origin = json.loads((path.parent / _ORIGIN).read_text())["objects"][path.name]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return LazyCopy(path, StoredObject(**origin))


class LazyCopy:
    """A file with the size of an object and those of its bytes that were fetched.

    Attributes:
        path: The file; it may be read where its bytes are known to be there.
        stored: The object.
    """

    def __init__(self, path: Path, stored: StoredObject) -> None:
        self.path, self.stored = path, stored
        self._mark = self.beside("whole")
        self._full = False
        self._others = _size_of(path.parent.parent) - _size_of(path)

    @property
    def is_whole(self) -> bool:
        """Whether all bytes are there."""
        return self._mark.exists()

    def beside(self, name: str) -> Path:
        """A file about this copy, which goes when the copy is fetched again or removed."""
        return self.path.with_name(f".{self.path.name}.{name}")

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Bytes from the store; see `read_ranges`."""
        return read_ranges(self.stored, ranges)

    def fetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetches ranges of bytes into the file, several at the same time.

        Raises:
            DataError, UnavailableError: as `read_ranges`.
            StorageError: the disk is full.
        """
        wanted = [part for whole in joined(sorted(ranges)) for part in _divided(*whole)]
        needed = sum(end - start for start, end in wanted)
        with disk_space(self.path, lambda: needed, kept=lambda: "nothing is lost"):
            for number in range(0, len(wanted), _REQUESTS_AT_ONCE):
                parts = wanted[number : number + _REQUESTS_AT_ONCE]
                for (start, _), data in zip(parts, self.read(parts), strict=True):
                    self.write(start, data)

    def fetch_all(self) -> None:
        """Fetches the whole object, unless that was done; see `fetch`."""
        if not self.is_whole:
            _make_room(self.path.parent, self.stored.size)
            logger.info("fetching %s (%.1f MB)", self.stored.url, self.stored.size / 1e6)
            self.fetch([(0, self.stored.size)])
            self._mark.touch()

    def keep(self, start: int, data: bytes) -> bool:
        """Writes fetched bytes into the file, if it may grow; returns whether it did."""
        if self._full or self._others + _size_of(self.path) + len(data) > _limit():
            self._full = True
            return False
        try:
            self.write(start, data)
        except OSError as error:
            if error.errno not in FULL_DISK:
                raise
            self._full = True
        return not self._full

    def write(self, start: int, data: bytes) -> None:
        """Writes fetched bytes into the file, whether or not it may grow."""
        with self.path.open("r+b") as file:
            file.seek(start)
            file.write(data)

    def forget(self) -> None:
        """Lets the next opening fetch everything again, since what is here is damaged."""
        for file in self.path.parent.iterdir():
            if file.name.startswith(f".{self.path.name}."):
                file.unlink(missing_ok=True)

    def refuse_if_replaced(self) -> None:
        """Says so if the object is not the one that was opened.

        Raises:
            DataError: it was replaced; or as `find`.
        """
        if find(self.stored.url) != self.stored:
            raise DataError(
                "the object was replaced while it was read",
                where=self.stored.url,
                remedy="give the command again, when nothing writes to it any more",
            )


def joined(ranges: Sequence[tuple[int, int]], gap: int = GAP) -> list[tuple[int, int]]:
    """Sorted ranges, with one in place of those that are at most `gap` bytes apart.

    >>> joined([(0, 10), (12, 20), (90, 95)], gap=5)
    [(0, 20), (90, 95)]
    """
    found: list[tuple[int, int]] = []
    for start, end in ranges:
        if found and start - found[-1][1] <= gap:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def outgoing(url: str) -> Path:
    """The path at which an output is written before it is sent.

    Raises:
        ConfigError: the output of an earlier command is still there, and was not sent.
    """
    folder = _root() / f"out-{hashlib.sha256(url.encode()).hexdigest()[:32]}"
    path = folder / _name_of(url)
    if (folder / _ORIGIN).exists():
        shutil.rmtree(folder)
    elif path.exists():
        raise ConfigError(
            "an output of an earlier command was not sent to the store",
            where=path,
            remedy=f"send it to {url} yourself, or remove it, and give the command again",
        )
    _use(folder)
    show_as(path, url)
    return path


def keep_sent(path: Path, url: str) -> None:
    """Makes an output that was sent a copy like others: the run may still have to log it."""
    write_file(path.parent / _ORIGIN, json.dumps({"url": url, "objects": {}}).encode())


def _root() -> Path:
    return user_cache() / "stores"


def _name_of(url: str) -> str:
    return url.rstrip("/").rpartition("/")[2]


def _divided(start: int, end: int) -> Iterator[tuple[int, int]]:
    for first in range(start, end, LARGEST_REQUEST):
        yield first, min(first + LARGEST_REQUEST, end)


def _use(folder: Path) -> None:
    """Makes a folder that no other process removes until this one ends."""
    while folder not in _IN_USE or not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("a")
        fcntl.flock(lock, fcntl.LOCK_SH)
        if (folder / _LOCK).exists():  # else it was removed before it was locked
            _IN_USE[folder] = lock


@contextmanager
def _entry(url: str, objects: Sequence[StoredObject]) -> Iterator[Path]:
    """The folder for these states of objects, which no other process changes until the block ends.

    Afterwards it is in use until this process ends: others read it too, and none removes it.
    """
    content = json.dumps([url, *(asdict(stored) for stored in objects)])
    folder = _root() / hashlib.sha256(content.encode()).hexdigest()[:32]
    _use(folder)
    with (folder / ".making").open("a") as making:
        fcntl.flock(making, fcntl.LOCK_EX)
        origin = {"url": url, "objects": {_name_of(stored.url): asdict(stored) for stored in objects}}
        write_file(folder / _ORIGIN, json.dumps(origin, indent=1).encode())  # its age is that of the last use
        yield folder


def _limit() -> int:
    text = os.environ.get(LIMIT_VARIABLE, "").strip() or str(_DEFAULT_GB)
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError):
        raise ConfigError(
            "the size of the copies of objects in stores is not a number",
            where=f"the environment variable {LIMIT_VARIABLE}",
            got=text,
            expected="a number of GB, such as 50",
        ) from None


def _size_of(path: Path) -> int:
    """Bytes that a file or folder takes on the disk; what is removed meanwhile counts nothing."""
    total = 0
    for file in path.rglob("*") if path.is_dir() else [path]:
        try:
            total += file.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def _make_room(folder: Path, size: int) -> None:
    """Removes the least recently used copies until another one has room.

    Raises:
        StorageError: it has none without all copies that are not in use.
    """
    root, limit = folder.parent, _limit()
    entries = [entry for entry in root.iterdir() if entry != folder and (entry / _ORIGIN).exists()]
    entries.sort(key=lambda entry: (entry / _ORIGIN).stat().st_mtime)
    while _size_of(root) + size > limit and entries:
        _remove_unused(entries.pop(0))
    taken = _size_of(root)
    if taken + size > limit:
        raise StorageError(
            "the object has no room among the copies on this disk",
            where=root,
            got=f"{size / 1e9:,.2f} GB, and {taken / 1e9:,.2f} GB in use",
            expected=f"at most {limit / 1e9:,.2f} GB together",
            remedy=f"set {LIMIT_VARIABLE} to more GB, or PPI_TRAIN_CACHE to a folder on a larger disk",
        )


def _remove_unused(entry: Path) -> None:
    if entry in _IN_USE:
        return
    try:
        with (entry / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(entry)
    except OSError:
        logger.debug("a copy is in use, or is removed by another process: %s", entry)
