"""Reading of residue states in place from the files of a cache.

The column of states is raw bytes in one plain page a row group: a header and then, protein by protein, the
size in four bytes and the states. So the footer and the lengths give every place, and a protein is one read
into the caller's memory, with nothing to decode. `mean_residues` has five times the speed of NumPy's mean,
which converts half-precision numbers one by one.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from isal.isal_zlib import crc32

from ppi_train.embeddings.cache import all_finite
from ppi_train.embeddings.cache.file import CacheFile
from ppi_train.embeddings.cache.remote import CacheIndex, FetchedRows
from ppi_train.errors import CacheError, counted, first_ten
from ppi_train.io.unavailable import described_by_cause

# Residues converted at once: so few that the block stays in the processor's cache, titin's too.
_BLOCK = 1024
# Corrects the exponent of a half-precision number whose bits were moved to their places in float32.
_EXPONENT = np.float32(2.0**112)

# Bytes before a protein's states, which give their size.
PREFIX = 4
# A page's header begins with its kind and its size, in at most this many bytes.
_HEADER_START = 8
# Bytes that a thread reads at once: a protein or a few, so that threads share a batch evenly and what
# is read ahead of the consumer stays in the processor's cache.
CHUNK_BYTES = 2 << 20
# The same where a protein that is not there costs a request.
FETCHED_CHUNK_BYTES = 16 << 20


def mean_residues(states: np.ndarray) -> np.ndarray:
    """The float32 mean (d,) of float16 or float32 rows (L, d)."""
    if states.dtype.itemsize == 4:
        return np.asarray(states.mean(axis=0, dtype=np.float32))
    total = np.zeros(states.shape[1], dtype=np.float32)
    for start in range(0, len(states), _BLOCK):
        total += widened(states[start : start + _BLOCK]).sum(axis=0)
    return np.asarray(total / np.float32(len(states)))


def widened(halves: np.ndarray) -> np.ndarray:
    """Finite float16 numbers as float32, exactly.

    The bits of all numbers are moved to their places at once.
    """
    bits = halves.view(halves.dtype.str.replace("f", "i")).astype(np.int32)
    bits <<= 13
    bits &= -0x7000_0001  # the copies of the sign above the exponent go, the sign itself stays
    values = bits.view(np.float32)
    values *= _EXPONENT
    return values


class ResidueStore:
    """The residue states of a cache by row.

    The rows are the proteins of all its files in order. Several threads may read at the same time.

    Attributes:
        sizes: Bytes of each protein's states, int64.

    Raises:
        CacheError: a file is corrupt, or the places in it do not follow from the lengths.
    """

    def __init__(self, files: Sequence[CacheFile], indexes: Sequence[CacheIndex]) -> None:
        _check_formats(files)
        self._files = files
        self._indexes = indexes
        self._ends = np.cumsum([len(index.ids) for index in indexes])
        self._descriptors = [_opened(self, file) for file in files]
        self.sizes = np.concatenate([_sizes(file, index) for file, index in zip(files, indexes, strict=True)])
        self._offsets = np.empty_like(self.sizes)
        self._checksums = np.concatenate([index.checksums for index in indexes])
        # A protein is checked when it is first read; from then on the disk is trusted.
        self._checked = np.zeros(len(self.sizes), dtype=bool)
        for number in range(len(files)):
            self._place_file(number)
        self._fetched = [self._fetched_rows(number) for number in range(len(files))]
        in_store = any(file.copy for file in files)
        self.chunk_bytes = FETCHED_CHUNK_BYTES if in_store else CHUNK_BYTES

    def _place_file(self, number: int) -> None:
        file = self._files[number]
        starts = file.group_starts() + (self._ends[number] - len(self._indexes[number].ids))
        for group, (start, end) in enumerate(pairwise(starts)):
            steps = self.sizes[start:end] + PREFIX
            first = _first_value(file, self._descriptors[number], group, int(steps.sum()))
            self._offsets[start:end] = first + PREFIX + np.cumsum(steps) - steps

    def _fetched_rows(self, number: int) -> FetchedRows | None:
        """How the rows of a file in a store are fetched; None for one on this disk."""
        copy, end = self._files[number].copy, self._ends[number]
        rows = slice(end - len(self._indexes[number].ids), end)
        return FetchedRows(copy, self._offsets[rows], self.sizes[rows], PREFIX) if copy else None

    def read(self, rows: np.ndarray, out: np.ndarray, starts: np.ndarray) -> None:
        """Reads proteins into a buffer and checks each on its first read.

        Args:
            rows: (n,); ascending rows are read fastest.
            out: Bytes (uint8), flat.
            starts: Where in `out` each protein begins, (n,) int64.

        Raises:
            CacheError: the file is cut short, a protein's bytes are not those written, or a number
                is not finite.
        """
        view = memoryview(out)  # type: ignore[arg-type]
        prefix = bytearray(PREFIX)
        fetched = self._fetch(rows)
        columns = (rows, self._offsets[rows], self.sizes[rows], starts)
        for row, offset, size, start in zip(*(column.tolist() for column in columns), strict=True):
            number = self._file_of(row)
            states = view[start : start + size]
            if row in fetched:
                prefix[:], states[:] = fetched[row][:PREFIX], fetched[row][PREFIX:]
            else:
                try:
                    _fill(self._descriptors[number], [memoryview(prefix), states], offset - PREFIX)
                except OSError as error:
                    self._files[number].refuse(error)
            source = self._fetched[number]
            if source and not self._is_right(row, prefix, states):
                # Another process may have removed it, or the disk lost it: the store has the last word.
                content = source.again(row - self._first_of(number))
                prefix[:], states[:] = content[:PREFIX], content[PREFIX:]
            # Immediately, while the bytes are in the processor's cache.
            self._check(row, int.from_bytes(prefix, "little"), states)

    def _fetch(self, rows: np.ndarray) -> dict[int, memoryview]:
        """Prefix and states of the rows that have to come from a store, by row."""
        found: dict[int, memoryview] = {}
        for number, source in enumerate(self._fetched):
            if source:
                first = self._first_of(number)
                inside = rows[(rows >= first) & (rows < self._ends[number])] - first
                found |= {first + row: content for row, content in source.absent(inside.tolist()).items()}
        return found

    def _first_of(self, number: int) -> int:
        return int(self._ends[number]) - len(self._indexes[number].ids)

    def _is_right(self, row: int, prefix: bytes | bytearray, states: memoryview) -> bool:
        size = int.from_bytes(prefix, "little")
        return size == len(states) and crc32(states) == self._checksums[row]

    def is_at_hand(self, row: int) -> bool:
        """Whether a protein's last byte is in the system's page cache.

        False on a system that cannot say.
        """
        number = self._file_of(row)
        source = self._fetched[number]
        if source and not source.is_here(row - self._first_of(number)):
            return False
        last = int(self._offsets[row] + self.sizes[row]) - 1
        try:
            return os.preadv(self._descriptors[number], [bytearray(1)], last, os.RWF_NOWAIT) == 1
        except (OSError, AttributeError):  # not cached yet, or a system without this query
            return False

    def _file_of(self, row: int) -> int:
        return int(np.searchsorted(self._ends, row, side="right"))

    def _check(self, row: int, prefix: int, states: memoryview) -> None:
        if self._checked[row] and prefix == len(states):
            return
        number = self._file_of(row)
        file, index = self._files[number], self._indexes[number]
        protein = index.ids[row - int(self._ends[number])]  # a negative index: counted from the end
        if prefix != len(states) or crc32(states) != self._checksums[row]:
            file.refuse(f"the residues of {protein} are not those that were written")
        if not file.found_finite and not all_finite(np.frombuffer(states, dtype=file.spec.values)):
            refuse_not_finite(file, [protein])
        self._checked[row] = True


def chunks(sizes: np.ndarray, nbytes: int = CHUNK_BYTES) -> Iterator[slice]:
    """Divides proteins of these sizes in bytes into slices of about `nbytes`."""
    number = np.cumsum(sizes) // nbytes
    cuts = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(sizes)]
    return (slice(start, end) for start, end in pairwise(cuts) if start < end)


def refuse_not_finite(file: CacheFile, proteins: Sequence[str]) -> None:
    """Raises the CacheError for embeddings with a NaN or an infinity."""
    has = "has" if len(proteins) == 1 else "have"
    raise CacheError(
        f"{counted(len(proteins), 'embedding')} in the cache {has} numbers that are not finite",
        where=file.path,
        got=first_ten(proteins),
        remedy="make the cache again",
    )


def _check_formats(files: Sequence[CacheFile]) -> None:
    for file in files:
        if file.spec.dtype != files[0].spec.dtype:
            raise CacheError(
                "the files of the embedding cache hold residues in different number formats",
                where=file.path,
                got=file.spec.dtype,
                expected=f"{files[0].spec.dtype}, as in {files[0].path}",
                remedy="embed the sequences again with one embedding_dtype",
            )


def _opened(store: ResidueStore, file: CacheFile) -> int:
    try:
        descriptor = os.open(file.path, os.O_RDONLY)
    except OSError as error:
        file.refuse(error)
    weakref.finalize(store, os.close, descriptor)
    return descriptor


def _sizes(file: CacheFile, index: CacheIndex) -> np.ndarray:
    spec = file.spec
    sizes = spec.kept_residues(index.lengths) * (spec.dimension * spec.values.itemsize)
    if len(sizes) and sizes.min() <= 0:
        file.refuse("a protein without residues")
    return sizes


def _first_value(file: CacheFile, descriptor: int, group: int, content: int) -> int:
    """The file offset of the first value in a row group's page.

    The page is not looked at where that takes a request: the size in front of each protein shows the same.

    Args:
        content: Bytes of the page, as follows from the lengths.
    """
    column = file.page(group)
    header = column.total_compressed_size - content
    if file.has_index and header > 0:
        return int(column.data_page_offset + header)
    with described_by_cause(file.path):
        page = os.pread(descriptor, _HEADER_START, column.data_page_offset)
    plain = column.compression == "UNCOMPRESSED" and set(column.encodings) <= {"PLAIN", "RLE"}
    if not plain or column.has_dictionary_page or header <= 0 or _size_of_data_page(page) != content:
        raise CacheError(
            "the residues of the embedding cache cannot be read in place",
            where=file.path,
            got=f"row group {group}: {column.compression}, {'/'.join(column.encodings)}, "
            f"{column.total_compressed_size:,} bytes that begin with a page of {_size_of_data_page(page):,}",
            expected=f"UNCOMPRESSED, PLAIN, one page of the {content:,} bytes that the lengths make",
            remedy="make the file again with the entry point `embed`; "
            "for other programs see docs/reference/caches.md",
        )
    return int(column.data_page_offset + header)


def _size_of_data_page(header: bytes) -> int:
    """The size in a data page's header; -1 for other pages.

    The header is in Thrift's compact protocol. Field 1 (0x15: the next field, an integer) is the kind, 0
    for a data page of version 1; field 2 (0x15 again) is the size, a zigzag number in groups of seven
    bits, the lowest first.
    """
    if header[:3] != b"\x15\x00\x15":
        return -1
    number = 0
    for place, byte in enumerate(header[3:8]):
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return number >> 1
    return -1


def _fill(descriptor: int, buffers: list[memoryview], offset: int) -> None:
    """Reads from an offset until all buffers are full.

    Raises:
        OSError: the file ends before that, or cannot be read.
    """
    while buffers:
        got = os.preadv(descriptor, buffers, offset)
        if not got:
            raise OSError(f"the file ends at byte {offset:,}")
        offset += got
        # A read may end early: one call gives at most 2 GiB.
        while buffers and got >= len(buffers[0]):
            got -= len(buffers.pop(0))
        if got:
            buffers[0] = buffers[0][got:]
