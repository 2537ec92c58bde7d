"""Lists of proteins that a user names.

They are text files of one accession per line, or FASTA files, of which the accessions are taken.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ppi_train.data.fasta import read_fasta
from ppi_train.errors import DataError
from ppi_train.io.files import GZIP_MAGIC, read_file, text_lines


@dataclass(frozen=True, kw_only=True)
class ProteinList:
    """Distinct accessions, in the order of the file.

    `duplicates` counts lines that repeat an earlier one; `fasta` is the file if it has sequences, else
    None; `source` is the path as it was given, for messages.
    """

    accessions: tuple[str, ...]
    duplicates: int
    fasta: Path | None
    source: str


def read_proteins(path: str | Path) -> ProteinList:
    """Reads the accessions of a list or a FASTA.

    A list has one accession per line; blank lines are skipped. A FASTA may be plain or gzip. The content
    shows which of the two it is.

    Raises:
        DataError: the file is absent, empty or not text, or, with the line, a line has more than one word;
            for a FASTA those of `read_fasta`.
    """
    data = read_file(path, "list of proteins").removeprefix(BOM_UTF8)
    if data.startswith(GZIP_MAGIC) or data.lstrip().startswith(b">"):
        table = read_fasta(path)
        return ProteinList(
            accessions=tuple(table.sequences), duplicates=table.duplicates, fasta=Path(path), source=str(path)
        )
    first_of = _first_lines(path, data)
    if not first_of:
        raise DataError("the list of proteins is empty", where=path, got="blank lines only")
    lines = sum(1 for line in data.splitlines() if line.strip())
    return ProteinList(
        accessions=tuple(first_of), duplicates=lines - len(first_of), fasta=None, source=str(path)
    )


def _first_lines(path: str | Path, data: bytes) -> Mapping[str, int]:
    """Each accession with the number of its first line."""
    first_of: dict[str, int] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        words = line.split()
        if len(words) > 1 or b"\0" in line:
            raise DataError(
                "a line of the list is not an accession",
                where=f"{path}, line {number}",
                got=repr(line[:60].decode("utf-8", "replace")),
                expected="one accession a line, or a FASTA",
                remedy="for a table of pairs give pairs=",
            )
        try:
            if words:
                first_of.setdefault(words[0].decode("utf-8"), number)
        except UnicodeDecodeError:
            raise DataError(
                "an accession is not UTF-8", where=f"{path}, line {number}", got=words[0]
            ) from None
    return first_of


def read_protein_list(path: str | Path) -> list[str]:
    """Reads a list of accessions, one per line.

    Blank lines are skipped and a repeated accession counts once.

    Raises:
        DataError: the file is absent, empty, not text, or a line has more than one word.
    """
    found: dict[str, None] = {}
    for number, line in text_lines(path, "list of proteins"):
        if len(line.split()) != 1:
            raise DataError(
                "a line of the list of proteins is not an accession",
                where=f"{path}, line {number}",
                got=repr(line[:80]),
                expected="one accession a line",
            )
        found[line.strip()] = None
    return list(found)
