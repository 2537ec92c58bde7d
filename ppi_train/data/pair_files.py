"""The columns of a file of protein pairs, as text or as Parquet."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ppi_train.data.pair_columns import column_positions
from ppi_train.data.pair_text import Place, text_columns
from ppi_train.errors import DataError, first_line
from ppi_train.io.files import read_file, refuse_endless
from ppi_train.io.packed import unpack
from ppi_train.io.parquet import BROKEN, check_footer, open_parquet
from ppi_train.io.unavailable import unavailable_error

_PARQUET_MAGIC = b"PAR1"
# At least ten times the number of pairs in BioGRID, or of all pairs of a thousand test proteins.
MAX_PAIRS = 100_000_000
# Bytes of a name in Parquet, where a dictionary can repeat it at almost no cost.
_LONGEST_NAME = 1000
# Bytes of all names of a table that are always allowed, and for each byte of a large file.
_FREE_NAMES = 256 << 20
_NAMES_PER_BYTE = 100


def read_columns(
    path: str | Path, known: Container[str] | None, scores: Sequence[str] = (), *, third: str = "label"
) -> tuple[Mapping[str, pa.Array], Place]:
    """The columns of a file among `COLUMNS`.

    Args:
        path: A file, recognised by its content.
        known: Proteins that have a sequence; see `read_pairs`.
        scores: Names that a column of scores may have, the most wanted first.
        third: What a third column is in a text table without a header: `label` or `score`.

    Returns:
        The columns by name, and what says where a row came from. `label` is there only if the file has it, a
        column of scores as `score`. All are dictionaries of texts.

    Raises:
        DataError: as in `read_pairs`.
    """
    refuse_endless(path, b"\n", "pair table")
    _refuse_footer(Path(path))
    data = unpack(path, read_file(path, "pair table"), "pair table", b"\n")
    if data.startswith(_PARQUET_MAGIC) or Path(path).suffix.lower() in (".parquet", ".pq"):
        return _parquet_columns(path, data, scores)
    return text_columns(path, data, known, scores, third=third)


def _parquet_columns(
    path: str | Path, data: bytes, scores: Sequence[str]
) -> tuple[Mapping[str, pa.Array], Place]:
    try:
        # Names that are stored in dictionaries stay there until their total length is known. Others need
        # no such care: the footer's claims bound them.
        opened = open_parquet(data, max_rows=MAX_PAIRS)
        schema = opened.schema_arrow
        found = column_positions(schema.names, f"{path}, row 1", scores)
        names = [schema.names[at] for at in found.values()]
        coded = [
            name for name in names if _is_text(schema.field(name).type) and _has_dictionary(opened, name)
        ]
        table = open_parquet(data, read_dictionary=coded).read(columns=names)
        columns = {name: _as_text(table.column(schema.names[at]), name, path) for name, at in found.items()}
        _refuse_expanding(columns.values(), len(data), path)
    except DataError:
        raise
    except BROKEN as error:
        raise (unavailable_error(error, path) or _damaged(path, error)) from error
    return columns, lambda row: f"row {row + 1}"


def _has_dictionary(opened: pq.ParquetFile, name: str) -> bool:
    """Whether any chunk of a column has a dictionary; pyarrow reads no other encoding into one."""
    at = opened.schema_arrow.names.index(name)
    groups = (opened.metadata.row_group(number) for number in range(opened.metadata.num_row_groups))
    return any(group.column(at).has_dictionary_page for group in groups)


def _refuse_footer(path: Path) -> None:
    """Refuses a Parquet file with too large a footer before reading it."""
    try:
        if not path.is_file():
            return
        with path.open("rb") as stream:
            is_parquet = stream.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
        if is_parquet:
            check_footer(path, path.stat().st_size)
    except OSError:
        return  # `read_file` reports it
    except ValueError as error:
        raise _damaged(path, error) from error


def _damaged(path: str | Path, error: Exception) -> DataError:
    return DataError(
        "the Parquet file is cut short or damaged",
        where=path,
        got=first_line(error),
        remedy="copy or write it again",
    )


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return value in (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary())


def _is_number(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    checks = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_boolean,
        pa.types.is_null,
    )
    return any(check(value) for check in checks)


def _as_text(column: pa.ChunkedArray, name: str, path: str | Path) -> pa.DictionaryArray:
    """A column as a dictionary of texts.

    This is where bytes that are not UTF-8 are found.
    """
    try:
        if not _is_text(column.type) and not _is_number(column.type):
            raise pa.ArrowTypeError
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        coded = column.unify_dictionaries().combine_chunks()
        values = coded.dictionary
        if pa.types.is_boolean(values.type):
            values = values.cast(pa.int8())
        if _is_text(values.type):
            values = values.cast(pa.binary())
        return pa.DictionaryArray.from_arrays(coded.indices, values.cast(pa.string()))
    except pa.ArrowException as error:
        raise DataError(
            f"the column {name} cannot be read as text",
            where=path,
            got=f"the type {column.type}",
            expected="strings in UTF-8, or numbers for `label`",
        ) from error


def _refuse_expanding(columns: Iterable[pa.DictionaryArray], size: int, path: str | Path) -> None:
    """Refuses names that a small dictionary would repeat until memory is full."""
    total = 0
    for column in columns:
        lengths = pc.binary_length(column.dictionary)
        longest = pc.max(lengths).as_py() or 0
        if longest > _LONGEST_NAME:
            raise DataError(
                "a name in the pair table is too long",
                where=path,
                got=f"{longest:,} bytes",
                expected=f"at most {_LONGEST_NAME:,}",
            )
        total += pc.sum(lengths.take(column.indices)).as_py() or 0
    if total > max(_FREE_NAMES, _NAMES_PER_BYTE * size):
        raise DataError(
            "the Parquet file unpacks to more than a pair table can",
            where=path,
            got=f"{total:,} bytes of names from {size:,}",
            remedy="write it as TSV if you trust it",
        )
