"""Fuzz tests of outboxes: changed bytes, and odd records with valid checksums."""

from __future__ import annotations

import json
import sqlite3
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from ppi_train.tracking.outbox.records import Header, Metrics, Parameters, Point, Record, Tags
from ppi_train.tracking.outbox.store import NAME, Store
from tests.support.mutations import broken, broken_json
from tests.support.watched import outcome

pytestmark = pytest.mark.slow

HEADER = Header(
    run_id="0" * 32,
    journal_id="0" * 32,
    offline=False,
    server="http://127.0.0.1:5000",
    started=1_700_000_000_000,
    experiment="0",
    tags={"ppi.mode": "x"},
)
RECORDS: list[Record] = [
    Metrics(points=(Point(name="a", value=0.5, timestamp=1, step=2),)),
    Parameters(values={"a": "b"}),
    Tags(values={"a": "b" * 6000}),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / NAME
    store = Store.create(path, HEADER)
    for record in RECORDS:
        store.add(record)
    store.close()
    return path.read_bytes()


def read(path: Path) -> list[str]:
    """What `sync` reads of an outbox before it speaks to a server; gives what is damaged."""
    store = Store.open(path)
    try:
        for number, _ in store.pending():
            store.mark_sent([number])
        return store.damaged
    finally:
        store.close()


def test_a_whole_outbox_is_read(folder: Path, whole: bytes) -> None:
    (folder / NAME).write_bytes(whole)
    assert read(folder / NAME) == []


@given(draw=broken([b"\0" * 20_000]))
def test_bytes(folder: Path, whole: bytes, draw: bytes) -> None:
    # The damages are drawn for a file of zeros, of which the file is the other half: it is made at run time.
    changed = bytes(a ^ b for a, b in zip(whole, draw.ljust(len(whole), b"\0"), strict=False))
    (folder / NAME).write_bytes(changed[: len(draw)] if len(draw) < 20_000 else changed)
    outcome(lambda: read(folder / NAME))


@given(
    content=broken_json([asdict(record) for record in RECORDS], ["metrics", "end", "files", "own", "../x"])
)
def test_records(folder: Path, whole: bytes, content: Any) -> None:
    path = folder / NAME
    path.write_bytes(whole)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM records")
        for number, record in enumerate(content if isinstance(content, list) else [content]):
            text = json.dumps(record).encode()
            values = (number, zlib.crc32(text), text)
            connection.execute("INSERT INTO records (number, crc32, content) VALUES (?, ?, ?)", values)
    connection.close()
    outcome(lambda: read(path))


@given(content=broken_json(asdict(HEADER), ["../x"]))
def test_headers(folder: Path, whole: bytes, content: Any) -> None:
    path = folder / NAME
    path.write_bytes(whole)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE run SET header = ?", (json.dumps(content).encode(),))
    connection.close()
    outcome(lambda: read(path))


def test_a_file_with_a_hole_of_a_gigabyte(folder: Path, whole: bytes) -> None:
    path = folder / NAME
    path.write_bytes(whole)
    with path.open("r+b") as stream:
        stream.truncate(1 << 30)
    outcome(lambda: read(path))
