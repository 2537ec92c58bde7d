"""Protein complexes: which interactions are known within each."""

from __future__ import annotations

from pathlib import Path

from ppi_train.data.text_lines import text_lines
from ppi_train.errors import DataError

COLUMNS = ("complex_id", "protein_a", "protein_b")


def read_complexes(path: str | Path) -> dict[str, list[tuple[str, str]]]:
    """Reads the known interactions of complexes, a TSV or CSV `complex_id protein_a protein_b`.

    A header with these names is optional, and tells the order of the columns where it is there. Rows of
    a complex need not stand together.

    Returns:
        The pairs by complex, both in the order of the file.

    Raises:
        DataError: the file is absent, not text or has no rows; with the line: a wrong number of columns, or
            an empty value.
    """
    rows = text_lines(path, "table of complexes")
    delimiter = "\t" if rows and "\t" in rows[0][1] else ","
    fields = [(number, [one.strip() for one in line.split(delimiter)]) for number, line in rows]
    order = [0, 1, 2]
    if fields and sorted(one.lower() for one in fields[0][1]) == sorted(COLUMNS):
        header = [one.lower() for one in fields.pop(0)[1]]
        order = [header.index(name) for name in COLUMNS]
    if not fields:
        raise DataError("the table of complexes has no rows", where=path, expected=" ".join(COLUMNS))
    found: dict[str, list[tuple[str, str]]] = {}
    for number, values in fields:
        if len(values) != len(COLUMNS) or not all(values):
            raise DataError(
                "a row of the table of complexes is wrong",
                where=f"{path}, line {number}",
                got=repr(delimiter.join(values)[:80]),
                expected=f"{', '.join(COLUMNS)}, separated by tabs or commas",
            )
        name, a, b = (values[place] for place in order)
        found.setdefault(name, []).append((a, b))
    return found
