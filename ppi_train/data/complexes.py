"""Protein complexes and their known interactions."""

from __future__ import annotations

from pathlib import Path

from ppi_train.errors import DataError
from ppi_train.io.files import text_lines

COLUMNS = ("complex_id", "protein_a", "protein_b")


def read_complexes(path: str | Path) -> dict[str, list[tuple[str, str]]]:
    """Reads the known interactions of complexes from TSV or CSV.

    The columns are `complex_id`, `protein_a` and `protein_b`. A header with these names is optional and
    gives the order of the columns. The rows of a complex need not be adjacent.

    Returns:
        The pairs by complex, both in the order of the file.

    Raises:
        DataError: the file is absent, not text or has no rows; with the line: a wrong number of columns, or
            an empty value.
    """
    rows = text_lines(path, "table of complexes")
    delimiter = "\t" if rows and "\t" in rows[0][1] else ","
    fields = [(number, [value.strip() for value in line.split(delimiter)]) for number, line in rows]
    order = [0, 1, 2]
    if fields and sorted(value.lower() for value in fields[0][1]) == sorted(COLUMNS):
        header = [value.lower() for value in fields.pop(0)[1]]
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
