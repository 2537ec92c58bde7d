"""The lines of a user's small text file."""

from __future__ import annotations

from pathlib import Path

from ppi_train.data.fasta import read_file
from ppi_train.errors import DataError


def text_lines(path: str | Path, kind: str) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1.

    Args:
        path: The file.
        kind: Names the file in messages.

    Raises:
        DataError: the file is absent, empty, or not text in UTF-8.
    """
    try:
        text = read_file(path, kind).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"the {kind} is not text", where=path, got=f"the byte 0x{error.object[error.start]:02x}"
        ) from error
    return [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
