"""Embedding caches in object stores: opened by a few requests, their residues read by ranges.

A residue cache has its small columns a second time in the footer, since in the columns themselves they lie in
front of the states of each row group: an object could then only be opened by a request for each of these.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ppi_train.io.parquet import MAX_FOOTER_BYTES
from ppi_train.io.store_cache import LazyCopy, joined

INDEX_KEY = b"ppi_train.index"
# The index of so many proteins is far from the limit of a footer; larger caches are opened by the columns.
MOST_INDEXED = 500_000
# What is read first: the footer of a cache of 3,000 proteins.
_FIRST = 256 << 10
_TRAILER = 8


@dataclass(frozen=True, kw_only=True)
class CacheIndex:
    """The small columns of a file, one entry per protein.

    `checksums` is empty except for residues.
    """

    ids: list[str]
    digests: pa.ChunkedArray
    lengths: np.ndarray
    checksums: np.ndarray


def fetch_footer(copy: LazyCopy) -> None:
    """Fetches the end of an object with its footer, by one or two requests.

    An impossible size in it is left for the reader of the footer to refuse.
    """
    if copy.is_whole:
        return
    size = copy.stored.size
    start = max(0, size - _FIRST)
    (end,) = copy.read([(start, size)])
    footer = int.from_bytes(end[-_TRAILER:-4], "little") + _TRAILER
    first = size - min(footer, size, MAX_FOOTER_BYTES)
    copy.fetch([(first, start)] if first < start else [])
    copy.write(start, end)


def index_to_json(proteins: Sequence[tuple[str, str, int]], lengths: Sequence[int]) -> str:
    """The small columns of a residue cache as text.

    Args:
        proteins: The accession of each, the sha256 of its sequence, and the CRC-32 of its states' bytes.
        lengths: Residues of their full sequences.
    """
    ids, digests, checksums = zip(*proteins, strict=True) if proteins else ((), (), ())
    columns = {
        "lengths": np.array(lengths, "<i4").tobytes(),
        "crc32": np.array(checksums, "<u4").tobytes(),
    }
    fields = {name: base64.b64encode(content).decode() for name, content in columns.items()}
    return json.dumps({"ids": ids, "digests": digests, **fields})


def index_from_json(text: bytes, rows: int) -> CacheIndex:
    """Reads what `index_to_json` wrote.

    Raises:
        ValueError: it is something else, or not of so many proteins.
    """
    try:
        fields = json.loads(text)
        ids, digests = fields["ids"], fields["digests"]
        lengths = np.frombuffer(base64.b64decode(fields["lengths"]), "<i4")
        checksums = np.frombuffer(base64.b64decode(fields["crc32"]), "<u4")
        texts = pa.chunked_array([pa.array(digests, pa.string())])
        whole = all(isinstance(name, str) for name in ids)
        if not whole or {len(ids), len(texts), len(lengths), len(checksums)} != {rows}:
            raise ValueError(f"the index in the footer is not one of {rows:,} proteins")
    except (KeyError, TypeError, RecursionError, pa.ArrowException) as error:
        raise ValueError(f"the index in the footer is not valid: {error!r}") from error
    return CacheIndex(ids=ids, digests=texts, lengths=lengths, checksums=checksums)


class FetchedRows:
    """The rows of a residue cache in a store, in neighbouring ranges.

    What was fetched is kept in the lazy copy while that may grow, and found there by other processes too.

    Args:
        copy: Of the cache.
        offsets: Where the states of each row begin in the file, after their prefix.
        sizes: Bytes of the states of each row.
        prefix: Bytes in front of them.
    """

    def __init__(self, copy: LazyCopy, offsets: np.ndarray, sizes: np.ndarray, prefix: int) -> None:
        self._copy = copy
        self._starts, self._ends = offsets - prefix, offsets + sizes
        self._there = _shared_flags(copy.beside("rows"), len(sizes))

    def is_here(self, row: int) -> bool:
        """Whether a row needs no request."""
        return bool(self._there[row])

    def absent(self, rows: Sequence[int]) -> dict[int, memoryview]:
        """The prefix and states of rows that the lazy copy does not have, and of rows between them.

        Args:
            rows: Ascending rows of the file.
        """
        wanted = [row for row in rows if not self._there[row]]
        spans = [(int(self._starts[row]), int(self._ends[row])) for row in wanted]
        found: dict[int, memoryview] = {}
        ranges = joined(spans)
        for (start, end), data in zip(ranges, self._copy.read(ranges), strict=True):
            # All rows of the range, those between the wanted ones too.
            first, last = np.searchsorted(self._starts, start), np.searchsorted(self._ends, end, "right")
            for row in range(int(first), int(last)):
                found[row] = memoryview(data)[self._starts[row] - start : self._ends[row] - start]
            if self._copy.keep(start, data):
                self._there[first:last] = 1
        return found

    def again(self, row: int) -> memoryview:
        """A row from the store, whatever the lazy copy has."""
        self._there[row] = 0
        return self.absent([row])[row]


def _shared_flags(path: Path, size: int) -> np.ndarray:
    """Flags (size,) uint8, at first 0, which all processes share."""
    if not size:  # an empty file cannot be mapped
        return np.zeros(0, np.uint8)
    with path.open("ab") as file:
        file.truncate(size)
    return np.memmap(path, dtype=np.uint8, mode="r+", shape=(size,))
