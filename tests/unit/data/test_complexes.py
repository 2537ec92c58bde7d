"""Tables of complexes and lists of proteins."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppi_train.data.protein_list import read_protein_list
from ppi_train.data.reference_sets import read_complexes
from ppi_train.errors import DataError


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "table"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "Arp2/3 complex\tA\tB\nCCT\tC\tD\n\nArp2/3 complex\tB\tC\n",
        "complex_id\tprotein_a\tprotein_b\r\nArp2/3 complex\tA\tB\r\nCCT\tC\tD\r\nArp2/3 complex\tB\tC\r\n",
        "\ufeffprotein_a,Protein_B,complex_id\nA,B,Arp2/3 complex\nC, D,CCT\nB,C,Arp2/3 complex",
    ],
)
def test_complexes(tmp_path: Path, text: str) -> None:
    found = read_complexes(written(tmp_path, text))
    assert found == {"Arp2/3 complex": [("A", "B"), ("B", "C")], "CCT": [("C", "D")]}


@pytest.mark.parametrize(
    ("text", "message", "where"),
    [
        ("", "is empty", ""),
        ("\n\n", "has no rows", ""),
        ("complex_id\tprotein_a\tprotein_b\n", "has no rows", ""),
        ("one\tA\tB\none\tA\n", "row of the table of complexes is wrong", "line 2"),
        ("one\tA\tB\tC\n", "row of the table of complexes is wrong", "line 1"),
        (
            "complex_id\tprotein_a\tprotein_a\tprotein_b\none\tA\tB\n",
            "row of the table of complexes is wrong",
            "line 1",
        ),
        ("one\tA\t\n", "row of the table of complexes is wrong", "line 1"),
        (b"one\tA\t\xff\n", "is not text", ""),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, text: str | bytes, message: str, where: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_complexes(written(tmp_path, text))
    assert where in str(caught.value)
    assert str(tmp_path / "table") in str(caught.value)


def test_lists_of_proteins(tmp_path: Path) -> None:
    assert read_protein_list(written(tmp_path, "B\n\n A \nB\n")) == ["B", "A"]
    with pytest.raises(DataError, match="not an accession") as caught:
        read_protein_list(written(tmp_path, "B\nA\t1\n"))
    assert "line 2" in str(caught.value)
    with pytest.raises(DataError, match="is empty"):
        read_protein_list(written(tmp_path, ""))
