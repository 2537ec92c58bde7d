"""Safe opening of Parquet files.

Arrow trusts a footer and allocates memory for what it claims, so its claims are checked first.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ppi_train.io.files import unpacked_limit

MAX_COLUMNS = 1000
# A cache of 20 GB has 300 KB.
MAX_FOOTER_BYTES = 64 << 20
# Rows that any table may have, even in a small file: runs of equal rows take almost no bytes.
FREE_ROWS = 1_000_000
# Rows for each byte of a larger file: a table of 200,000 random pairs has 0.2.
ROWS_PER_BYTE = 20
_TRAILER = 8  # the footer's size in four bytes, and PAR1

# What Arrow raises for an incomplete file; the errors raised here are included. Some do not come from the
# file's bytes: readers ask `unavailable_error` first.
BROKEN = (pa.ArrowException, OSError, ValueError, EOFError, KeyError, MemoryError)


def open_parquet(source: Path | bytes, *, max_rows: int | None = None, **options: object) -> pq.ParquetFile:
    """Opens a file if the claims of its footer are plausible.

    Args:
        source: A path, or the content.
        max_rows: The most rows that are accepted, if less than the bound from the file's size.
        options: Those of `pyarrow.parquet.ParquetFile`.

    Raises:
        ValueError: more rows, columns or bytes than a file of this size can hold.
        pa.ArrowException, OSError, EOFError: the file is not Parquet, or damaged.
    """
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    check_footer(source, size)
    opened = pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source, **options)
    try:
        _check_claims(opened.metadata, size, max_rows)
    except BaseException:
        opened.close()
        raise
    return opened


def check_footer(source: Path | bytes, size: int) -> None:
    """Checks that a footer is not too large.

    Raises:
        ValueError: it is larger than `MAX_FOOTER_BYTES`.
    """
    if size < _TRAILER:
        return
    if isinstance(source, bytes):
        trailer = source[-_TRAILER:]
    else:
        with source.open("rb") as stream:
            stream.seek(size - _TRAILER)
            trailer = stream.read(_TRAILER)
    claimed = int.from_bytes(trailer[:4], "little")
    if trailer[4:] == b"PAR1" and claimed > MAX_FOOTER_BYTES:
        raise ValueError(f"a footer of {claimed:,} bytes, more than {MAX_FOOTER_BYTES:,}")


def _check_claims(metadata: pq.FileMetaData, size: int, max_rows: int | None) -> None:
    believed = max(FREE_ROWS, ROWS_PER_BYTE * size)
    believed = believed if max_rows is None else min(believed, max_rows)
    if not 0 <= metadata.num_rows <= believed:
        raise ValueError(
            f"{metadata.num_rows:,} rows are claimed, of at most {believed:,} for its {size:,} bytes"
        )
    if metadata.num_columns > MAX_COLUMNS:
        raise ValueError(f"{metadata.num_columns:,} columns, more than {MAX_COLUMNS:,}")
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    rows = [group.num_rows for group in groups]
    if min(rows, default=0) < 0 or sum(rows) != metadata.num_rows:
        raise ValueError(f"row groups of {sum(rows):,} rows in all, where {metadata.num_rows:,} are claimed")
    # Not for each column: pyarrow crashes the process if the footer lacks one.
    sizes = [group.total_byte_size for group in groups]
    unpacked = sum(sizes)
    if min(sizes, default=0) < 0 or unpacked > unpacked_limit(size):
        raise ValueError(f"{unpacked:,} bytes are claimed of a file of {size:,}")
