"""Embeddings in a Parquet file with a column of names and one of lists."""

from __future__ import annotations

import bisect
import itertools
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppi_train.embeddings.import_sources.base import (
    BROKEN,
    EmbeddingSource,
    refuse_file,
    refuse_place,
)
from ppi_train.errors import DataError
from ppi_train.io.files import unpacked_limit
from ppi_train.io.parquet import open_parquet
from ppi_train.io.parquet_footer import largest_columns

NAME_COLUMNS = ("protein_id", "accession", "id", "name", "protein", "uniprot_id", "entry", "key")
LIST_COLUMNS = ("embedding", "embeddings", "representation", "vector", "values")
LENGTH_COLUMN = "length"
# A dictionary repeats a name at no cost in the file.
_LONGEST_NAME = 1000
_NAMES_AT_ONCE = 64
# Row groups that are kept in memory, since proteins are read by accession, not in the order of the rows.
_KEPT_BYTES = 512 << 20
_LARGEST_GROUP = 4 << 30
_NUMBER_BYTES = 8  # at most
_TRAILER = 8


class ParquetSource(EmbeddingSource):
    """A Parquet file with one row per protein: a name, and a list of numbers.

    The list may be a list of rows, one a residue, or with granularity=residue one flat list of as many rows
    as the column `length` says. The places are the numbers of the rows, from 1.
    """

    def __init__(self, path: Path, *, granularity: str = "auto") -> None:
        self.path = path
        try:
            self._file = open_parquet(path, pre_buffer=False)
            self._names, self._lists = _columns(self._file.schema_arrow, path)
            self._lengths = granularity == "residue" and _has_lengths(self._file.schema_arrow)
            self._check_size()
            self.labels = {f"row {number}": name for number, name in enumerate(self._read_names(), 1)}
        except BROKEN as error:
            refuse_file(error, path, "Parquet")
        metadata = self._file.metadata
        rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        self._starts = [0, *itertools.accumulate(rows)]
        self._groups: OrderedDict[int, pa.Table] = OrderedDict()

    def read(self, place: str) -> np.ndarray:
        try:
            row = int(place.removeprefix("row ")) - 1
            group = bisect.bisect_right(self._starts, row) - 1
            table = self._group(group)
            row -= self._starts[group]
            numbers = table[self._lists][row]
            if not numbers.is_valid:
                raise DataError("no embedding in its row")
            array = _numbers(numbers.values)
            if self._lengths and array.ndim == 1:
                return _by_residue(array, table[LENGTH_COLUMN][row].as_py())
            return array
        except BROKEN as error:
            refuse_place(error, self.path)

    def _check_size(self) -> None:
        """Refuses more numbers than the file's bytes can hold: equal ones take no room in it."""
        size, metadata = self.path.stat().st_size, self._file.metadata
        with self.path.open("rb") as stream:
            stream.seek(max(0, size - metadata.serialized_size - _TRAILER))
            largest = largest_columns(stream.read())
        for number, values in enumerate(largest):
            claimed = max(_NUMBER_BYTES * values, metadata.row_group(number).total_byte_size)
            if claimed > unpacked_limit(size) or values < 0:
                raise ValueError(f"{claimed:,} bytes are claimed of a file of {size:,}")
            if claimed > _LARGEST_GROUP:
                raise DataError(
                    "a row group of the file is too large",
                    where=self.path.absolute(),
                    got=f"{claimed:,} bytes in row group {number}",
                    expected=f"at most {_LARGEST_GROUP:,} bytes",
                    remedy="write the file with smaller row groups, such as pandas' row_group_size=1000",
                )

    def _read_names(self) -> Iterator[str]:
        for batch in self._file.iter_batches(_NAMES_AT_ONCE, columns=[self._names], use_threads=False):
            names = batch.column(0).cast(pa.large_string())
            longest = pc.max(pc.binary_length(names)).as_py() or 0
            if longest > _LONGEST_NAME:
                raise ValueError(f"a name of {longest:,} bytes, more than {_LONGEST_NAME:,}")
            yield from (name or "" for name in names.to_pylist())

    def _group(self, number: int) -> pa.Table:
        """The columns of a row group that are needed, from memory where it was just read."""
        if number in self._groups:
            self._groups.move_to_end(number)
            return self._groups[number]
        wanted = [self._lists, *([LENGTH_COLUMN] if self._lengths else [])]
        table = self._file.read_row_group(number, columns=wanted, use_threads=False)
        while (
            self._groups and table.nbytes + sum(kept.nbytes for kept in self._groups.values()) > _KEPT_BYTES
        ):
            self._groups.popitem(last=False)
        self._groups[number] = table
        return table


def _columns(schema: pa.Schema, path: Path) -> tuple[str, str]:
    """The columns of the names and of the numbers.

    Raises:
        DataError: there is none, or several and no known name among them.
    """
    names = [field.name for field in schema if _is_text(field.type)]
    lists = [field.name for field in schema if _is_list(field.type)]
    return (
        _only(names, NAME_COLUMNS, "one column of names", schema, path),
        _only(lists, LIST_COLUMNS, "one column of lists of floating-point numbers", schema, path),
    )


def _only(found: list[str], known: tuple[str, ...], wanted: str, schema: pa.Schema, path: Path) -> str:
    if len(found) > 1:
        found = [name for name in known if name in found][:1]
    if len(found) != 1:
        raise DataError(
            f"the table has not {wanted}",
            where=path.absolute(),
            got=", ".join(f"{field.name} ({field.type})" for field in itertools.islice(schema, 20)),
            expected=f"{wanted}; of several, one called {', '.join(known)}",
        )
    return found[0]


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    """Whether values are lists of floating-point numbers, or lists of such lists."""
    inner = kind.value_type if _holds_lists(kind) else None
    if inner is not None and _holds_lists(inner):
        inner = inner.value_type
    return inner is not None and bool(pa.types.is_floating(inner))


def _holds_lists(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _has_lengths(schema: pa.Schema) -> bool:
    return LENGTH_COLUMN in schema.names and bool(pa.types.is_integer(schema.field(LENGTH_COLUMN).type))


def _numbers(values: pa.Array) -> np.ndarray:
    """Numbers (d,) or rows of them (L, d); absent ones are not a number."""
    if not _holds_lists(values.type):
        return np.asarray(values.to_numpy(zero_copy_only=False))
    widths = {len(row) if row.is_valid else -1 for row in values}
    if len(widths) != 1 or -1 in widths:
        raise DataError("rows of different widths, or without numbers")
    flat = values.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat).reshape(len(values), widths.pop())


def _by_residue(array: np.ndarray, length: int | None) -> np.ndarray:
    if not length or length < 0 or array.size % length:
        raise DataError(f"{array.size:,} numbers, which is no multiple of the column {LENGTH_COLUMN}")
    return array.reshape(length, -1)
