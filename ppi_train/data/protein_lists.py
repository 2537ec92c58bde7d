"""Lists of proteins, one accession per line."""

from __future__ import annotations

from pathlib import Path

from ppi_train.errors import DataError
from ppi_train.io.files import text_lines


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
