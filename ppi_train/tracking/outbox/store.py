"""The outbox of a run: what it logs, until the tracking server has it.

Training threads put records into memory; one thread writes them to a file, at most SYNC_SECONDS later, and
removes from it those that were sent. A lock beside the file shows that a process works on it.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from ppi_train.errors import JournalError, StorageError, TrackingError
from ppi_train.tracking.outbox.database import Change, Database, refuse_other_files
from ppi_train.tracking.outbox.records import Checkpoints, End, Header, Record
from ppi_train.tracking.outbox.unsent import UnsentCheckpoints

logger = logging.getLogger(__name__)

NAME = "outbox.db"
LEGACY_NAME = "journal.jsonl"
"""What version 0.2 wrote in place of an outbox; it is named, and not read."""
SYNC_SECONDS = 1.0
# A file system that hangs must not keep the process from ending.
_FLUSH_SECONDS = 30.0


class Store:
    """An outbox that this process has locked.

    No error of its disk ends a run: what cannot be written stays in memory, and is written once that works.

    Attributes:
        path: The file.
        header: Whose it is.
        ended: Whether an opened outbox says how its run ended.
        damaged: What cannot be read of an opened outbox.
        checkpoints: Those that wait for their upload.
    """

    def __init__(self, path: Path, lock: IO[str], database: Database) -> None:
        self.path, self._lock, self._database = path, lock, database
        self.header = database.header
        self.ended = False
        self.damaged = [f"the file is damaged: {database.problem}"] if database.problem else []
        self.checkpoints = UnsentCheckpoints(path.parent)
        self._next = 0
        # What the file does not say yet: new records by number, and other changes in their order.
        self._unwritten: dict[int, Record] = {}
        self._changes: list[Change] = []
        self._changed = threading.Condition()
        self._using_file = threading.Lock()
        self._flushes_wanted = self._flushes_done = 0
        self._closing = self._warned = False
        for number, record in self._rows(self.damaged):
            self._next = number + 1
            self.ended |= isinstance(record, End)
            if isinstance(record, Checkpoints):
                self.checkpoints.found(number)
        self._thread = threading.Thread(target=self._keep_written, name="outbox", daemon=True)
        self._thread.start()

    @classmethod
    def create(cls, path: Path, header: Header) -> Store:
        """Starts an outbox.

        Raises:
            StorageError: nothing can be written there.
            TrackingError: another process has locked it, or it holds what was never sent.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = _locked(path)
            holds_more = path.exists() and path.stat().st_size > 0
        except OSError as error:
            raise StorageError(
                "the outbox of the run cannot be made", where=path.absolute(), got=error.strerror,
                remedy="give an output_dir that can be written to",
            ) from None  # fmt: skip
        if holds_more:
            lock.close()
            raise TrackingError(
                "the run has an outbox that was never sent",
                where=path,
                remedy=f"send it: mlflow run . --env-manager local -e sync -P journal={path}",
            )
        store = cls(path, lock, Database(path, header))
        store.flush()
        return store

    @classmethod
    def open(cls, path: Path) -> Store:
        """Opens the outbox of a process that has ended.

        Raises:
            JournalError: it is not an outbox, or cannot be read.
            TrackingError: its process is alive.
        """
        try:
            refuse_other_files(path)
            lock = _locked(path)
        except OSError as error:
            raise JournalError("the outbox cannot be opened", where=path, got=error.strerror) from None
        try:
            return cls(path, lock, Database(path))
        except BaseException:
            lock.close()
            raise

    def pending(self) -> Iterator[tuple[int, Record]]:
        """Number and record of all in the file that the server does not have, in order."""
        return ((number, record) for number, record in self._rows([]) if record)

    def _rows(self, problems: list[str]) -> Iterator[tuple[int, Record | None]]:
        start, why_no_more = -(2**63), ""
        while not why_no_more:
            with self._using_file:
                page, why_no_more = self._database.rows(start)
            if not page:
                break
            for number, record in page:
                if record is None:
                    problems.append(f"record {number} is damaged")
                yield number, record
            start = page[-1][0] + 1
        if why_no_more:
            problems.append(why_no_more)

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def run_id(self) -> str:
        """The run at the server; empty if there is none yet."""
        return self._database.server_run_id or ("" if self.header.offline else self.header.run_id)

    @property
    def unwritten(self) -> int:
        """How many records are in memory only."""
        with self._changed:
            return len(self._unwritten)

    def relative(self, path: Path) -> str:
        """A path as a record has it, so that the run's folder can be moved, with all that is in it."""
        absolute = path.absolute()
        folder = self.folder.absolute()
        return str(absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute)

    def add(self, record: Record) -> int:
        """Adds a record, to be written soon; returns its number."""
        with self._changed:
            number = self._next
            self._next += 1
            self._unwritten[number] = record
            self._changed.notify_all()
        if isinstance(record, Checkpoints):
            self.checkpoints.added(number, record)
        return number

    def mark_sent(self, numbers: Sequence[int]) -> None:
        """Removes records that the server has."""
        with self._changed:
            for number in numbers:
                self._unwritten.pop(number, None)  # it need not be written any more
            self._changes.append(("DELETE FROM records WHERE number = ?", [(number,) for number in numbers]))
            self._changed.notify_all()

    def mark_refused(self, number: int, why: str) -> None:
        """Keeps a record that the server will not have, with the reason."""
        self._change("UPDATE records SET refused = ? WHERE number = ?", why[:1000], number)

    def bind(self, run_id: str) -> None:
        """Writes down which run of the server this one has become."""
        self._database.server_run_id = run_id
        self._change("UPDATE run SET server_run_id = ?", run_id)
        self.flush()

    def _change(self, statement: str, *values: object) -> None:
        with self._changed:
            self._changes.append((statement, [values]))
            self._changed.notify_all()

    def flush(self) -> None:
        """Waits until all is on the disk, or cannot be written."""
        with self._changed:
            self._flushes_wanted += 1
            mine = self._flushes_wanted
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._flushes_done >= mine or self._closing, _FLUSH_SECONDS)

    def _keep_written(self) -> None:
        """Writes what is new until the store is closed, and once more then."""
        closing = False
        while not closing:
            with self._changed:
                self._changed.wait_for(lambda: self._unwritten or self._changes or self._is_urgent())
                flushes, closing = self._flushes_wanted, self._closing
            self._commit()
            with self._changed:
                self._flushes_done = flushes
                self._changed.notify_all()
                self._changed.wait_for(self._is_urgent, SYNC_SECONDS)
        self._database.close()

    def _is_urgent(self) -> bool:
        return self._closing or self._flushes_wanted > self._flushes_done

    def _commit(self) -> None:
        # Asked for before what is new is looked up, so that what replaces them is written first.
        replaced = self.checkpoints.replaced()
        try:
            self._write_changes()
        finally:
            self.checkpoints.remove(replaced)  # on a full disk too: they take the room

    def _write_changes(self) -> None:
        with self._changed:
            records, changes = dict(self._unwritten), list(self._changes)
        try:
            with self._using_file:
                self._database.write(records, changes)
        except (sqlite3.Error, OSError) as error:
            if not self._warned:
                logger.warning(
                    "the outbox cannot be written (%s): what follows is kept in memory and sent from there; "
                    "make room for it, or make it writable: %s", error, self.path,
                )  # fmt: skip
            self._warned = True
            return
        self._warned = False
        with self._changed:
            for number in records:
                self._unwritten.pop(number, None)
            del self._changes[: len(changes)]

    def close(self) -> None:
        """Writes all and releases the outbox."""
        self._end_thread()
        self._lock.close()

    def remove(self) -> None:
        """Removes an outbox that was sent; its folder goes too if nothing else is in it."""
        self._end_thread()
        try:
            self.path.unlink(missing_ok=True)
            self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)
        except OSError as error:
            logger.warning("the server has all, but the outbox cannot be removed (%s): %s", error, self.path)
        self.checkpoints.remove_all()
        self._release_for_good()
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def set_aside(self) -> Path:
        """Closes an outbox of refused records; gives its new name, under which it is sent on demand only."""
        self._end_thread()
        kept = self.path.with_name(f"refused-{time.time_ns()}-{secrets.token_hex(4)}-{NAME}")
        try:
            self.path.rename(kept)
        except OSError as error:  # also if the disk did not take the file in the first place
            logger.warning("the outbox cannot be renamed to %s: %s", kept.name, error)
            kept = self.path
        self._release_for_good()
        return kept

    def _end_thread(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _release_for_good(self) -> None:
        with contextlib.suppress(OSError):
            _lock_of(self.path).unlink(missing_ok=True)
        self._lock.close()


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def _locked(path: Path) -> IO[str]:
    """Locks an outbox; the system releases the lock when the process ends."""
    lock = _lock_of(path)
    stream = lock.open("a")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A process that has just sent the outbox removes the lock file, which may have been opened before.
        if os.path.samestat(os.fstat(stream.fileno()), lock.stat()):
            return stream
    except (BlockingIOError, FileNotFoundError):
        pass  # in use, or just removed
    except BaseException:
        stream.close()
        raise
    stream.close()
    raise TrackingError(
        "another process works on this run",
        where=path.absolute(),
        remedy="wait until it ends, or end it",
    )
