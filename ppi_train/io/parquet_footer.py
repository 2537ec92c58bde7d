"""How many values the columns of a Parquet file claim, read from its footer.

pyarrow ends the process when it is asked for a column of some damaged footers. This walks through the
footer's Thrift compact encoding and reads that one number.
"""

from __future__ import annotations

from collections.abc import Iterator

_TRAILER = 8
# Types of fields in the compact encoding: numbers as varints, bytes, and what has parts.
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
# Numbers of fields in parquet.thrift: FileMetaData, RowGroup, ColumnChunk, ColumnMetaData.
_ROW_GROUPS, _COLUMNS, _META_DATA, _NUM_VALUES = 4, 1, 3, 5


def largest_columns(file: bytes) -> list[int]:
    """The number of values of the largest column of each row group.

    Args:
        file: The end of a Parquet file, with the whole footer.

    Raises:
        ValueError, IndexError, RecursionError: the footer is damaged.
    """
    size = int.from_bytes(file[-_TRAILER:-4], "little")
    return _Walker(file[-_TRAILER - size : -_TRAILER]).row_groups()


class _Walker:
    def __init__(self, footer: bytes) -> None:
        self._bytes = footer
        self._at = 0

    def row_groups(self) -> list[int]:
        found: list[int] = []
        for field, kind in self._fields():
            if (field, kind) == (_ROW_GROUPS, _LIST):
                found += [self._largest_column() for _ in range(self._list_header()[0])]
            else:
                self._skip(kind)
        return found

    def _largest_column(self) -> int:
        largest = 0
        for field, kind in self._fields():
            if (field, kind) == (_COLUMNS, _LIST):
                for _ in range(self._list_header()[0]):
                    largest = max(largest, self._values_of_chunk())
            else:
                self._skip(kind)
        return largest

    def _values_of_chunk(self) -> int:
        values = 0
        for field, kind in self._fields():
            if (field, kind) == (_META_DATA, _STRUCT):
                for inner, inner_kind in self._fields():
                    if inner == _NUM_VALUES:
                        values = self._zigzag()
                    else:
                        self._skip(inner_kind)
            else:
                self._skip(kind)
        return values

    def _fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field of a struct; the caller reads or skips its value."""
        number = 0
        while header := self._byte():
            number = number + (header >> 4) if header >> 4 else self._zigzag()
            yield number, header & 0xF

    def _skip(self, kind: int) -> None:
        if kind in (_TRUE, _FALSE):
            return
        if kind == _STRUCT:
            for _, inner in self._fields():
                self._skip(inner)
        elif kind in (_LIST, _SET):
            size, inner = self._list_header()
            for _ in range(size):
                self._skip_element(inner)
        elif kind == _MAP:
            size = self._varint()
            kinds = self._byte() if size else 0
            for _ in range(size):
                self._skip_element(kinds >> 4)
                self._skip_element(kinds & 0xF)
        else:
            self._skip_plain(kind)

    def _skip_element(self, kind: int) -> None:
        # Within a list a truth value takes a byte; in a struct it is part of the field's header.
        self._skip(_BYTE if kind in (_TRUE, _FALSE) else kind)

    def _skip_plain(self, kind: int) -> None:
        if kind == _BYTE:
            self._at += 1
        elif kind == _DOUBLE:
            self._at += 8
        elif kind == _BINARY:
            size = self._varint()
            self._at += size
        elif kind < _DOUBLE:
            self._varint()
        else:
            raise ValueError(f"a field of type {kind} in the footer")

    def _list_header(self) -> tuple[int, int]:
        header = self._byte()
        return (self._varint() if header >> 4 == 0xF else header >> 4), header & 0xF

    def _byte(self) -> int:
        self._at += 1
        return self._bytes[self._at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits in the footer")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
