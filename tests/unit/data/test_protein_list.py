"""Tests of accession lists: detection by content, and errors with line numbers."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ppi_train.data.protein_list import read_proteins
from ppi_train.errors import DataError


def test_accessions_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfP2\r\n\r\n  P1 \nP2\nQ3")
    found = read_proteins(path)
    assert found.accessions == ("P2", "P1", "Q3")
    assert found.duplicates == 1
    assert found.fasta is None


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_fasta_is_a_list_with_sequences(pack: type[bytes], tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(pack(b">sp|P1|X some\nMKV\n>Q2\nMK\n"))
    found = read_proteins(path)
    assert found.accessions == ("P1", "Q2")
    assert found.fasta == path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the list of proteins is empty"),
        (b"\n  \n", "the list of proteins is empty"),
        (b"P1\nP2\tP3\n", r"not an accession\n  where: .*line 2\n  got: 'P2\\tP3'"),
        (b"P1\n\xff\n", r"not text in UTF-8\n  where: .*line 2"),
        (b"P1\0\n", "line 1"),
    ],
)
def test_what_is_no_list(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_proteins(path)
