"""The journal of a run: whatever it tells the tracking server is on this disk first.

A text file, one record a line:

    <crc32 of what follows, 8 hex digits> {"kind": "header", "version": 1, "run_id": ..., ...}
    <crc32> {"kind": "metrics", "n": 0, "points": [...], ...}
    <crc32> {"kind": "sent", "before": 1}

Records of the run have numbers `n` that rise. `sent` says that the server has all of them before a
number; `refused`, that it would not have one; `bound`, which run of the server one that was made offline
became. A line that a power cut has torn off at the end is dropped; lines are on the disk a second after
they were written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ppi_train.errors import JournalError, StorageError, TrackingError
from ppi_train.tracking.outbox.records import (
    Checkpoints,
    Header,
    Record,
    header_from,
    kind_of,
    record_from,
    to_fields,
)

logger = logging.getLogger(__name__)

NAME = "journal.jsonl"
UNSENT = "unsent"
"""The folder beside a journal that holds checkpoints until they are uploaded."""
SYNC_SECONDS = 1.0
_VERSION = 1
_NOTES = ("header", "sent", "refused", "bound")
# A model's record, the longest, has a few kB.
_LONGEST = 16 * 2**20


def encode(kind: str, fields: Mapping[str, Any]) -> bytes:
    """A line of a journal."""
    text = json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode(line: bytes) -> dict[str, Any]:
    """The content of a line.

    Raises:
        ValueError: it is torn or damaged, or was never one of ours.
    """
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if len(checksum) != 8 or checksum != b"%08x" % zlib.crc32(text):
        raise ValueError("the checksum does not fit")
    try:
        fields = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("kind"), str):
        raise ValueError("no record")
    return fields


class Journal:
    """A journal that this process holds; another one that tries to gets an error.

    A full disk ends nothing: what cannot be written stays in memory, and is written once there is room.
    """

    def __init__(self, path: Path, stream: BinaryIO, *, following: int, last_checkpoints: int = -1) -> None:
        self.path = path
        self._last_checkpoints, self._in_use = last_checkpoints, -1
        self._waiting: dict[int, Checkpoints] = {}
        self._stream, self._following = stream, following
        self._end = stream.seek(0, os.SEEK_END)
        self._unwritten: list[tuple[int, bytes]] = []
        self._dirty = threading.Event()
        self._closed = threading.Event()
        self._lock = threading.RLock()
        threading.Thread(target=self._keep_on_disk, name="journal", daemon=True).start()

    @classmethod
    def create(cls, path: Path, header: Header) -> Journal:
        """Starts a journal.

        Raises:
            TrackingError: another process holds it, or a file of that name holds what was never sent.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = _held(path)
        except OSError as error:
            raise StorageError(
                "the journal of the run cannot be made", where=path.absolute(), got=error.strerror,
                remedy="give an output_dir that can be written to",
            ) from None  # fmt: skip
        if stream.seek(0, os.SEEK_END):
            stream.close()
            raise TrackingError(
                "the run has a journal that was never sent",
                where=path,
                remedy=f"send it: mlflow run . -e sync -P journal={path}",
            )
        journal = cls(path, stream, following=0)
        journal._write(-1, encode("header", {"version": _VERSION, **to_fields(header)}))
        return journal

    @classmethod
    def open(cls, path: Path) -> tuple[Journal, Contents]:
        """Takes up the journal of a process that has ended.

        Raises:
            JournalError: it is not one of ours, or cannot be read.
            TrackingError: its process lives.
        """
        if not path.is_file():
            raise JournalError("there is no such journal", where=path.absolute())
        try:
            stream = _held(path)
        except OSError as error:
            raise JournalError("the journal cannot be opened", where=path, got=error.strerror) from None
        try:
            contents = read_journal(path)
            stream.truncate(contents.end)
            if contents.unended:
                stream.write(b"\n")
                stream.flush()
            last = contents.last_checkpoints
            return cls(path, stream, following=contents.following, last_checkpoints=last), contents
        except BaseException:
            stream.close()
            raise

    @property
    def folder(self) -> Path:
        return self.path.parent

    def relative(self, path: Path) -> str:
        """A path as the journal holds it, so that the run's folder can be moved, with all that is in it."""
        absolute = path.absolute()
        folder = self.folder.absolute()
        return str(absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute)

    def append(self, record: Record) -> tuple[int, bytes]:
        """Adds a record of the run; gives its number and its line."""
        with self._lock:
            number = self._following
            line = encode(kind_of(record), {"n": number, **to_fields(record)})
            self._following += 1
            self._write(number, line)
            if isinstance(record, Checkpoints):
                self._supersede(number, record)
            return number, line

    def _supersede(self, number: int, record: Checkpoints) -> None:
        """Lets go of the checkpoints that still wait: a server that is away must not fill the disk."""
        for other in [one for one in self._waiting if one != self._in_use]:
            self._drop(self._waiting.pop(other))
        self._waiting[number], self._last_checkpoints = record, number

    def use_checkpoints(self, number: int) -> bool:
        """Holds the checkpoints of a record until `done_with`; False if later ones make them needless."""
        with self._lock:
            if number < self._last_checkpoints:
                return False
            self._in_use = number
            return True

    def done_with(self, number: int, record: Checkpoints) -> None:
        """Lets go of checkpoints that are uploaded or needless."""
        with self._lock:
            self._in_use = -1
            self._waiting.pop(number, None)
            self._drop(record)

    def note_sent(self, before: int) -> None:
        """Says that the server has all records before a number."""
        with self._lock:
            # What the server has need not be written any more.
            self._unwritten = [one for one in self._unwritten if not 0 <= one[0] < before]
            self._write(-1, encode("sent", {"before": before}))

    def note_refused(self, number: int, why: str) -> None:
        """Says that the server would not have a record."""
        self._write(-1, encode("refused", {"n": number, "why": why[:1000]}))

    def note_bound(self, run_id: str) -> None:
        """Says which run of the server this one has become."""
        self._write(-1, encode("bound", {"run_id": run_id}))
        self._sync()

    @property
    def unwritten(self) -> int:
        """How many records of the run are in memory only, for want of room on the disk."""
        with self._lock:
            return sum(number >= 0 for number, _ in self._unwritten)

    def keep_checkpoint(self, folder: Path, name: str) -> Path:
        """Holds the files of a checkpoint as they are now, though training goes on to write others.

        They are linked, not copied, and so take room only once the originals are gone; on a disk without
        links they are copied.
        """
        kept = self.folder / UNSENT / f"{time.time_ns()}-{name}"
        kept.mkdir(parents=True)
        for path in folder.iterdir():
            try:
                os.link(path, kept / path.name)
            except OSError:
                shutil.copyfile(path, kept / path.name)
        return kept

    def _drop(self, record: Checkpoints) -> None:
        for path in record.folders.values():
            if Path(path).parent == Path(UNSENT):
                shutil.rmtree(self.folder / path, ignore_errors=True)

    def _write(self, number: int, line: bytes) -> None:
        with self._lock:
            self._unwritten.append((number, line))
            try:
                while self._unwritten:
                    self._put(self._unwritten[0][1])
                    self._unwritten.pop(0)
                self._dirty.set()
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
                    raise
                if len(self._unwritten) == 1:
                    logger.warning(
                        "the journal cannot be written (%s): what follows is kept in memory and sent from "
                        "there; make room for it: %s", error.strerror, self.path,
                    )  # fmt: skip

    def _put(self, line: bytes) -> None:
        """Appends a line whole, or not at all."""
        descriptor, written = self._stream.fileno(), 0
        try:
            while written < len(line):
                written += os.write(descriptor, line[written:])
        except OSError:
            os.ftruncate(descriptor, self._end)
            raise
        self._end += written

    def _keep_on_disk(self) -> None:
        while not self._closed.wait(SYNC_SECONDS):
            self._sync()

    def _sync(self) -> None:
        if self._dirty.is_set():
            self._dirty.clear()
            try:
                os.fsync(self._stream.fileno())
            except (OSError, ValueError) as error:
                if not self._closed.is_set():
                    logger.warning("the journal may not be on the disk: %s: %s", error, self.path)

    def close(self) -> None:
        """Puts all on the disk and lets go of the journal."""
        with self._lock:
            if not self._closed.is_set():
                self._sync()
                self._closed.set()
                self._stream.close()

    def remove(self) -> None:
        """Ends a journal whose every record the server has; its folder goes too if nothing else is in it."""
        self.path.unlink(missing_ok=True)
        shutil.rmtree(self.folder / UNSENT, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        self.close()

    def set_aside(self) -> Path:
        """Ends a journal some of whose records nobody will have; gives its new name, which is not sent."""
        kept = self.path.with_name(f"refused-{os.getpid()}-{self.path.name}")
        self.path.rename(kept)
        self.close()
        return kept


def _held(path: Path) -> BinaryIO:
    """Opens a journal and holds it; the system lets go of it when the process dies."""
    stream = path.open("ab+", buffering=0)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        replaced = not path.exists() or os.fstat(stream.fileno()).st_ino != path.stat().st_ino
    except BlockingIOError:
        replaced = True
    if replaced:
        stream.close()
        raise TrackingError(
            "another process works on this run",
            where=path.absolute(),
            remedy="wait until it ends, or end it",
        )
    return stream


@dataclass(kw_only=True)
class Contents:
    """What a journal says of itself; the records are read by `records`.

    Attributes:
        path: The file.
        header: Whose it is.
        sent: The server has all records before this number.
        following: The number of the next record.
        last_checkpoints: The number of the last record of checkpoints, which makes the others needless.
        bound: The run of the server that one made offline has become.
        ended: Whether the run has said how it ended.
        refused: Reasons by number of record.
        damaged: Numbers of the lines that cannot be read.
        end: Bytes up to the end of the last line that is whole.
        unended: Whether that line lacks its line feed.
    """

    path: Path
    header: Header
    sent: int = 0
    following: int = 0
    last_checkpoints: int = -1
    bound: str = ""
    ended: bool = False
    refused: dict[int, str] = field(default_factory=dict)
    damaged: list[int] = field(default_factory=list)
    end: int = 0
    unended: bool = False

    @property
    def run_id(self) -> str:
        """The run at the server; empty if there is none yet."""
        return self.bound or ("" if self.header.offline else self.header.run_id)

    def _lacks(self, number: int) -> bool:
        return number >= self.sent or number in self.refused

    def pending(self) -> Iterator[tuple[int, bytes]]:
        """Number and line of each record that the server does not have, in order."""
        with self.path.open("rb") as stream:
            for line in _lines(stream, self.path):
                try:
                    fields = decode(line)
                    if fields["kind"] in _NOTES or not self._lacks(fields["n"]):
                        continue
                    record_from(fields["kind"], fields)
                except (ValueError, TypeError, KeyError):
                    continue  # `damaged` tells of it
                yield fields["n"], line


def _lines(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    while line := stream.readline(_LONGEST + 1):
        if len(line) > _LONGEST:
            raise JournalError(
                "this is no journal: a line is too long", where=path, expected=f"at most {_LONGEST:,} bytes"
            )
        yield line


def read_journal(path: Path) -> Contents:
    """Reads what a journal says of itself, with one record in memory at a time.

    Raises:
        JournalError: it is not there, not a journal, or of a newer version.
    """
    try:
        with path.open("rb") as stream:
            lines = _lines(stream, path)
            contents = Contents(path=path, header=_header(next(lines, b""), path))
            stream.seek(0)
            position = 0
            for count, line in enumerate(_lines(stream, path), start=1):
                position += len(line)
                torn = not _take(contents, line, count) and not line.endswith(b"\n")
                if not torn:
                    contents.end, contents.unended = position, not line.endswith(b"\n")
    except OSError as error:
        raise JournalError("the journal cannot be read", where=path, got=error.strerror) from None
    return contents


def _header(line: bytes, path: Path) -> Header:
    try:
        fields = decode(line)
        if fields["kind"] == "header" and fields.get("version") == _VERSION:
            return header_from(fields)
        problem = f"version {fields.get('version')!r}"[:60]
    except ValueError as error:
        problem = str(error)
    raise JournalError(
        "this is no journal of a run, or one of another version",
        where=path,
        got=problem,
        expected=f"a header of version {_VERSION} in the first line",
    )


def _take(contents: Contents, line: bytes, count: int) -> bool:
    """Adds what a line says; False if it cannot be read."""
    try:
        fields = decode(line)
        _apply(contents, fields)
    except ValueError:
        if line.endswith(b"\n"):
            contents.damaged.append(count)
        return False
    return True


def _apply(contents: Contents, fields: dict[str, Any]) -> None:
    kind = fields["kind"]
    if kind == "header":
        return
    number = fields.get("before" if kind == "sent" else "n", 0)
    if not isinstance(number, int) or number < 0:
        raise ValueError("no number")
    if kind == "sent":
        contents.sent = max(contents.sent, number)
        contents.following = max(contents.following, number)
    elif kind == "refused":
        contents.refused[number] = str(fields.get("why"))
    elif kind == "bound":
        contents.bound = str(fields.get("run_id"))
    else:
        record = record_from(kind, fields)
        contents.following = max(contents.following, number + 1)
        contents.ended = kind == "end"
        if isinstance(record, Checkpoints):
            contents.last_checkpoints = number


def record_in(line: bytes) -> Record:
    """The record in a line that has been checked."""
    fields = decode(line)
    return record_from(fields["kind"], fields)
