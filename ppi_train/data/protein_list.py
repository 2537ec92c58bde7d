"""Lists of proteins that a user names.

Lists of proteins, from a text file of accessions or a FASTA.

Lists of proteins, one accession per line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ppi_train.data.fasta import read_fasta
from ppi_train.errors import DataError
from ppi_train.io.files import BOM, GZIP_MAGIC, read_file, text_lines


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
    data = read_file(path, "list of proteins").removeprefix(BOM)
    if data.startswith(GZIP_MAGIC) or data.lstrip().startswith(b">"):
        table = read_fasta(path)
        return ProteinList(
            accessions=tuple(table.sequences), duplicates=table.duplicates, fasta=Path(path), source=str(path)
        )
    listed = [_accession(path, *line) for line in text_lines(path, "list of proteins", data)]
    if not listed:
        raise DataError("the list of proteins is empty", where=path, got="blank lines only")
    accessions = tuple(dict.fromkeys(listed))
    return ProteinList(
        accessions=accessions, duplicates=len(listed) - len(accessions), fasta=None, source=str(path)
    )


def _accession(path: str | Path, number: int, line: str) -> str:
    words = line.split()
    if len(words) > 1 or "\0" in line:
        raise DataError(
            "a line of the list is not an accession",
            where=f"{path}, line {number}",
            got=repr(line[:60]),
            expected="one accession a line, or a FASTA",
        )
    return words[0]
