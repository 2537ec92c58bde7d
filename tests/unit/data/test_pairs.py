"""Tests of pair tables: formats, merged rows, and messages with the line."""

from __future__ import annotations

import bz2
import gzip
import logging
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ppi_train.data import pairs
from ppi_train.data.pairs import PairTable, pairs_from_ids, read_pairs, write_pairs
from ppi_train.errors import DataError


def _write(tmp_path: Path, text: str | bytes, name: str = "pairs.tsv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _message(path: str | Path, *, require_labels: bool = True) -> str:
    with pytest.raises(DataError) as caught:
        read_pairs(path, labels="required" if require_labels else "optional")
    return str(caught.value)


def _rows(table: PairTable) -> list[tuple[str, str, int | None]]:
    labels = [None] * len(table) if table.labels is None else table.labels.tolist()
    return [
        (table.proteins[a], table.proteins[b], label)
        for (a, b), label in zip(table.index.tolist(), labels, strict=True)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "P2\tP1\t1\nP3\tP1\t0\n",
        "protein_a\tprotein_b\tlabel\nP2\tP1\t1\nP3\tP1\t0\n",
        "\ufeffProtein_A,protein_b,LABEL\r\nP2,P1,1\r\n\r\nP3,P1,0\r\n",
        "label,score,protein_b,protein_a\n1.0,0.3,P1,P2\n0.0,,P1,P3",
        '"P2","P1","1"\n  \n"P3"," P1 ","0"\n',
        "P2;P1;1\nP3;P1;0\n",
        "P2 P1 1\nP3  P1 0\n",
        "# made by a pipeline\nprotein_a\tprotein_b\tlabel\nP2\tP1\t1.00\n# a remark\nP3\tP1\t0.00\n",
        "proteinA,proteinB,interaction\nP2,P1,True\nP3,P1,False\n",
        "Protein 1\tProtein 2\tLabel\nP2\tP1\t1\nP3\tP1\t0\n",
        gzip.compress(b"P2\tP1\t1\nP3\tP1\t0\n", mtime=0),
        bz2.compress(b"P2\tP1\t1\nP3\tP1\t0\n"),
        pa.compress(b"P2\tP1\t1\nP3\tP1\t0\n", codec="zstd", asbytes=True),
        "source,target,weight,label\nP2,P1,0.5,1\nP3,P1,0.25,0\n",
    ],
)
def test_the_ways_to_write_a_table(tmp_path: Path, text: str | bytes) -> None:
    table = read_pairs(_write(tmp_path, text))
    assert table.proteins == ("P1", "P2", "P3")
    assert _rows(table) == [("P1", "P2", 1), ("P1", "P3", 0)]
    assert (table.index.dtype, len(table), table.positives) == (np.dtype(np.int32), 2, 1)


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([1, 0]),
        pa.array([1.0, 0.0]),
        pa.array([True, False]),
        pa.array(["1", "0"]),
        pa.array(["1", "0"]).dictionary_encode(),
        pa.array([Decimal("1.0"), Decimal("0.0")]),
    ],
)
def test_parquet(tmp_path: Path, labels: pa.Array) -> None:
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.table({"protein_b": ["P1", "P1"], "protein_a": ["P2", "P3"], "label": labels}), path)
    assert _rows(read_pairs(path)) == [("P1", "P2", 1), ("P1", "P3", 0)]


def test_pairs_are_unordered_and_duplicates_are_counted(tmp_path: Path) -> None:
    table = read_pairs(_write(tmp_path, "B\tA\t1\nC\tC\t0\nA\tB\t1\nB\tA\t1\n"))
    assert _rows(table) == [("A", "B", 1), ("C", "C", 0)]
    assert table.duplicates == 2


def test_digest_ignores_order_but_not_labels(tmp_path: Path) -> None:
    first = read_pairs(_write(tmp_path, "B\tA\t1\nC\tA\t0\n"))
    second = read_pairs(_write(tmp_path, "A,C,0\nA,B,1\n", "other.csv"))
    assert first.digest == second.digest
    assert first.digest != read_pairs(_write(tmp_path, "B\tA\t0\nC\tA\t0\n")).digest
    assert first.digest != read_pairs(_write(tmp_path, "B\tA\nC\tA\n"), labels="optional").digest


def test_select_has_a_vocabulary_of_its_own() -> None:
    table = pairs_from_ids(["D", "A", "C"], ["A", "B", "D"], [1, 0, 1], "here")
    kept = table.select(np.array([True, False, True]))
    assert kept.proteins == ("A", "C", "D")
    assert _rows(kept) == [("A", "D", 1), ("C", "D", 1)]
    assert len(table.select(np.zeros(3, bool))) == 0


