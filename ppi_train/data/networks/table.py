"""Rows of a text table, parsed by pyarrow some megabytes at a time.

What is wrong with a row is worked out only once pyarrow has refused a block.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from ppi_train.data.networks.base import KIND
from ppi_train.errors import DataError, first_line
from ppi_train.io.files import MAX_FILE_BYTES, SPLIT_REMEDY
from ppi_train.io.packed import Block, line_blocks

CODED = pa.dictionary(pa.int32(), pa.string())
"""A column of texts that repeat."""

_COMMENT = re.compile(rb"(?m)^#[^\n]*\n?")
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
# Small enough for a processor's cache, and for two threads to have work.
_CHUNK = 1 << 20
# Lines that are looked at to recognise a layout, and their bytes.
_HEAD_LINES, _HEAD_BYTES = 50, 1 << 20


@dataclass(frozen=True)
class Source:
    """An opened network file: its path, and its content from the first byte on, part by part."""

    path: str
    first: bytes
    parts: Iterator[bytes]

    @cached_property
    def head(self) -> list[str]:
        """The first lines that are not blank; at most a megabyte."""
        lines = self.first[:_HEAD_BYTES].splitlines()[:_HEAD_LINES]
        return [line.decode("utf-8", "replace") for line in lines if line.strip()]

    def blocks(self) -> Iterator[Block]:
        """The lines, some megabytes at a time."""
        return line_blocks(self.path, KIND, self.parts)

    def whole(self) -> bytes:
        """All of the content.

        Raises:
            DataError: it is too large to be read whole.
        """
        parts, size = [], 0
        for part in self.parts:
            parts.append(part)
            size += len(part)
            if size > MAX_FILE_BYTES:
                raise DataError(
                    f"the {KIND} is too large to be read whole",
                    where=self.path,
                    expected=f"at most {MAX_FILE_BYTES:,} bytes",
                    remedy=SPLIT_REMEDY,
                )
        return b"".join(parts)


@dataclass(frozen=True, kw_only=True)
class Table:
    """How the rows of a file are parsed. There are no quotes.

    source: Names the file in messages.
    delimiter: A single byte.
    names: Names of all columns, for messages.
    types: The type of each column that is wanted, by its position; a number must be finite.
    needed: Positions of columns that may not be empty.
    """

    source: str
    delimiter: str
    names: tuple[str, ...]
    types: Mapping[int, pa.DataType]
    needed: tuple[int, ...] = ()

    def parse(self, block: Block, *, header: bool = False) -> dict[int, pa.Array]:
        """The wanted columns of a block, by position; lines that begin with `#` are left out.

        Args:
            block: Whole lines.
            header: Whether its first line is a header.

        Raises:
            DataError: with the line: a wrong number of columns, text that is not UTF-8, an empty value, a
                number that is none.
        """
        data = block.data
        if header:
            data = data.lstrip(b"\r\n").partition(b"\n")[2]
        # A single byte is found much faster than two, of which the first is common.
        if b"#" in data and (data.startswith(b"#") or b"\n#" in data):
            data = _COMMENT.sub(b"", data)
        if not data.strip():
            return {at: pa.array([], pa.string()).cast(kind) for at, kind in self.types.items()}
        try:
            columns = self._columns(data)
        except pa.ArrowInvalid as error:
            raise self._wrong_row(block, header, error) from error
        numbers = (columns[at] for at, kind in self.types.items() if not _is_text(kind))
        if any(column.null_count or not pc.all(pc.is_finite(column)).as_py() for column in numbers):
            raise self._wrong_row(block, header, "a value that is not a number")
        if any(pc.index(columns[at].dictionary, "").as_py() >= 0 for at in self.needed):
            raise self._wrong_row(block, header, "an empty value")
        return columns

    def _columns(self, data: bytes) -> dict[int, pa.Array]:
        names = [f"c{at}" for at in range(len(self.names))]
        table = pa_csv.read_csv(
            pa.py_buffer(data),
            read_options=pa_csv.ReadOptions(column_names=names, block_size=_CHUNK),
            parse_options=pa_csv.ParseOptions(delimiter=self.delimiter, quote_char=False),
            convert_options=pa_csv.ConvertOptions(
                column_types={names[at]: kind for at, kind in self.types.items()},
                include_columns=[names[at] for at in self.types],
                strings_can_be_null=False,
            ),
        ).unify_dictionaries()
        return {at: table.column(names[at]).combine_chunks() for at in self.types}

    def _wrong_row(self, block: Block, header: bool, error: object) -> DataError:
        for number, line in enumerate(block.data.splitlines(), start=block.line):
            if not line or line.startswith(b"#"):
                continue
            if header:
                header = False
                continue
            wrong = self._wrong(line)
            if wrong is not None:
                return wrong.at(f"{self.source}, line {number}")
        return DataError("the network cannot be read", where=self.source, got=first_line(error))

    def _wrong(self, line: bytes) -> DataError | None:
        if len(line) > _CHUNK:
            return DataError(
                "a line of the network is too long",
                got=f"{len(line):,} bytes",
                expected=f"at most {_CHUNK:,}",
            )
        try:
            fields = line.decode().split(self.delimiter)
        except UnicodeDecodeError as error:
            return DataError("the network is not text in UTF-8", got=f"the byte 0x{line[error.start]:02x}")
        if len(fields) != len(self.names):
            return DataError(
                "a row has the wrong number of columns",
                got=f"{len(fields)} in {line[:80].decode('utf-8', 'replace')!r}",
                expected=f"{len(self.names)}, as in the first row",
            )
        if any(not fields[at] for at in self.needed):
            return DataError("a row has no name", got=repr(line[:80].decode()), expected="two names")
        for at, kind in self.types.items():
            if not _is_text(kind) and not _is_number(fields[at]):
                return DataError(
                    f"a value of {self.names[at]} is not a number", got=repr(fields[at]), expected="a number"
                )
        return None


def _is_text(kind: pa.DataType) -> bool:
    return kind in (CODED, pa.string())


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def by_value(column: pa.DictionaryArray, function: Callable[[str], object], kind: type) -> np.ndarray:
    """A function of a column's texts, computed once for each distinct text; (n,) of the type."""
    values: np.ndarray = np.array([function(text) for text in column.dictionary.to_pylist()], kind)
    return np.asarray(values[column.indices.to_numpy(zero_copy_only=False)])


def publication_year(author: str) -> int:
    """The earliest year in a field such as `Ciferri et al. (2005)`; 0 for none."""
    return min((int(year) for year in _YEAR.findall(author)), default=0)
