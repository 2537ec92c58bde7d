"""Tests of FASTA reading, and of nucleotides found among proteins.

DNA is recognised by long sequences of few letters; no protein set may be mistaken for it.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import random
from pathlib import Path

import pytest

from ppi_train.data.fasta import (
    SequenceTable,
    clean_sequence,
    read_fasta,
    refuse_nucleotides,
    sequence_digest,
    write_fasta,
)
from ppi_train.errors import DataError
from ppi_train.io.files import MAX_RESIDUES


def _write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "proteins.fasta"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _message(path: str | Path) -> str:
    with pytest.raises(DataError) as caught:
        read_fasta(path)
    return str(caught.value)


def test_wrapped_lines_lower_case_and_windows_line_ends(tmp_path: Path) -> None:
    path = _write(tmp_path, "\r\n>P1 some name\r\nMKV\r\nllk\r\n\r\n>P2\r\nAC DE\r\n")
    table = read_fasta(path)
    assert dict(table.sequences) == {"P1": "MKVLLK", "P2": "ACDE"}
    assert list(table.sequences) == ["P1", "P2"]
    assert table.source == str(path)


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("sp|P12345|NAME_HUMAN Some protein", "P12345"),
        ("tr|A0A024|X", "A0A024"),
        ("P1|P2|P3", "P1|P2|P3"),
        ("ref|NP_1.2| thing", "ref|NP_1.2|"),
        ("P1\tdescription", "P1"),
    ],
)
def test_the_key_of_a_header(tmp_path: Path, header: str, key: str) -> None:
    assert list(read_fasta(_write(tmp_path, f">{header}\nMKV\n")).sequences) == [key]


def test_nonstandard_letters_are_kept_and_counted(tmp_path: Path) -> None:
    table = read_fasta(_write(tmp_path, ">P1\nMUOBZJX*KX*\n>P2\nACD*\n"))
    assert dict(table.sequences) == {"P1": "MUOBZJXXKX", "P2": "ACD"}
    assert dict(table.nonstandard) == {"U": 1, "O": 1, "B": 1, "Z": 1, "J": 1, "X": 2, "*": 3}


def test_the_same_record_twice_is_merged_and_counted(tmp_path: Path) -> None:
    table = read_fasta(_write(tmp_path, ">P1\nMKX\n>P1 again\nmkx\n"))
    assert (len(table.sequences), table.duplicates, dict(table.nonstandard)) == (1, 1, {"X": 1})


def test_digest_ignores_order_wrapping_and_compression(tmp_path: Path) -> None:
    plain = read_fasta(_write(tmp_path, ">P1\nMKV\n>P2\nACD\n"))
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(b">P2\nac\nd\n>P1\nMKV"))
    assert read_fasta(packed).digest == plain.digest
    assert plain.digest == hashlib.sha256(b"P1\tMKV\nP2\tACD\n").hexdigest()
    assert read_fasta(_write(tmp_path, ">P1\nMKV\n>P2\nACE\n")).digest != plain.digest
    assert sequence_digest("MKV") == hashlib.sha256(b"MKV").hexdigest()


def test_one_key_with_two_sequences_names_both_lines(tmp_path: Path) -> None:
    message = _message(_write(tmp_path, "\n>P1\nMKV\nLLK\n>P2\nAAA\n>P1\nMKA\n"))
    assert "the key P1 has two sequences" in message
    assert "lines 2 and 7 differ" in message


def test_a_letter_that_is_no_amino_acid_names_line_and_column(tmp_path: Path) -> None:
    message = _message(_write(tmp_path, ">P1\nMKV\n>P2\nACD\nAC1E\n"))
    assert "the sequence of P2 has a letter that is not an amino acid" in message
    assert "line 5, column 3" in message
    assert "got: '1'" in message
    assert "line 2, column 4" in _message(_write(tmp_path, ">P1\nMKVé\n"))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "the FASTA is empty"),
        ("\n \n", "the FASTA is empty"),
        ("P1\tMKV\textra\n", "text before the first `>`"),
        ("\n\nMKV\n>P1\nMKV\n", "line 3"),
        (">P1\nMKV\n>\nMKV\n", "line 3\n  got: >"),
        (">sp||NAME\nMKV\n", "a header has no accession"),
        (">P1\n>P2\nMKV\n", "line 1\n  got: no residue for P1"),
        (">P1\nMKV\n>P2\n\n", "line 3\n  got: no residue for P2"),
        (">P1\n**\n", "only stops for P1"),
        (b"PAR1\0\0\x15", "the file is not text"),
        (b">P\xff1\nMKV\n", "an accession is not UTF-8"),
        (gzip.compress(b">P1\nMKV\n" * 99, mtime=0)[:-9], "the gzip file is cut short"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str | bytes, part: str) -> None:
    path = _write(tmp_path, text)
    message = _message(path)
    assert part in message
    assert str(path) in message


def test_absent_file_and_directory(tmp_path: Path) -> None:
    assert "the FASTA is not there" in _message(tmp_path / "none.fasta")
    assert "the FASTA is a directory" in _message(str(tmp_path))


def test_what_is_written_reads_back_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.fasta"
    write_fasta(path, {"P2": "MKV", "P1": "ACD"})
    assert list(read_fasta(path).sequences.items()) == [("P2", "MKV"), ("P1", "ACD")]
    assert list(path.parent.iterdir()) == [path]


SILK = "GAGAGSGAGAGSGAGAGSGAGAGYGAGAGVGAGYGAGAGAGYGAGAGAGYGAGAGS"
ANTIFREEZE = "DTASDAAAAAALTAANAKAAAELTAANAAAAAAATAR" * 2  # of the winter flounder, twice


def drawn(letters: str, length: int, count: int = 20) -> list[str]:
    rng = random.Random(0)
    return ["".join(rng.choices(letters, k=length)) for _ in range(count)]


def check(sequences: list[str]) -> None:
    table = SequenceTable(
        sequences={f"S{number}": sequence for number, sequence in enumerate(sequences)},
        source="some.fasta",
        nonstandard={},
        duplicates=0,
    )
    refuse_nucleotides(table)


@pytest.mark.parametrize(
    "sequences",
    [
        drawn("ACGT", 300),
        drawn("ACGU", 50),
        drawn("ACGTN", 10_000, count=1),
        [sequence + "RYSWKM" for sequence in drawn("ACGT", 300)],  # what the sequencer could not tell
        drawn("ACGT", 300) + drawn("ACDEFGHIKLMNPQRSTVWY", 300, count=2),
        drawn("ACGT", 300) + drawn("ACDEFGHIKLMNPQRSTVWY", 30, count=200),
    ],
    ids=["dna", "rna", "a single contig", "ambiguous", "mixed with proteins", "mixed with peptides"],
)
def test_nucleotides_are_refused(sequences: list[str]) -> None:
    with pytest.raises(DataError, match=r"DNA or RNA, not proteins\n  where: some.fasta\n  got: \d+ of"):
        check(sequences)


@pytest.mark.parametrize(
    "sequences",
    [
        drawn("ACGT", 49),
        [SILK],
        [ANTIFREEZE],
        drawn("ACDEFGHIKLMNPQRSTVWY", 300),
        drawn("ACGT", 300, count=9) + drawn("ACDEFGHIKLMNPQRSTVWY", 300, count=1),
        ["MKV"],
    ],
    ids=["peptides", "silk", "antifreeze protein", "proteins", "nine tenths", "one tripeptide"],
)
def test_proteins_are_not(sequences: list[str]) -> None:
    check(sequences)


@pytest.mark.parametrize(
    "content",
    [
        b"P1\tMKV\nP2\tMAA\n",
        b"name\tsequence\nP1\tmkv\n\nP2\tMAA\n",
        bz2.compress(b">P1\nMKV\n>P2\nMAA\n"),
    ],
)
def test_other_ways_to_write_sequences(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sequences"
    path.write_bytes(content)
    assert read_fasta(path).sequences == {"P1": "MKV", "P2": "MAA"}


def test_a_row_of_a_table_of_sequences_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "dictionary.tsv"
    path.write_text("P1\tMKV\n" * 11 + "P2\n")
    with pytest.raises(DataError, match=r"wrong number of columns(?s:.*)row 12"):
        read_fasta(path)
    path.write_text("P1\tMKV\nP2\tM1V\n")
    with pytest.raises(DataError, match=r"not an amino acid(?s:.*)line 2"):
        read_fasta(path)


def test_a_sequence_of_a_request_has_the_bound_of_one_in_a_file() -> None:
    assert clean_sequence("m" * MAX_RESIDUES) == "M" * MAX_RESIDUES
    with pytest.raises(DataError, match="the sequence is too long to be a protein") as caught:
        clean_sequence("M" * (MAX_RESIDUES + 1))
    assert "got: 100,001 letters, which begin with 'MMMM" in str(caught.value)
    assert "expected: at most 100,000" in str(caught.value)
