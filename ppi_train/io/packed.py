"""Packed files: gzip, bzip2 and zstd, unpacked as a whole or a few megabytes at a time.

A packed file is recognised by its first bytes. What it unpacks to is bounded by its size, so that no file of
a few kilobytes uses up the memory or the time of a machine.
"""

from __future__ import annotations

import bz2
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
import pyarrow as pa
from isal import isal_zlib
from isal.igzip import IGzipFile

from ppi_train.errors import DataError
from ppi_train.io.files import (
    BOM,
    BZIP2_MAGIC,
    GZIP_MAGIC,
    LONGEST_STRETCH,
    MAX_FILE_BYTES,
    ZSTD_MAGIC,
    reading,
    refuse_stand_in,
    refuse_stretch,
    unpacked_limit,
)

# Enough lines at once that pyarrow's threads are worth starting, and few enough to be no matter for memory.
_BLOCK = 8 << 20
_NEWLINE = ord("\n")


def _gzip(stream: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], IGzipFile(fileobj=stream))  # type: ignore[no-untyped-call]


def _bzip2(stream: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], bz2.BZ2File(stream))


def _zstd(stream: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd"))


_PACKINGS: tuple[tuple[bytes, str, Callable[[IO[bytes]], IO[bytes]]], ...] = (
    (GZIP_MAGIC, "gzip", _gzip),
    (BZIP2_MAGIC, "bzip2", _bzip2),
    (ZSTD_MAGIC, "zstd", _zstd),
)


@dataclass(frozen=True)
class Block:
    """Some whole lines of a text file; `line` is the number of the first one, from 1."""

    data: bytes
    line: int


def unpack(path: str | Path, data: bytes, kind: str, mark: bytes, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """The content of a packed file, checked while it is unpacked; other data as they are.

    Args:
        path: Named in messages.
        data: The file's bytes.
        kind: Names the file in messages.
        mark: The byte that begins a record, or ends a line.
        limit: The most bytes that are unpacked.

    Raises:
        DataError: the file is cut short or damaged, unpacks to too many bytes, or has an endless record.
    """
    packing, stream = _opened(data[:4], io.BytesIO(data))
    if packing is None:
        return data
    parts: list[bytes] = []
    for part in _parts(path, stream, packing, kind, (len(data), min(limit, unpacked_limit(len(data))))):
        if len(part) == LONGEST_STRETCH and mark not in part:
            refuse_stretch(path, mark.decode(), kind)
        parts.append(part)
    return b"".join(parts)


def unpacked_parts(path: str | Path, kind: str) -> Iterator[bytes]:
    """The content of a file, plain or packed, some megabytes at a time; at least one part.

    A byte order mark is left out.

    Args:
        path: A file or a pipe.
        kind: Names the file in messages.

    Raises:
        DataError: the file is absent, a directory, empty, a stand-in for a failed download, cut short or
            damaged, or unpacks to too many bytes.
    """
    with reading(path, kind), Path(path).open("rb") as file:
        about = os.fstat(file.fileno())
        packing, stream = _opened(file.peek(4)[:4], file)
        # The size of a pipe is not known before it is read.
        limit = unpacked_limit(about.st_size) if stat.S_ISREG(about.st_mode) else MAX_FILE_BYTES
        parts = _parts(path, stream, packing, kind, (about.st_size, limit))
        first = next(parts, b"").removeprefix(BOM)
        if not first:
            raise DataError(f"the {kind} is empty", where=path, got="0 bytes")
        refuse_stand_in(path, first, kind)
        yield first
        yield from parts


def line_blocks(path: str | Path, kind: str, parts: Iterable[bytes]) -> Iterator[Block]:
    """The lines of a text file, some megabytes at a time; the last one need not have an end.

    Args:
        path: Named in messages.
        kind: Names the file in messages.
        parts: Its content, from `unpacked_parts`.

    Raises:
        DataError: the file is binary, or has a line without end.
    """
    rest, line = b"", 1
    for part in parts:
        if b"\0" in part:
            raise DataError(
                f"the {kind} is not text", where=path, got="binary data", expected="text in UTF-8"
            )
        cut = part.rfind(b"\n") + 1
        if len(rest) > LONGEST_STRETCH:
            refuse_stretch(path, "\n", kind)
        if not cut:
            rest += part
            continue
        data, rest = rest + part[:cut], part[cut:]
        yield Block(data, line)
        # A tenth of the time of bytes.count, where lines are short.
        line += int(np.count_nonzero(np.frombuffer(data, np.uint8) == _NEWLINE))
    if rest:
        yield Block(rest, line)


def _opened(start: bytes, stream: IO[bytes]) -> tuple[str | None, IO[bytes]]:
    """The name of the packing, None for none, and a stream of the content."""
    for magic, packing, opener in _PACKINGS:
        if start.startswith(magic):
            return packing, opener(stream)
    return None, stream


def _parts(
    path: str | Path, stream: IO[bytes], packing: str | None, kind: str, bounds: tuple[int, int]
) -> Iterator[bytes]:
    """A stream's content; `bounds` are the file's size and the most bytes that it may unpack to."""
    size, limit = bounds
    total = 0
    with _damage_reported(path, packing), stream:
        while part := stream.read(LONGEST_STRETCH if packing else _BLOCK):
            yield part
            total += len(part)
            if packing and total > limit:
                raise DataError(
                    f"the {packing} file unpacks to more than a {kind} can",
                    where=path,
                    got=f"more than {limit:,} bytes from {size:,}",
                    remedy="unpack it yourself if you trust it, or divide it into several files",
                )


@contextmanager
def _damage_reported(path: str | Path, packing: str | None) -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError, isal_zlib.error, pa.ArrowException) as error:  # type: ignore[misc]
        if packing is None:
            raise
        raise DataError(
            f"the {packing} file is cut short or damaged",
            where=path,
            got=str(error),
            remedy="copy or download it again",
        ) from error
