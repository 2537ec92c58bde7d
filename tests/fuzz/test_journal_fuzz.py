"""Fuzz tests of journals: changed bytes, and odd records with valid checksums."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.mutations import broken, broken_json
from tests.support.watched import outcome

pytestmark = pytest.mark.slow

journal = pytest.importorskip("ppi_train.tracking.outbox.store")

RECORDS: tuple[dict[str, Any], ...] = (
    {
        "kind": "header",
        "version": 1,
        "run_id": "0" * 32,
        "journal_id": "0" * 32,
        "offline": False,
        "server": "http://127.0.0.1:5000",
        "started": 1_700_000_000_000,
        "experiment": "0",
        "tags": {"ppi.mode": "x"},
    },
    {
        "kind": "metrics",
        "n": 0,
        "points": [{"name": "a", "value": 0.5, "timestamp": 1, "step": 2}],
        "model": "",
        "anew": False,
    },
    {"kind": "parameters", "n": 1, "values": {"a": "b"}},
    {"kind": "tags", "n": 2, "values": {"a": "b"}},
    {"kind": "sent", "before": 1},
    {"kind": "refused", "n": 2, "why": "no"},
    {"kind": "bound", "run_id": "1" * 32},
)


def line(fields: Any) -> bytes:
    text = json.dumps(fields).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def read(path: Path) -> None:
    """What `sync` reads of a journal before it speaks to a server."""
    contents = journal.read_journal(path)
    for _, entry in contents.pending():
        journal.record_in(entry)


def test_a_whole_one_is_read(folder: Path) -> None:
    path = folder / "journal.jsonl"
    path.write_bytes(b"".join(map(line, RECORDS)))
    assert outcome(lambda: read(path)) is None
    assert journal.read_journal(path).damaged == []


@given(content=broken([b"".join(map(line, RECORDS)), line(RECORDS[0])]))
def test_bytes(folder: Path, content: bytes) -> None:
    path = folder / "journal.jsonl"
    path.write_bytes(content)
    outcome(lambda: read(path))


@given(
    content=broken_json(list(RECORDS), ["metrics", "sent", "end", "files", "OWN", "../x"]),
    cut=st.integers(0, 9),
)
def test_records(folder: Path, content: Any, cut: int) -> None:
    lines = content if isinstance(content, list) else [content]
    path = folder / "journal.jsonl"
    path.write_bytes(b"".join(map(line, lines))[cut and -cut :])
    outcome(lambda: read(path))


def test_a_line_without_end(folder: Path) -> None:
    path = folder / "journal.jsonl"
    with path.open("wb") as stream:
        stream.truncate(1 << 30)
    assert "too long" in (outcome(lambda: read(path)) or "")