def test_one_pair_with_both_labels_names_both_lines(tmp_path: Path) -> None:
    text = "protein_a\tprotein_b\tlabel\n\nA\tB\t1\nA\tC\t1\n\nB\tA\t0\nC\tA\t0\nC\tA\t0\n"
    path = _write(tmp_path, text)
    message = _message(path)
    assert "2 pairs have both labels" in message
    assert f"{path}, line 3 and line 6" in message
    assert "A and B with label 1 and with label 0" in message
    with pytest.raises(DataError, match="row 1 and row 2"):
        pairs_from_ids(["A", "B"], ["B", "A"], [0, 1], "here")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["the pair table is empty"]),
        ("\n\n", ["the pair table is empty"]),
        ("protein_a\tprotein_b\tlabel\n", ["no pairs"]),
        ("A\tB\t1\n\nA\tC\t2\n", ["neither 0 nor 1", "line 3", "got: '2'"]),
        ("A\tB\t1\nA\tC\t\n", ["neither 0 nor 1", "line 2", "got: ''"]),
        ("A\tB\t1\nA\tC\tyes\nA\tD\tno\n", ["neither 0 nor 1 (2 rows)", "line 2", "'yes'"]),
        ("A\tB\t1\n\nA\tC\n", ["wrong number of columns", "line 3", "2 in 'A\\tC'", "expected: 3"]),
        ("A B 1 0.3\n", ["wrong number of columns", "line 1", "tabs, commas, semicolons or blanks"]),
        ("first\tsecond\tscore\nA\tB\t1\n", ["looks like a header", "line 1", "protein1, protein2"]),
        ("first\tsecond\tscore\nA\tB\t1\nA\tC\tyes\n", ["neither 0 nor 1 (2 rows)", "line 1", "'score'"]),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 4\n", ["git-LFS", "git lfs pull"]),
        ("<!DOCTYPE html>\n<html>A\tB</html>\n", ["web page", "download the file itself"]),
        ("MKVLLAAGGCCWWYYHHEEDDKKRRSS,MKVLLAAGGCCWWYYHHEEDDKKRRST,1\n" * 3, ["sequences, not accessions"]),
        (gzip.compress(b"A\tB\t1\n", mtime=0)[:-6], ["gzip file is cut short"]),
        ("A\tB\t1\t0.3\n", ["wrong number of columns", "2 or 3"]),
        ("#ID A\tID B" + "\t-" * 13 + "\nP1\tP2" + "\t-" * 13 + "\n", ["15 in", "network=FILE"]),
        ("A\tB\t1\n\t\t1\n", ["a pair has no protein_a", "line 2"]),
        ("A\tB\t1\nA\t \t1\n", ["a pair has no protein_b", "line 2"]),
        ("A\tB\n", ["no labels", "a column `label`"]),
        ("protein_a\tpartner\tlabel\nA\tB\t1\n", ["the header has no protein_b", "line 1"]),
        ("protein_a,protein_b,label,Label\nA,B,1,1\n", ["the header has label twice"]),
        ('A\tB\t1\n"A\tC\t1\nA\tD"\t1\nA\tE\t1\n', ["line 2"]),
        (b"A\tB\t1\nA\t\xff\t1\n", ["not text in UTF-8", "line 2", "0xff"]),
        (b"A\tB\t1\nA\t\0\t1\n", ["not text"]),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str | bytes, parts: list[str]) -> None:
    path = _write(tmp_path, text)
    message = _message(path)
    assert all(part in message for part in [*parts, str(path)]), message


def test_labels_may_be_absent_for_prediction(tmp_path: Path) -> None:
    table = read_pairs(_write(tmp_path, "A\tB\nA\tC\n"), labels="optional")
    assert table.labels is None
    assert table.positives == 0


def test_parquet_that_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"protein_a": ["A"], "protein_b": ["B"], "label": [2]}), whole)
    assert "row 1" in _message(whole)
    assert "cut short" in _message(_write(tmp_path, whole.read_bytes()[:-20], "cut.parquet"))
    assert "cut short" in _message(_write(tmp_path, b"PAR", "tiny.parquet"))
    pq.write_table(pa.table({"a": ["A"], "b": ["B"]}), whole)
    assert "the header has no protein_a and no protein_b" in _message(whole)
    pq.write_table(pa.table({"protein_a": [["A"]], "protein_b": ["B"], "label": [1]}), whole)
    assert "protein_a cannot be read as text" in _message(whole)
    pq.write_table(pa.table({"protein_a": ["A", None], "protein_b": ["B", "C"], "label": [1, 1]}), whole)
    assert "a pair has no protein_a" in _message(whole)


