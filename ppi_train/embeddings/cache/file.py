"""Reading and checking one Parquet file of an embedding cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ppi_train.embeddings.cache.spec import FINITE_KEY, METADATA_KEY, cache_schema, spec_from_json
from ppi_train.errors import CacheError
from ppi_train.io.limits import unpacked_limit
from ppi_train.io.parquet import BROKEN, open_parquet


@dataclass(frozen=True, kw_only=True)
class CacheIndex:
    """The small columns of a file, one entry per protein.

    `checksums` is empty except for residues.
    """

    ids: list[str]
    digests: pa.ChunkedArray
    lengths: np.ndarray
    checksums: np.ndarray


class CacheFile:
    """A file opened for reading.

    Attributes:
        spec: How it was made.
        found_finite: Whether its writer found every number finite.

    Raises:
        CacheError: the file is absent, cut short, corrupt, not a cache, or of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            size = path.stat().st_size
            # A row has the digest of a sequence, 32 bytes that nothing compresses.
            self._parquet = open_parquet(path, max_rows=size // 32, page_checksum_verification=True)
            metadata = self._parquet.schema_arrow.metadata or {}
        except FileNotFoundError:
            raise CacheError("there is no such embedding cache", where=path.absolute()) from None
        except BROKEN as error:
            self.refuse(error)
        if METADATA_KEY not in metadata:
            raise CacheError(
                "the Parquet file is not an embedding cache",
                where=path.absolute(),
                expected=f"file metadata {METADATA_KEY.decode()!r}",
                remedy="make one with the entry point `embed`",
            )
        self.spec = spec_from_json(metadata[METADATA_KEY], where=path)
        self.found_finite = metadata.get(FINITE_KEY) == b"true"
        self._check_columns()
        self._check_size(size)

    def refuse(self, error: object) -> NoReturn:
        """Raises the CacheError for a damaged file."""
        raise CacheError(
            "the embedding cache is cut short or corrupt",
            where=self.path.absolute(),
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            expected="a whole Parquet file",
            remedy="delete the file and make it again with the entry point `embed`",
        ) from None

    def _check_columns(self) -> None:
        found, wanted = self._parquet.schema_arrow, cache_schema(self.spec)
        if found.equals(wanted):
            return
        if self.spec.granularity == "residue" and found.names == [n for n in wanted.names if n != "crc32"]:
            raise CacheError(
                "the embedding cache holds residues as lists, which were only written before version 0.3",
                where=self.path,
                expected="raw bytes with a checksum",
                remedy="delete the file and make it again with the entry point `embed`",
            )
        raise CacheError(
            "the columns of the embedding cache are not what its metadata says",
            where=self.path,
            got=_columns(found),
            expected=_columns(wanted),
        )

    def _check_size(self, size: int) -> None:
        """Refuses vectors that would be too large for their file when decoded.

        Their size follows from their width, which takes no room in the file.
        """
        vectors = self.spec.granularity == "protein"
        decoded = self._parquet.metadata.num_rows * self.spec.dimension * self.spec.values.itemsize
        if vectors and decoded > unpacked_limit(size):
            self.refuse(f"{decoded:,} bytes of vectors are claimed of a file of {size:,}")

    def read_index(self) -> CacheIndex:
        """Reads all columns but the embeddings."""
        names = [name for name in self._parquet.schema_arrow.names if name != "embedding"]
        table = self._read(None, names)
        residues = "crc32" in names
        return CacheIndex(
            ids=table["protein_id"].to_pylist(),
            digests=table["sequence_digest"],
            lengths=_numbers(table["length"]),
            checksums=_numbers(table["crc32"]) if residues else np.empty(0, np.uint32),
        )

    def _read(self, group: int | None, columns: Sequence[str]) -> pa.Table:
        file = self._parquet
        try:
            if group is None:
                table, rows = file.read(columns=list(columns)), file.metadata.num_rows
            else:
                table = file.read_row_group(group, columns=list(columns))
                rows = file.metadata.row_group(group).num_rows
            # A damaged page header, which no checksum covers, makes a page seem empty.
            if any(len(column) != rows for column in table.columns):
                raise ValueError(f"a column does not have {rows} rows")
        except BROKEN as error:
            self.refuse(error)
        return table

    def group_starts(self) -> np.ndarray:
        """The first row of each row group, and the row count, int64."""
        metadata = self._parquet.metadata
        rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        return np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])

    def vectors(self, group: int) -> np.ndarray:
        """All vectors of a row group, (n, d), for granularity `protein`."""
        column = self._read(group, ["embedding"]).column(0)
        values = _numbers(pa.chunked_array([chunk.flatten() for chunk in column.chunks]))
        return values.reshape(-1, self.spec.dimension)

    def page(self, group: int) -> pq.ColumnChunkMetaData:
        """The footer's entry for the embeddings of a row group."""
        return self._parquet.metadata.row_group(group).column(self._parquet.metadata.num_columns - 1)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """The numbers of a column that has no nulls.

    Arrow's to_numpy() would import pandas, which takes half a second.
    """
    chunks = [np.from_dlpack(chunk) for chunk in column.chunks if len(chunk)]
    return np.concatenate(chunks or [np.empty(0, np.int32)])


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in schema)
