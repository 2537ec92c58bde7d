"""The columns of a file of protein pairs, in whatever way it is written.

Files are parsed by pyarrow, for speed; the line of a row is worked out only for an error message.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from ppi_train.errors import DataError, first_line
from ppi_train.io.files import BOM, read_file, refuse_endless
from ppi_train.io.packed import unpack
from ppi_train.io.parquet import BROKEN, MAX_COLUMNS, check_footer, open_parquet
from ppi_train.io.unavailable import unavailable_error

logger = logging.getLogger(__name__)

COLUMNS = ("protein_a", "protein_b", "label")
# Other names of the columns, without blanks and signs; a pair of names counts only together.
_PARTNERS = (
    *(
        (f"{name}{first}", f"{name}{second}")
        for name in (
            "protein",
            "proteinid",
            "interactor",
            "idinteractor",
            "uniprot",
            "uniprotid",
            "gene",
            "geneid",
            "node",
        )
        for first, second in (("a", "b"), ("1", "2"), ("0", "1"))
    ),
    ("uniprotaca", "uniprotacb"),
    ("seq1", "seq2"),
    ("source", "target"),
)
_LABELS = ("label", "labels", "interaction", "interacts", "isinteraction")
# What else two columns may be named by, if their names differ by one of these pairs of letters only.
_NOUN = re.compile("gene|protein|interactor|uniprot|ensembl|entrez")
_SIDES = ([("a", "b")], [("1", "2")], [("0", "1")])
_PLAIN = re.compile(r"[^a-z0-9]")

_DELIMITERS = ("\t", ",", ";")
_BLANKS = re.compile(rb" +")
# Rows behind the first one that are compared with it.
_LOOKED_AT = 20
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
Place = Callable[[int], str]


def read_columns(
    path: str | Path, known: Container[str] | None, scores: Sequence[str] = ()
) -> tuple[Mapping[str, pa.Array], Place]:
    """The columns of a file among `COLUMNS`, as texts.

    Args:
        path: A file, recognised by its content.
        known: Proteins that have a sequence; see `read_pairs`.
        scores: Names that a column of scores may have, the most wanted first.

    Returns:
        The columns by name, and what says where a row came from. `label` is there only if the file has it, a
        column of scores as `score`.

    Raises:
        DataError: as in `read_pairs`.
    """
    refuse_endless(path, b"\n", "pair table")
    _refuse_footer(Path(path))
    data = unpack(path, read_file(path, "pair table"), "pair table", b"\n")
    if data.startswith(_PARQUET_MAGIC) or Path(path).suffix.lower() in (".parquet", ".pq"):
        return _parquet_columns(path, data, scores)
    return text_columns(path, data, known, scores)


def _parquet_columns(
    path: str | Path, data: bytes, scores: Sequence[str]
) -> tuple[Mapping[str, pa.Array], Place]:
    try:
        # Names that are stored in dictionaries stay there until their total length is known. Others need
        # no such care: the footer's claims bound them.
        opened = open_parquet(data, max_rows=MAX_PAIRS)
        schema = opened.schema_arrow
        found = _positions(schema.names, path, "row 1", scores)
        names = [schema.names[at] for at in found.values()]
        coded = [
            name for name in names if _is_text(schema.field(name).type) and _has_dictionary(opened, name)
        ]
        table = open_parquet(data, read_dictionary=coded).read(columns=names)
        columns = {name: _as_text(table.column(schema.names[at]), name, path) for name, at in found.items()}
        _refuse_expanding(columns.values(), len(data), path)
        columns = {name: column.dictionary.take(column.indices) for name, column in columns.items()}
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


def known_columns(names: Sequence[str]) -> dict[str, int]:
    """The position of each of our columns in a header; empty where its names are not known."""
    plain = [_PLAIN.sub("", name.lower()) for name in names]
    for first, second in _PARTNERS:
        if first in plain and second in plain:
            label = next((plain.index(name) for name in _LABELS if name in plain), None)
            found = {"protein_a": plain.index(first), "protein_b": plain.index(second)}
            return found if label is None else {**found, "label": label}
    return {"protein_a": 0, "protein_b": 1} if _is_two_sides(plain) else {}


def _is_two_sides(plain: Sequence[str]) -> bool:
    """Whether two columns, and no others, are named for two proteins.

    >>> _is_two_sides(["ensemblgeneida", "ensemblgeneidb"])
    True
    """
    if len(plain) != 2 or len(plain[0]) != len(plain[1]) or not _NOUN.search(plain[0]):
        return False
    sides = [pair for pair in zip(*plain, strict=True) if pair[0] != pair[1]]
    same = [first for first, second in zip(*plain, strict=True) if first == second]
    return sides in _SIDES and not any(letter.isdigit() for letter in same)


def _positions(
    names: Sequence[str], path: str | Path, where: str, scores: Sequence[str] = ()
) -> dict[str, int]:
    """The position of each of our columns in a header.

    Raises:
        DataError: a column is missing, or is there twice.
    """
    lowered = [name.strip().lower() for name in names]
    repeated = [name for name in COLUMNS if lowered.count(name) > 1]
    found = known_columns(names)
    score = next((lowered.index(name.lower()) for name in scores if name.lower() in lowered), None)
    if score is not None and score not in found.values():
        found["score"] = score
    missing = [name for name in COLUMNS[:2] if name not in lowered]
    if repeated or (missing and "protein_a" not in found):
        raise DataError(
            f"the header has {repeated[0]} twice"
            if repeated
            else f"the header has no {' and no '.join(missing)}",
            where=f"{path}, {where}",
            got=", ".join(names),
            expected="protein_a, protein_b and, except for prediction, label",
        )
    for ours, at in found.items():
        if lowered[at] != ours:
            logger.info("%s: the column %s is taken as %s", path, names[at], ours)
    ignored = [name for position, name in enumerate(names) if position not in found.values()]
    if ignored:
        logger.info("%s: ignored columns: %s", path, ", ".join(ignored[:10]))
    return found


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


def text_columns(
    path: str | Path, data: bytes, known: Container[str] | None = None, scores: Sequence[str] = ()
) -> tuple[Mapping[str, pa.Array], Place]:
    """The columns of a text table of pairs; see `read_columns`."""
    layout = _layout(path, _BLANK_WITH_SPACE.sub(b"", _checked_text(path, data)), known, scores)
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


def _layout(path: str | Path, data: bytes, known: Container[str] | None, scores: Sequence[str]) -> _Layout:
    lines = data.splitlines()
    numbers = [number for number, line in enumerate(lines) if line and not line.startswith(b"#")]
    if not numbers:
        raise DataError("the pair table is empty", where=path, got="blank lines only")
    if len(lines[numbers[0]]) > _LONGEST_LINE:
        raise _long_line(path, numbers[0], len(lines[numbers[0]]))
    first = lines[numbers[0]].decode()
    delimiter = next((mark for mark in _DELIMITERS if mark in first), " ")
    if delimiter == " ":
        lines = [_BLANKS.sub(b" ", line.strip()) for line in lines]
        first = lines[numbers[0]].decode()
    rows = _first_rows(lines, numbers, delimiter)
    if len(rows[0]) > MAX_COLUMNS:
        raise _wrong_width(path, numbers[0], first, len(rows[0]), f"at most {MAX_COLUMNS:,}")
    where = f"line {numbers[0] + 1}"
    header = bool(known_columns(rows[0])) or any(field.strip().lower() in COLUMNS for field in rows[0])
    if not header and len(rows[0]) not in (2, 3):
        raise _wrong_width(path, numbers[0], first, len(rows[0]), "2 or 3")
    if not header and _looks_like_header(rows, known):
        raise DataError(
            "the first line looks like a header, but its names are not known",
            where=f"{path}, {where}",
            got=", ".join(rows[0]),
            expected="protein_a, protein_b, label (or such as protein1, protein2, interaction), or no header",
            remedy="rename the columns, or remove the line",
        )
    return _Layout(
        lines=lines,
        numbers=numbers[1:] if header else numbers,
        delimiter=delimiter,
        width=len(rows[0]),
        found=_positions(rows[0], path, where, scores)
        if header
        else dict(zip(COLUMNS, range(len(rows[0])), strict=False)),
    )


def _first_rows(lines: Sequence[bytes], numbers: Sequence[int], delimiter: str) -> list[list[str]]:
    """The fields of the first rows; the first is always there, long ones behind it are left out."""
    looked_at = [lines[number] for number in numbers[: _LOOKED_AT + 1]]
    texts = [line.decode() for at, line in enumerate(looked_at) if not at or len(line) <= _LONGEST_LINE]
    return [next(csv.reader([text], delimiter=delimiter)) for text in texts]


def _looks_like_header(rows: Sequence[Sequence[str]], known: Container[str] | None) -> bool:
    """Whether the first of some rows, whose names are not known, differs from the others as a header does."""
    first, *others = rows
    if not others:
        return False
    if len(first) == 3 and not _is_label_like(first[2]):
        return all(len(row) == 3 and _is_label_like(row[2]) for row in others)
    if known is None or any(name.strip() in known for name in first[:2]):
        return False
    return any(len(row) >= 2 and row[0].strip() in known and row[1].strip() in known for row in others)


def _is_label_like(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip().lower() in ("true", "false")
    return True


def _parse(layout: _Layout) -> pa.Table | None:
    """The rows as strings; None if a row is malformed."""
    names = [f"c{at}" for at in range(layout.width)]
    rows = b"\n".join(layout.lines[number] for number in layout.numbers)
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
        expected=f"{expected}, separated by tabs, commas, semicolons or blanks",
    )
