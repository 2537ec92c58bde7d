"""Tests of text tables of pairs that are parsed block by block."""

from __future__ import annotations

import numpy as np
import pytest

from ppi_train.data import pair_text
from ppi_train.data.pair_text import text_columns
from ppi_train.errors import DataError

TABLES = (
    b"P2\tP1\t1\nP3\tP1\t0\n\nP1\tP2\t1\nP4\tP1\t1\n",
    b"\xef\xbb\xbfProtein_A,protein_b,LABEL\r\nP2,P1,1\r\n\r\nP3,P1,0\r\n \r\nP3,P2,0",
    b'"P2","P1","1"\n  \n"P3"," P1 ","0"\nP4,P1,1\n',
    b"# made\nP2 P1 1\nP3  P1 0\n  P4 P1 1\n#\nNA P1 1\n",
    b"label\tscore\tprotein_b\tprotein_a\n1\t0.3\tP1\tP\xc3\xa9\n\t\n0\t\tP1\tP3\n",
    b"P2\tP1\t1\rP3\tP1\t0\r#\rP4\tP1\t0",
    b"protein_a\tprotein_b\n",
    b"A\tB\t1\n\nA\tC\nA\tD\t1\n",
    b'A\tB\t1\n"A\tC\t1\nA\tD"\t1\nA\tE\t1\n',
    b"A\tB\t1\nA\tC\t1\nA\t\xff\t1\n",
    b"A\tB\t1\nA\tC\t1\nA\t" + b"D" * 200_000 + b"\t1\nA\tB\t1\n",
    b"A\tB\t1\nA\tC\t1\nA\t" + b"D" * 200_000,
    b"A\tB\t1\rA\tC\t1\rA\t" + b"D" * 200_000 + b"\rA\tB\t0",
)


def outcome(data: bytes) -> object:
    """All that `text_columns` says of a table."""
    try:
        columns, place = text_columns("t.tsv", data, scores=("score",))
    except DataError as error:
        return str(error)
    rows = len(columns["protein_a"])
    return {name: column.to_pylist() for name, column in columns.items()}, [place(at) for at in range(rows)]


def expected(data: bytes) -> list[str]:
    """The lines of the rows, by Python."""
    lines = [line.strip() for line in data.removeprefix(b"\xef\xbb\xbf").decode().splitlines()]
    rows = [(number, line) for number, line in enumerate(lines, start=1) if line and not line.startswith("#")]
    return [f"line {number}" for number, line in rows if "protein_" not in line.lower()]


@pytest.mark.parametrize("block", [1, 8, 40])
@pytest.mark.parametrize("data", TABLES)
def test_blocks_are_not_seen(monkeypatch: pytest.MonkeyPatch, data: bytes, block: int) -> None:
    whole = outcome(data)
    assert isinstance(whole, str) or whole[1] == expected(data)  # type: ignore[index]
    monkeypatch.setattr(pair_text, "_BLOCK", block)
    assert outcome(data) == whole


@pytest.mark.parametrize("data", TABLES[-3:])
def test_a_long_line_is_refused_wherever_it_is(data: bytes) -> None:
    message = str(outcome(data))
    assert all(part in message for part in ("too long", "t.tsv, line 3", "at most 100,000"))


def test_many_names_have_wide_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_text, "_BLOCK", 4096)
    names = [f"P{number}" for number in np.random.default_rng(0).integers(0, 5000, 4000)]
    columns, _ = text_columns("t.tsv", "".join(f"{name}\tB\t1\n" for name in names).encode())
    assert columns["protein_a"].to_pylist() == names
    assert set(columns["label"].to_pylist()) == {"1"}
