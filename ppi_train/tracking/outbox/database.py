"""The file of an outbox: a SQLite database that is read with care, for it may be damaged or hostile.

It uses a rollback journal and not WAL, which network file systems do not carry. SQLite finds pages that do
not fit together, but not a changed byte in a value: each record has a CRC32 for that.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from ppi_train.errors import JournalError
from ppi_train.tracking.outbox.records import (
    Header,
    Record,
    header_from_json,
    header_to_json,
    record_from_json,
    record_to_json,
)

Change: TypeAlias = tuple[str, Sequence[Sequence[object]]]
"""A statement of SQL, and the values to execute it with."""

_APPLICATION = int.from_bytes(b"PPIo", "big")
_VERSION = 1
_SCHEMA = (
    "CREATE TABLE records (number INTEGER PRIMARY KEY, crc32 INTEGER, content BLOB, refused TEXT)",
    "CREATE TABLE run (header BLOB, server_run_id TEXT)",
)
_INSERT = "INSERT INTO records (number, crc32, content) VALUES (?, ?, ?)"
# A model's record, the longest, has a few kB.
_LONGEST = 16 * 2**20
_PAGE = (
    f"SELECT number, crc32, CASE WHEN length(content) <= {_LONGEST} THEN content END FROM records"
    " WHERE number >= ? ORDER BY number LIMIT ?"
)
_ROWS_AT_ONCE = 200
# Python cannot make an error of SQLite's message if that quotes a damaged name.
_DAMAGED = (sqlite3.Error, UnicodeDecodeError)


class Database:
    """The connection to an outbox's file, used by one thread at a time.

    Args:
        path: The file.
        header: Whose it is; None to read that from the file, which must be there then.

    Attributes:
        header: Whose it is.
        server_run_id: The run of the server that one made offline has become; empty before.
        problem: Why the file, as a whole, is damaged; empty if it is not.

    Raises:
        JournalError: it is not an outbox, or cannot be read.
    """

    def __init__(self, path: Path, header: Header | None = None) -> None:
        self._path, self._has_tables = path, header is None
        self._connection: sqlite3.Connection | None = None
        self.server_run_id = self.problem = ""
        try:
            self.header = header or self._read_header()
        except _DAMAGED as error:
            self.close()
            raise JournalError("the outbox is damaged and cannot be read", where=path, got=error) from None
        except BaseException:
            self.close()
            raise

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        return self._connection

    def _read_header(self) -> Header:
        connection = self._connected()
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        self.problem = _check(connection)
        if self.problem:
            connection.execute("PRAGMA writable_schema = ON")  # has SQLite read what is left of a cut file
        tables = tuple(sql for (sql,) in connection.execute("SELECT sql FROM sqlite_schema ORDER BY name"))
        if tables != _SCHEMA:  # such as a view that never ends, or a trigger
            raise _not_ours(self._path, "other tables")
        content, server_run_id = connection.execute("SELECT * FROM run").fetchone() or (b"", "")
        self.server_run_id = str(server_run_id)
        try:
            return header_from_json(content)
        except ValueError:
            raise _not_ours(self._path, "no header") from None

    def rows(self, start: int) -> tuple[list[tuple[int, Record | None]], str]:
        """The next records from a number on, None in place of one that is damaged, and why no more follow."""
        found: list[tuple[int, Record | None]] = []
        least, why = start, ""
        # Python asks for a row ahead, so that an error costs the row before it.
        at_once = 1 if self.problem else _ROWS_AT_ONCE
        try:
            rows = self._connected().execute(_PAGE, (start, at_once)) if self._has_tables else ()
            for number, checksum, content in rows:
                if number < least:  # as a damaged file may say, without end
                    why = "numbers out of order"
                    break
                found.append((number, _record_in(checksum, content)))
                least = number + 1
        except _DAMAGED as error:
            why = str(error)
        return found, why and f"records from number {max(least, 0)} on are lost: {why}"

    def write(self, records: Mapping[int, Record], changes: Sequence[Change]) -> None:
        """Writes all in one transaction, or nothing.

        A damaged file is left as it is: writing would damage it further.

        Raises:
            sqlite3.Error, OSError: there is no room, or the disk cannot be written.
        """
        if self.problem:
            return
        with self._transaction() as connection:
            connection.executemany(_INSERT, (_row(number, record) for number, record in records.items()))
            for statement, values in changes:
                connection.executemany(statement, values)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connected()
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN")
        try:
            if not self._has_tables:
                self._make_tables(connection)
            yield connection
            connection.execute("COMMIT")
            self._has_tables = True
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO run VALUES (?, '')", (header_to_json(self.header),))

    def close(self) -> None:
        if self._connection:
            self._connection.close()


def refuse_other_files(path: Path) -> None:
    """Refuses what is not an outbox by its first bytes, before anything is made beside it.

    Raises:
        JournalError: it is something else, of another version, or not there.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise JournalError("there is no such journal", where=path.absolute())
    with path.open("rb") as stream:
        head = stream.read(100)
    if head[8:].startswith(b' {"kind":"header"'):
        raise JournalError(
            "this is a journal of version 0.2, which this version does not read",
            where=path,
            remedy="in a checkout of version 0.2.0 (git checkout 4e26ede): "
            f"mlflow run . --env-manager local -e sync -P journal={path}",
        )
    if path.with_name(f"{path.name}-journal").exists():
        return  # a commit was broken off: SQLite repairs the file, perhaps its first page, when it opens it
    version, application = (int.from_bytes(head[at : at + 4], "big") for at in (60, 68))
    if not head.startswith(b"SQLite format 3\0") or application != _APPLICATION:
        raise _not_ours(path, "another kind of file")
    if version != _VERSION:
        raise _not_ours(path, f"version {version}")


def _check(connection: sqlite3.Connection) -> str:
    """What SQLite finds wrong with a file, empty if nothing."""
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except _DAMAGED as error:
        return str(error)
    return "" if found == "ok" else str(found).splitlines()[-1]


def _not_ours(path: Path, got: str) -> JournalError:
    return JournalError(
        "this is not the outbox of a run, or of another version", where=path, got=got,
        expected=f"a SQLite file that ppi_train has made, of version {_VERSION}",
    )  # fmt: skip


def _row(number: int, record: Record) -> tuple[Any, ...]:
    content = record_to_json(record)
    return number, zlib.crc32(content), content


def _record_in(checksum: object, content: object) -> Record | None:
    if not isinstance(content, bytes) or zlib.crc32(content) != checksum:
        return None
    try:
        return record_from_json(content)
    except ValueError:
        return None
