"""Text tables of protein pairs, parsed by pyarrow some megabytes at a time.

Beside the text, memory holds an int32 for a name of a row. What is wrong with a row, and in which line it is,
is worked out only for a message.
"""

from __future__ import annotations

import csv
import re
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from ppi_train.data.pair_columns import COLUMNS, column_positions, known_columns
from ppi_train.errors import DataError
from ppi_train.io.files import BOM
from ppi_train.io.parquet import MAX_COLUMNS

# Says where row i (from 0) of a table came from.
Place = Callable[[int], str]

_CODED = pa.dictionary(pa.int32(), pa.string())
_DELIMITERS = ("\t", ",", ";")
_BLANKS = re.compile(rb" +")
_LINE = re.compile(rb"[^\r\n]+")
_BLANK_WITH_SPACE = re.compile(rb"(?m)^[ \t]+\r?$")
# Rows behind the first one that are compared with it.
_LOOKED_AT = 20
# Python's CSV reader accepts no longer field.
_LONGEST_LINE = 100_000
# Enough rows that most of their names repeat.
_BLOCK = 16 << 20
_LARGEST_WIDTH = 10  # of a table of pairs with further columns


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How a text table is written: `start` is where its first row begins, `found` has our columns."""

    start: int
    delimiter: str
    width: int
    found: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class _Lines:
    """The lines of a block, and the positions of those that are rows."""

    lines: Sequence[bytes]
    numbers: Sequence[int]

    @classmethod
    def of(cls, block: bytes, delimiter: str) -> _Lines:
        lines = _BLANK_WITH_SPACE.sub(b"", block).splitlines()
        numbers = [number for number, line in enumerate(lines) if line and not line.startswith(b"#")]
        if delimiter == " ":
            lines = [_BLANKS.sub(b" ", line.strip()) for line in lines]
        return cls(lines=lines, numbers=numbers)


class _Column:
    """A column of texts, gathered block by block.

    The codes are copied into memory that returns to the system, unlike that of pyarrow.
    """

    def __init__(self) -> None:
        self._texts: list[pa.Array] = []
        self._codes: deque[np.ndarray] = deque()

    def add(self, block: pa.DictionaryArray) -> None:
        """Adds the rows of a block."""
        texts = block.dictionary
        self._texts.append(texts)
        self._codes.append(block.indices.to_numpy().astype(_code_type(len(texts))))

    def joined(self) -> pa.DictionaryArray:
        """All rows; the blocks are given up."""
        texts = pa.concat_arrays([pa.array([], pa.string()), *self._texts]).dictionary_encode()
        numbers = texts.indices.to_numpy().astype(_code_type(len(texts.dictionary)))
        codes = np.empty(sum(map(len, self._codes)), numbers.dtype)
        row = at = 0
        for block in self._texts:
            of_block = self._codes.popleft()
            np.take(numbers[at : at + len(block)], of_block, out=codes[row : row + len(of_block)])
            row, at = row + len(of_block), at + len(block)
        return pa.DictionaryArray.from_arrays(pa.array(codes), texts.dictionary)


def _code_type(count: int) -> type:
    """The integers for so many texts; labels need a byte."""
    return np.int8 if count <= np.iinfo(np.int8).max else np.int32


@dataclass(frozen=True)
class _Text:
    """The text of a table, for messages about its lines."""

    path: str | Path
    data: bytes

    def line_at(self, offset: int) -> int:
        """The number, from 1, of the line that begins at an offset."""
        ends = (self.data.count(mark, 0, offset) for mark in (b"\n", b"\r", b"\r\n"))
        newlines, returns, both = ends
        return newlines + returns - both + 1

    def where(self, start: int, number: int) -> str:
        """The line `number` (from 0) behind the one that begins at an offset."""
        return f"{self.path}, line {self.line_at(start) + number}"

    def blocks(self, start: int) -> Iterator[tuple[int, int]]:
        """The begins and ends of blocks of whole lines."""
        while start < len(self.data):
            stop = self.data.rfind(b"\n", start, start + _BLOCK) + 1
            stop = stop or self.data.find(b"\n", start) + 1 or len(self.data)
            yield start, stop
            start = stop


def text_columns(
    path: str | Path,
    data: bytes,
    known: Container[str] | None = None,
    scores: Sequence[str] = (),
    *,
    third: str = "label",
) -> tuple[Mapping[str, pa.Array], Place]:
    """The columns of a text table of pairs; see `read_columns`."""
    text = _Text(path, data.removeprefix(BOM))
    _refuse_binary(text)
    layout = _layout(text, known, scores, third)
    parsed: dict[str, _Column] = {name: _Column() for name in layout.found}
    starts, rows = [layout.start], [0]
    for start, stop in text.blocks(layout.start):
        table = _parse(text, layout, start, stop)
        for name, at in layout.found.items():
            parsed[name].add(table.column(f"c{at}").combine_chunks())
        starts.append(stop)
        rows.append(rows[-1] + table.num_rows)
    # One column after the other, for the memory.
    columns = {name: parsed.pop(name).joined() for name in layout.found}

    def place(row: int) -> str:
        at = bisect_right(rows, row) - 1
        numbers = _Lines.of(text.data[starts[at] : starts[at + 1]], layout.delimiter).numbers
        return f"line {text.line_at(starts[at]) + numbers[row - rows[at]]}"

    return columns, place


def _refuse_binary(text: _Text) -> None:
    if not text.data.isascii():
        for start, stop in text.blocks(0):
            try:
                text.data[start:stop].decode("utf-8")
            except UnicodeDecodeError as error:
                line = text.data.count(b"\n", 0, start + error.start) + 1
                raise DataError(
                    "the pair table is not text in UTF-8",
                    where=f"{text.path}, line {line}",
                    got=f"the byte 0x{text.data[start + error.start]:02x}",
                    expected="TSV or CSV in UTF-8, or Parquet",
                ) from error
    if b"\0" in text.data:
        raise DataError(
            "the pair table is not text", where=text.path, got="binary data", expected="TSV, CSV or Parquet"
        )


def _layout(text: _Text, known: Container[str] | None, scores: Sequence[str], third: str) -> _Layout:
    found = _LINE.finditer(text.data)
    written = (match for match in found if not match[0].startswith(b"#") and match[0].strip(b" \t"))
    head = list(islice(written, _LOOKED_AT + 1))
    if not head:
        raise DataError("the pair table is empty", where=text.path, got="blank lines only")
    where = text.where(head[0].start(), 0)
    if len(head[0][0]) > _LONGEST_LINE:
        raise _long_line(where, len(head[0][0]))
    first = head[0][0].decode()
    delimiter = next((mark for mark in _DELIMITERS if mark in first), " ")
    rows = _first_rows([match[0] for match in head], delimiter)
    if len(rows[0]) > MAX_COLUMNS:
        raise _wrong_width(where, first, len(rows[0]), f"at most {MAX_COLUMNS:,}")
    header = bool(known_columns(rows[0])) or any(field.strip().lower() in COLUMNS for field in rows[0])
    if not header and len(rows[0]) not in (2, 3):
        raise _wrong_width(where, first, len(rows[0]), "2 or 3")
    if not header and _looks_like_header(rows, known):
        raise DataError(
            "the first line looks like a header, but its names are not known",
            where=where,
            got=", ".join(rows[0]),
            expected="protein_a, protein_b, label (or such as protein1, protein2, interaction), or no header",
            remedy="rename the columns, or remove the line",
        )
    return _Layout(
        start=head[0].end() if header else head[0].start(),
        delimiter=delimiter,
        width=len(rows[0]),
        found=column_positions(rows[0], where, scores)
        if header
        else dict(zip((*COLUMNS[:2], third), range(len(rows[0])), strict=False)),
    )


def _first_rows(lines: Sequence[bytes], delimiter: str) -> list[list[str]]:
    """The fields of the first rows; the first is always there, long ones behind it are left out."""
    if delimiter == " ":
        lines = [_BLANKS.sub(b" ", line.strip()) for line in lines]
    texts = [line.decode() for at, line in enumerate(lines) if not at or len(line) <= _LONGEST_LINE]
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


def _parse(text: _Text, layout: _Layout, start: int, stop: int) -> pa.Table:
    """The rows of a block.

    Raises:
        DataError: a row is malformed.
    """
    _refuse_long_lines(text, start, stop)
    rows, expected = pa.py_buffer(text.data).slice(start, stop - start), None
    if layout.delimiter == " " or _needs_care(text.data, start, stop):
        lines = _Lines.of(text.data[start:stop], layout.delimiter)
        rows = pa.py_buffer(b"\n".join(lines.lines[number] for number in lines.numbers))
        expected = len(lines.numbers)
    try:
        table = _read_csv(rows, layout)
    except pa.ArrowInvalid as error:
        raise _bad_row(text, layout, start, stop) from error
    # A line break between quotes is none for pyarrow.
    if expected not in (None, table.num_rows):
        raise _bad_row(text, layout, start, stop)
    return table


def _needs_care(data: bytes, start: int, stop: int) -> bool:
    """Whether a block has what pyarrow takes in another way: quotes, comments, or lines of blanks."""
    if data.find(b'"', start, stop) >= 0 or data.startswith((b"#", b" ", b"\t"), start):
        return True
    # A single byte is found much faster than two, of which the first is common.
    rare = [mark for mark in (b"#", b" ", b"\t") if data.find(mark, start, stop) >= 0]
    ends = [end for end in (b"\n", b"\r") if data.find(end, start, stop) >= 0]
    return any(data.find(end + mark, start, stop) >= 0 for end in ends for mark in rare)


def _refuse_long_lines(text: _Text, start: int, stop: int) -> None:
    while start < stop:
        # Of many short lines only the last one is looked at.
        limit = min(start + _LONGEST_LINE + 1, stop)
        end = text.data.rfind(b"\n", start, limit) + 1 or text.data.rfind(b"\r", start, limit) + 1
        if not end:
            if stop - start <= _LONGEST_LINE:
                return
            found = _LINE.match(text.data, start, stop)
            assert found is not None, start
            raise _long_line(text.where(start, 0), len(found[0]))
        start = end


def _read_csv(rows: pa.Buffer, layout: _Layout) -> pa.Table:
    names = [f"c{at}" for at in range(layout.width)]
    kinds = {names[at]: _CODED for at in layout.found.values()}
    if not rows.size:
        return pa.table({name: pa.array([], kind) for name, kind in kinds.items()})
    return pa_csv.read_csv(
        pa.BufferReader(rows),
        # One chunk, so that names are looked up once in a block.
        read_options=pa_csv.ReadOptions(column_names=names, block_size=rows.size + 1),
        parse_options=pa_csv.ParseOptions(delimiter=layout.delimiter),
        convert_options=pa_csv.ConvertOptions(
            column_types=kinds, include_columns=list(kinds), strings_can_be_null=False
        ),
    )


def _bad_row(text: _Text, layout: _Layout, start: int, stop: int) -> DataError:
    """The error for the row of a block that pyarrow could not parse."""
    found = _Lines.of(text.data[start:stop], layout.delimiter)
    for number in found.numbers:
        line = found.lines[number].decode()
        fields = next(csv.reader([line], delimiter=layout.delimiter))
        if len(fields) != layout.width:
            return _wrong_width(text.where(start, number), line, len(fields), str(layout.width))
    unclosed = (number for number in found.numbers if found.lines[number].count(b'"') % 2)
    odd = next(unclosed, found.numbers[0])
    return DataError(
        "a quote is opened but not closed",
        where=text.where(start, odd),
        got=repr(found.lines[odd][:80].decode("utf-8", "replace")),
        remedy="remove the quote or close it",
    )


def _long_line(where: str, length: int) -> DataError:
    return DataError(
        "a line of the pair table is too long",
        where=where,
        got=f"{length:,} bytes",
        expected=f"at most {_LONGEST_LINE:,}",
    )


def _wrong_width(where: str, line: str, got: int, expected: str) -> DataError:
    return DataError(
        "a row has the wrong number of columns",
        where=where,
        got=f"{got} in {line[:80]!r}",
        expected=f"{expected}, separated by tabs, commas, semicolons or blanks",
        # BioGRID's tables and PSI-MITAB have a dozen columns or more.
        remedy="a table of a database is given as network=FILE" if got > _LARGEST_WIDTH else None,
    )
