"""Tables of protein pairs, with or without labels.

Pairs are unordered and stored as positions in a sorted vocabulary. Files are parsed by pyarrow, for
speed; the line of a row is worked out only for an error message.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from ppi_train.errors import DataError, first_line
from ppi_train.io.files import BOM, read_file, refuse_endless, write_file
from ppi_train.io.parquet import BROKEN, MAX_COLUMNS, check_footer, open_parquet

COLUMNS = ("protein_a", "protein_b", "label")

_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
# Bytes of a line that is checked by itself: Python's CSV reader accepts no longer field.
_LONGEST_LINE = 100_000
_BLANK_WITH_SPACE = re.compile(rb"(?m)^[ \t]+\r?$")
_PARQUET_MAGIC = b"PAR1"
# At least ten times the number of pairs in BioGRID, or of all pairs of a thousand test proteins.
MAX_PAIRS = 100_000_000
# Bytes of a name in Parquet, where a dictionary can repeat it at almost no cost.
_LONGEST_NAME = 1000
# Bytes of all names of a table that are always allowed, and for each byte of a large file.
_FREE_NAMES = 256 << 20
_NAMES_PER_BYTE = 100

# Says where row i (from 0) of a table came from.
_Place = Callable[[int], str]


@dataclass(frozen=True, kw_only=True)
class PairTable:
    """Distinct unordered pairs, in the order in which they first appeared.

    `proteins` are the distinct accessions, sorted; `index` is (n_pairs, 2) int32 into them, each row
    in ascending order; `labels` is (n_pairs,) int8 of 0 and 1, or None; `duplicates` counts the rows
    that repeated an earlier pair; `source` is the path as it was given, for messages.
    """

    proteins: tuple[str, ...]
    index: np.ndarray
    labels: np.ndarray | None
    duplicates: int
    source: str

    def __len__(self) -> int:
        return len(self.index)

    @property
    def positives(self) -> int:
        """Pairs with label 1; 0 for a table without labels."""
        return 0 if self.labels is None else int(self.labels.sum())

    @property
    def summary(self) -> str:
        """Its sizes, for the log."""
        return f"{len(self):,} pairs, {self.positives:,} positive, {len(self.proteins):,} proteins"

    @property
    def required_labels(self) -> np.ndarray:
        """The labels (n_pairs,) int8.

        Raises:
            DataError: there are none.
        """
        if self.labels is None:
            raise DataError("the pairs have no labels", where=self.source, expected="a column `label`")
        return self.labels

    @cached_property
    def digest(self) -> str:
        """sha256 of the pairs and labels.

        It depends neither on the row order nor on the order within a pair.
        """
        order = np.lexsort((self.index[:, 1], self.index[:, 0]))
        found = hashlib.sha256("\n".join(self.proteins).encode())
        found.update(self.index[order].astype("<i4").tobytes())
        found.update(b"-" if self.labels is None else self.labels[order].astype("i1").tobytes())
        return found.hexdigest()

    def named(self) -> dict[str, pa.Array]:
        """The accessions of each pair, as columns `protein_a` and `protein_b`."""
        vocabulary = pa.array(self.proteins, pa.string())
        return {name: vocabulary.take(pa.array(self.index[:, side])) for side, name in enumerate(COLUMNS[:2])}

    def select(self, keep: np.ndarray) -> PairTable:
        """The pairs selected by a mask (n_pairs,) bool, with their own vocabulary."""
        assert keep.shape == (len(self),), f"mask {keep.shape} for {len(self)} pairs"
        used, index = np.unique(self.index[keep], return_inverse=True)
        return PairTable(
            proteins=tuple(self.proteins[position] for position in used),
            index=index.reshape(-1, 2).astype(np.int32),
            labels=None if self.labels is None else self.labels[keep],
            duplicates=0,
            source=self.source,
        )


def pairs_from_ids(
    a: Sequence[str], b: Sequence[str], labels: Sequence[int] | np.ndarray | None, source: str
) -> PairTable:
    """Makes a pair table from two columns of accessions.

    Equal pairs, in either order, are merged.

    Args:
        a: n accessions.
        b: n accessions.
        labels: n labels, 0 or 1; None for no labels.
        source: Named in messages, which count rows from 1.

    Raises:
        DataError: a pair has both labels.
    """
    checked = None if labels is None else np.asarray(labels, np.int8)
    columns = pa.array(a, pa.string()), pa.array(b, pa.string())
    return _table(*columns, checked, source, lambda row: f"row {row + 1}")


def read_pairs(path: str | Path, *, require_labels: bool = True) -> PairTable:
    """Reads a pair table from TSV, CSV or Parquet.

    The format is recognised by the content, not by the name. The columns are `protein_a`, `protein_b`,
    `label`; with a header in any order and possibly among others, without a header in this order. Rows that
    repeat a pair are merged and counted. A label is 0 or 1 (0.0 and 1.0 are accepted too). Blank lines are
    skipped.

    Args:
        path: The file.
        require_labels: Whether a table without labels is refused.

    Raises:
        DataError: the file is absent, empty, too large, cut short or not text; with the line: a wrong
            number of columns, an empty accession, a wrong label, a pair with both labels (both lines).
    """
    refuse_endless(path, b"\n", "pair table")
    _refuse_footer(Path(path))
    data = read_file(path, "pair table")
    is_parquet = data.startswith(_PARQUET_MAGIC) or Path(path).suffix.lower() in (".parquet", ".pq")
    columns, place = _parquet_columns(path, data) if is_parquet else _text_columns(path, data)
    if require_labels and "label" not in columns:
        raise DataError(
            "the pair table has no labels",
            where=path,
            got=f"the columns {', '.join(columns)}",
            expected="a column `label` of 0 and 1",
        )
    ends = [_accessions(columns[name], name, path, place) for name in COLUMNS[:2]]
    if not len(ends[0]):
        raise DataError("the pair table has no pairs", where=path, got="a header only")
    labels = _labels(columns["label"], path, place) if "label" in columns else None
    return _table(ends[0], ends[1], labels, str(path), place)


def write_pairs(path: Path, table: PairTable) -> None:
    """Writes a pair table as TSV with a header, or as Parquet.

    The column `label` is left out if there are no labels. The file appears complete or not at all.
    """
    columns = table.named()
    if table.labels is not None:
        columns["label"] = pa.array(table.labels, pa.int8())
    rows = pa.table(columns)
    if path.suffix == ".parquet":
        sink = io.BytesIO()
        pq.write_table(rows, sink, compression="zstd")
        write_file(path, sink.getvalue())
        return
    try:
        text = _tsv(rows, "none")
    except pa.ArrowInvalid:  # an accession with a tab or a quote in it
        text = _tsv(rows, "needed")
    write_file(path, ("\t".join(columns) + "\n").encode() + text)


def _tsv(rows: pa.Table, quoting: str) -> bytes:
    sink = io.BytesIO()
    options = pa_csv.WriteOptions(include_header=False, delimiter="\t", quoting_style=quoting)
    pa_csv.write_csv(rows, sink, options)
    return sink.getvalue()


def _table(a: pa.Array, b: pa.Array, labels: np.ndarray | None, source: str, place: _Place) -> PairTable:
    coded = pa.concat_arrays([a, b]).dictionary_encode()
    names = coded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    ends = rank[coded.indices.to_numpy(zero_copy_only=False)].reshape(2, -1)
    keys = ends.min(axis=0) * max(len(names), 1) + ends.max(axis=0)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    proteins = tuple(names[position] for position in order)
    if labels is not None:
        _refuse_conflicts(labels, first[group], proteins, ends, source, place)
    kept = np.sort(first)
    return PairTable(
        proteins=proteins,
        index=np.sort(ends[:, kept].T, axis=1).astype(np.int32).reshape(-1, 2),
        labels=None if labels is None else labels[kept],
        duplicates=len(keys) - len(kept),
        source=source,
    )


def _refuse_conflicts(
    labels: np.ndarray,
    first: np.ndarray,
    proteins: Sequence[str],
    ends: np.ndarray,
    source: str,
    place: _Place,
) -> None:
    """Refuses a pair with both labels.

    Args:
        first: For each row, the first row of the same pair.
    """
    against = np.flatnonzero(labels != labels[first])
    if not len(against):
        return
    row = int(against[0])
    pairs = len(np.unique(first[against]))
    a, b = (proteins[end] for end in ends[:, first[row]])
    raise DataError(
        f"{pairs} {'pair has' if pairs == 1 else 'pairs have'} both labels",
        where=f"{source}, {place(int(first[row]))} and {place(row)}",
        got=f"{a} and {b} with label {labels[first[row]]} and with label {labels[row]}",
        expected="one label a pair, in either order of its proteins",
        remedy="remove one of the two rows",
    )


def _accessions(column: pa.Array, name: str, path: str | Path, place: _Place) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(column).fill_null("")
    empty = pc.index(trimmed, "").as_py()
    if empty >= 0:
        raise DataError(
            f"a pair has no {name}",
            where=f"{path}, {place(empty)}",
            got="an empty value",
            expected="an accession",
        )
    return trimmed


def _labels(column: pa.Array, path: str | Path, place: _Place) -> np.ndarray:
    coded = column.fill_null("").dictionary_encode()
    values = [_LABELS.get(text.strip(), -1) for text in coded.dictionary.to_pylist()]
    indices = coded.indices.to_numpy(zero_copy_only=False)
    labels: np.ndarray = np.array(values, np.int8)[indices]
    bad = np.flatnonzero(labels < 0)
    if len(bad):
        row = int(bad[0])
        raise DataError(
            "a label is neither 0 nor 1" + (f" ({len(bad):,} rows)" if len(bad) > 1 else ""),
            where=f"{path}, {place(row)}",
            got=repr(coded.dictionary[int(indices[row])].as_py()),
            expected="0 or 1",
        )
    return labels


def _parquet_columns(path: str | Path, data: bytes) -> tuple[Mapping[str, pa.Array], _Place]:
    try:
        # Names stay in dictionaries until their total length is known.
        schema = open_parquet(data, max_rows=MAX_PAIRS).schema_arrow
        found = _positions(schema.names, path, "row 1")
        names = [schema.names[at] for at in found.values()]
        coded = [name for name in names if _is_text(schema.field(name).type)]
        table = open_parquet(data, read_dictionary=coded).read(columns=names)
        columns = {name: _as_text(table.column(schema.names[at]), name, path) for name, at in found.items()}
        _refuse_expanding(columns.values(), len(data), path)
        columns = {name: _decoded(column) for name, column in columns.items()}
    except DataError:
        raise
    except BROKEN as error:
        raise _damaged(path, error) from error
    return columns, lambda row: f"row {row + 1}"


def _refuse_footer(path: Path) -> None:
    """Refuses a Parquet file with too large a footer before reading it."""
    if not path.is_file():
        return
    try:
        with path.open("rb") as stream:
            is_parquet = stream.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
        if is_parquet:
            check_footer(path, path.stat().st_size)
    except PermissionError:
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
    return value in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())


def _is_number(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
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


def _decoded(column: pa.DictionaryArray) -> pa.Array:
    return column.dictionary.take(column.indices)


def _positions(names: Sequence[str], path: str | Path, where: str) -> dict[str, int]:
    """The position of each of our columns in a header."""
    lowered = [name.strip().lower() for name in names]
    repeated = [name for name in COLUMNS if lowered.count(name) > 1]
    missing = [name for name in COLUMNS[:2] if name not in lowered]
    if repeated or missing:
        raise DataError(
            f"the header has {repeated[0]} twice"
            if repeated
            else f"the header has no {' and no '.join(missing)}",
            where=f"{path}, {where}",
            got=", ".join(names),
            expected="protein_a, protein_b and, except for prediction, label",
        )
    return {name: lowered.index(name) for name in COLUMNS if name in lowered}


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """The layout of a text table.

    `numbers` has, for each row, the index of its line; `found` the positions of our columns.
    """

    lines: list[bytes]
    numbers: list[int]
    delimiter: str
    width: int
    found: Mapping[str, int]


def _text_columns(path: str | Path, data: bytes) -> tuple[Mapping[str, pa.Array], _Place]:
    layout = _layout(path, _BLANK_WITH_SPACE.sub(b"", _checked_text(path, data)))
    if not layout.numbers:
        return {name: pa.array([], pa.string()) for name in layout.found}, str
    table = _parse(layout)
    if table is None or table.num_rows != len(layout.numbers):
        raise _bad_row(path, layout)
    columns = {name: table.column(f"c{at}").combine_chunks() for name, at in layout.found.items()}
    return columns, lambda row: f"line {layout.numbers[row] + 1}"


def _checked_text(path: str | Path, data: bytes) -> bytes:
    data = data.removeprefix(BOM)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            "the pair table is not text in UTF-8",
            where=f"{path}, line {line}",
            got=f"the byte 0x{data[error.start]:02x}",
            expected="TSV or CSV in UTF-8, or Parquet",
        ) from error
    if b"\0" in data:
        raise DataError(
            "the pair table is not text", where=path, got="binary data", expected="TSV, CSV or Parquet"
        )
    return data


def _layout(path: str | Path, data: bytes) -> _Layout:
    lines = data.splitlines()
    numbers = [number for number, line in enumerate(lines) if line]
    if not numbers:
        raise DataError("the pair table is empty", where=path, got="blank lines only")
    if len(lines[numbers[0]]) > _LONGEST_LINE:
        raise _long_line(path, numbers[0], len(lines[numbers[0]]))
    first = lines[numbers[0]].decode()
    delimiter = "\t" if "\t" in first else ","
    fields = next(csv.reader([first], delimiter=delimiter))
    if len(fields) > MAX_COLUMNS:
        raise _wrong_width(path, numbers[0], first, len(fields), f"at most {MAX_COLUMNS:,}")
    header = any(field.strip().lower() in COLUMNS for field in fields)
    if not header and len(fields) not in (2, 3):
        raise _wrong_width(path, numbers[0], first, len(fields), "2 or 3")
    return _Layout(
        lines=lines,
        numbers=numbers[1:] if header else numbers,
        delimiter=delimiter,
        width=len(fields),
        found=_positions(fields, path, f"line {numbers[0] + 1}")
        if header
        else dict(zip(COLUMNS, range(len(fields)), strict=False)),
    )


def _parse(layout: _Layout) -> pa.Table | None:
    """The rows as strings; None if a row is malformed."""
    names = [f"c{at}" for at in range(layout.width)]
    rows = b"\n".join(layout.lines[layout.numbers[0] :])
    try:
        return pa_csv.read_csv(
            pa.BufferReader(rows),
            read_options=pa_csv.ReadOptions(column_names=names),
            parse_options=pa_csv.ParseOptions(delimiter=layout.delimiter),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=[names[at] for at in layout.found.values()],
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        return None


def _bad_row(path: str | Path, layout: _Layout) -> DataError:
    """The error for the row that pyarrow could not parse."""
    for number in layout.numbers:
        if len(layout.lines[number]) > _LONGEST_LINE:
            return _long_line(path, number, len(layout.lines[number]))
        line = layout.lines[number].decode()
        fields = next(csv.reader([line], delimiter=layout.delimiter))
        if len(fields) != layout.width:
            return _wrong_width(path, number, line, len(fields), str(layout.width))
    unclosed = (number for number in layout.numbers if layout.lines[number].count(b'"') % 2)
    odd = next(unclosed, layout.numbers[0])
    return DataError(
        "a quote is opened but not closed",
        where=f"{path}, line {odd + 1}",
        got=repr(layout.lines[odd][:80].decode("utf-8", "replace")),
        remedy="remove the quote or close it",
    )


def _long_line(path: str | Path, number: int, length: int) -> DataError:
    return DataError(
        "a line of the pair table is too long",
        where=f"{path}, line {number + 1}",
        got=f"{length:,} bytes",
        expected=f"at most {_LONGEST_LINE:,}",
    )


def _wrong_width(path: str | Path, number: int, line: str, got: int, expected: str) -> DataError:
    return DataError(
        "a row has the wrong number of columns",
        where=f"{path}, line {number + 1}",
        got=f"{got} in {line[:80]!r}",
        expected=f"{expected}, separated by tabs or commas",
    )