def test_absent_file_and_directory(tmp_path: Path) -> None:
    assert "the pair table is not there" in _message(tmp_path / "none.tsv")
    assert "the pair table is a directory" in _message(tmp_path)


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.tsv"
    table = pairs_from_ids(["D", "A", 'odd "name"'], ["A", "B, b", "D"], [1, 0, 1], "here")
    write_pairs(path, table)
    assert path.read_text().startswith("protein_a\tprotein_b\tlabel\n")
    assert _rows(read_pairs(path)) == _rows(table)
    assert list(path.parent.iterdir()) == [path]
    write_pairs(path, pairs_from_ids(["D"], ["A"], None, "here"))
    assert path.read_text() == "protein_a\tprotein_b\nA\tD\n"


def test_a_table_is_written_and_digested_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"P{number}" for number in range(40)]
    table = pairs_from_ids(names, names[1:] + names[:1], [0, 1] * 20, "here")
    whole = table.digest
    # As version 0.2 computed it.
    assert whole == "87852382001b45daeeaa120acf75c4f9ecedd2d56712b697b00510e9ed2bff26"
    monkeypatch.setattr(pairs, "_PART", 7)
    assert replace(table).digest == whole
    write_pairs(tmp_path / "out.parquet", table)
    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 6
    assert _rows(read_pairs(tmp_path / "out.parquet")) == _rows(table)
    write_pairs(tmp_path / "none.parquet", table.select(np.zeros(40, bool)))
    assert pq.read_table(tmp_path / "none.parquet").column_names == ["protein_a", "protein_b", "label"]


@pytest.mark.parametrize("labels", [[1, 0, 1], None])
def test_a_mapped_table_is_the_same(tmp_path: Path, labels: list[int] | None) -> None:
    table = pairs_from_ids(["D", "A", "C"], ["A", "B", "D"], labels, "here")
    for _ in range(2):  # made, and found
        mapped = table.mapped(tmp_path / "train")
        assert isinstance(mapped.index, np.memmap)
        assert (mapped.digest, _rows(mapped)) == (table.digest, _rows(table))


@pytest.mark.parametrize("encoding", ["DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY", "PLAIN"])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary()])
def test_parquet_by_other_writers(tmp_path: Path, encoding: str, kind: pa.DataType) -> None:
    columns = {"protein_a": ["P2", "P3"], "protein_b": ["P1", "P1"]}
    path = tmp_path / "pairs.parquet"
    table = pa.table({name: pa.array(names, kind) for name, names in columns.items()})
    pq.write_table(table, path, use_dictionary=False, column_encoding=dict.fromkeys(columns, encoding))
    assert _rows(read_pairs(path, labels="optional")) == [("P1", "P2", None), ("P1", "P3", None)]


def test_other_names_of_columns_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    read_pairs(_write(tmp_path, "proteinA,proteinB,interaction\nP2,P1,1\n"))
    assert "the column proteinA is taken as protein_a" in caplog.text
    assert "the column interaction is taken as label" in caplog.text


def test_a_header_without_labels_does_not_become_a_pair(tmp_path: Path) -> None:
    table = read_pairs(_write(tmp_path, "proteinA\tproteinB\nP2\tP1\n"), labels="optional")
    assert _rows(table) == [("P1", "P2", None)]
    path = _write(tmp_path, "left\tright\nP2\tP1\n")
    with pytest.raises(DataError, match="looks like a header"):
        read_pairs(path, labels="optional", known={"P1", "P2"})


def test_an_isolated_first_pair_stays_a_pair(tmp_path: Path) -> None:
    path = _write(tmp_path, "P8\tP9\nP2\tP1\n")
    expected = [("P8", "P9", None), ("P1", "P2", None)]
    assert _rows(read_pairs(path, labels="optional")) == expected
    assert _rows(read_pairs(path, labels="optional", known={"P1", "P2", "P8"})) == expected
    # Neither has a sequence, and nor have the pairs behind it: nothing speaks for a header.
    assert _rows(read_pairs(path, labels="optional", known={"P5"})) == expected


@pytest.mark.parametrize("text", ["A\tB\t0.73\n", "protein_a\tprotein_b\tlabel\nA\tB\t\n", "A\tB\tno\n"])
def test_labels_that_are_ignored_may_be_anything(tmp_path: Path, text: str) -> None:
    assert _rows(read_pairs(_write(tmp_path, text), labels="ignored")) == [("A", "B", None)]
