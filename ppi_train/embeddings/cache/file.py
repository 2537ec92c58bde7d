"""Writing and reading one Parquet file of an embedding cache.

A cache is streamed in row groups and moved into place when it is complete. The same input gives the same
bytes.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from isal.isal_zlib import crc32

from ppi_train.embeddings.cache import (
    CONTENT_KEY,
    FINITE_KEY,
    METADATA_KEY,
    CacheSpec,
    all_finite,
    cache_schema,
    digest_of_numbers,
    spec_from_json,
)
from ppi_train.embeddings.cache.remote import (
    INDEX_KEY,
    MOST_INDEXED,
    CacheIndex,
    fetch_footer,
    index_from_json,
    index_to_json,
)
from ppi_train.errors import CacheError, first_line
from ppi_train.io.files import unpacked_limit
from ppi_train.io.parquet import BROKEN, open_parquet
from ppi_train.io.store_cache import lazy_copy
from ppi_train.io.unavailable import unavailable_error

# Vectors are read by row group: large enough that a scan runs at the speed of the disk, small
# enough that one protein's row group costs little to read for itself.
ROW_GROUP_VALUES = 2_000_000
# Residues are read in place, so the row group does not matter to the reader: large enough that 20,000
# proteins have a few hundred groups to open, small enough to write within a few hundred MB of memory.
ROW_GROUP_BYTES = 64 << 20
# Below the 20,000 rows at which Arrow starts another page: the reader counts on one page a row group.
ROW_GROUP_ROWS = 16_384
# More than the header of a page of states has.
HEADER_BYTES = 256
# The size of a page is a signed 32-bit number, which limits the bytes of one protein.
LARGEST_PROTEIN = (1 << 31) - (1 << 20)


class CacheFile:
    """A file opened for reading.

    Attributes:
        spec: How it was made.
        found_finite: Whether its writer found every number finite.
        content_digest: The digest of the numbers that its writer stored; None in older files.
        copy: Where the bytes of an object in a store come from, if the file is a lazy copy of one.

    Raises:
        CacheError: the file is absent, cut short, corrupt, not a cache, or of a newer version.
        UnavailableError: it could not be read, for a reason that does not lie in its bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.copy = lazy_copy(path)
        if self.copy:
            fetch_footer(self.copy)
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
        stored = (self._parquet.metadata.metadata or {}).get(CONTENT_KEY)
        self.content_digest = None if stored is None else stored.decode("utf-8", "backslashreplace")
        self._check_columns()
        self._check_size(size)
        self._index = self._fetch_index() if self.copy else None

    def refuse(self, error: object) -> NoReturn:
        """Raises the CacheError for a damaged file.

        Raises:
            UnavailableError: the error does not come from the file's bytes; the file may be whole.
        """
        unavailable = unavailable_error(error, self.path.absolute(), "the embedding cache could not be read")
        if unavailable is not None:
            raise unavailable from None
        if self.copy:
            self.copy.refuse_if_replaced()
            self.copy.forget()
        raise CacheError(
            "the embedding cache is cut short or corrupt",
            where=self.path.absolute(),
            got=first_line(error),
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

    def _fetch_index(self) -> CacheIndex | None:
        """Fetches of an object what opening it needs: the index, or else the columns that it is made of.

        Vectors are fetched whole, since every reader needs all of them.
        """
        assert self.copy
        if self.spec.granularity == "protein":
            self.copy.fetch_all()
            return None
        metadata = self._parquet.metadata
        text = (metadata.metadata or {}).get(INDEX_KEY)
        if text is not None:
            try:
                return index_from_json(text, metadata.num_rows)
            except ValueError as error:
                self.refuse(error)
        # An earlier version wrote it: the columns lie in front of the states of each row group.
        places = []
        for group in range(metadata.num_row_groups):
            chunks = [metadata.row_group(group).column(number) for number in range(metadata.num_columns)]
            end = min(_first_byte(chunks[-1]) + HEADER_BYTES, self.copy.stored.size)
            places.append((min(map(_first_byte, chunks)), end))
        self.copy.fetch(places)
        return None

    @property
    def has_index(self) -> bool:
        """Whether the places of the residues come from the footer alone."""
        return self._index is not None

    def read_index(self) -> CacheIndex:
        """Reads all columns but the embeddings."""
        if self._index is not None:
            return self._index
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

    def checksums(self, index: CacheIndex) -> np.ndarray:
        """CRC-32 of each protein's bytes, (n,) uint32.

        Those of residues are stored, and checked when the residues are read. Vectors are read for them.

        Raises:
            CacheError: the numbers are not those that were written.
        """
        checksums = index.checksums
        if self.spec.granularity == "protein":
            found = [
                crc32(row) for group in range(self._parquet.num_row_groups) for row in self.vectors(group)
            ]
            checksums = np.array(found, dtype=np.uint32)
        if self.content_digest is not None:
            self._check_content(index, checksums)
        return checksums

    def _check_content(self, index: CacheIndex, checksums: np.ndarray) -> None:
        rows = zip(index.ids, index.digests.to_pylist(), checksums.tolist(), strict=True)
        found = digest_of_numbers(rows)
        if found != self.content_digest:
            raise CacheError(
                "the numbers in the embedding cache are not those that were written",
                where=self.path.absolute(),
                got=f"content digest {found[:12]}",
                expected=f"content digest {str(self.content_digest)[:12]}, stored in the file",
                remedy="find out what changed the file; bring it back as it was, or embed into another file",
            )

    def page(self, group: int) -> pq.ColumnChunkMetaData:
        """The footer's entry for the embeddings of a row group."""
        return self._parquet.metadata.row_group(group).column(self._parquet.metadata.num_columns - 1)


def _first_byte(chunk: pq.ColumnChunkMetaData) -> int:
    """Where a column of a row group begins in the file."""
    return int(chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """The numbers of a column that has no nulls.

    Arrow's to_numpy() would import pandas, which takes half a second.
    """
    chunks = [np.from_dlpack(chunk) for chunk in column.chunks if len(chunk)]
    return np.concatenate(chunks or [np.empty(0, np.int32)])


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in schema)


class CacheWriter:
    """Context manager that writes proteins in the order of the calls.

    At most one row group is in memory. The file appears under its name when the block ends
    without an error, and not at all otherwise.
    """

    def __init__(self, path: Path, spec: CacheSpec) -> None:
        self.path = path
        self._spec = spec
        schema = cache_schema(spec)
        if spec.granularity == "residue":
            schema = schema.with_metadata({**schema.metadata, FINITE_KEY: b"true"})
        self._schema = schema
        # Random and not of the process's number: every container has a process 1.
        self._partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
        self._rows: list[tuple[str, str, int, np.ndarray]] = []
        self._bytes = 0
        self._written: list[tuple[str, str, int]] = []
        self._lengths: list[int] = []
        residues = spec.granularity == "residue"
        self._group_bytes = ROW_GROUP_BYTES if residues else ROW_GROUP_VALUES * spec.values.itemsize

    def __enter__(self) -> CacheWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        residues = self._spec.granularity == "residue"
        self._file = pq.ParquetWriter(
            self._partial,
            self._schema,
            compression="none",  # embeddings are noise to a compressor
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
            # No page ends before its row group, so that a protein's place follows from the lengths.
            data_page_size=LARGEST_PROTEIN if residues else None,
        )
        return self

    def add(self, protein_id: str, sequence_digest: str, length: int, embedding: np.ndarray) -> None:
        """Appends one protein.

        Args:
            protein_id: Its accession.
            sequence_digest: sha256 of its sequence.
            length: Residues of the full sequence.
            embedding: (d,) for granularity `protein`; for `residue` (L, d), where L is `length` or
                the cache's `max_length`, the smaller of the two.

        Raises:
            CacheError: an embedding that is not finite in the cache's number format, or of another shape.
        """
        with np.errstate(over="ignore"):  # what is too large for float16 becomes infinite: refused below
            # A copy: the caller may use its array again, or it is a view of something larger.
            stored = np.array(embedding, dtype=self._spec.values, order="C")
        self._check(protein_id, length, stored)
        residues = self._spec.granularity == "residue"
        # Vectors may exceed the limit by one protein; with residues, that one could be a titin of 90 MB.
        if residues and self._bytes + stored.nbytes > self._group_bytes:
            self._flush()
        self._rows.append((protein_id, sequence_digest, length, stored))
        self._bytes += stored.nbytes
        if self._bytes >= self._group_bytes or (residues and len(self._rows) >= ROW_GROUP_ROWS):
            self._flush()

    def _check(self, protein_id: str, length: int, stored: np.ndarray) -> None:
        shape: tuple[int, ...] = (self._spec.dimension,)
        if self._spec.granularity == "residue":
            shape = (int(self._spec.kept_residues(np.array(length))), *shape)
        right_shape = stored.shape == shape and stored.size > 0
        finite = stored.size == 0 or all_finite(stored)
        if not (finite and right_shape):
            raise CacheError(
                "an embedding is not finite or has the wrong shape",
                where=protein_id,
                got=f"shape {stored.shape}, finite as {self._spec.dtype}: {finite}",
                expected=f"shape {shape}, all numbers finite",
            )
        if stored.nbytes > LARGEST_PROTEIN:
            raise CacheError(
                "an embedding is too large for a cache",
                where=protein_id,
                got=f"{stored.nbytes:,} bytes",
                expected=f"at most {LARGEST_PROTEIN:,}",
                remedy="give max_length, or embed in float16",
            )

    def _flush(self) -> None:
        if not self._rows:
            return
        ids, digests, lengths, embeddings = map(list, zip(*self._rows, strict=True))
        self._rows, self._bytes = [], 0
        small = [pa.array(ids, pa.string()), pa.array(digests, pa.string()), pa.array(lengths, pa.int32())]
        checksums = [crc32(embedding) for embedding in embeddings]
        self._written += zip(ids, digests, checksums, strict=True)
        self._lengths += lengths
        if self._spec.granularity == "residue":
            small.append(pa.array(checksums, pa.uint32()))
        self._file.write_table(pa.Table.from_arrays([*small, self._column(embeddings)], schema=self._schema))

    def _column(self, embeddings: list[np.ndarray]) -> pa.Array:
        """The embeddings as one column.

        Empties the list, so that they are not in memory twice.
        """
        kind = self._schema.field("embedding").type
        sizes = [embedding.nbytes for embedding in embeddings]
        flat = np.concatenate([embedding.reshape(-1) for embedding in embeddings])
        embeddings.clear()
        if self._spec.granularity == "protein":
            return pa.FixedSizeListArray.from_arrays(pa.array(flat, kind.value_type), type=kind)
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(flat)]
        return pa.BinaryArray.from_buffers(kind, len(sizes), buffers)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
                content = digest_of_numbers(self._written)
                self._file.add_key_value_metadata({CONTENT_KEY.decode(): content})
                if self._spec.granularity == "residue" and len(self._written) <= MOST_INDEXED:
                    index = index_to_json(self._written, self._lengths)
                    self._file.add_key_value_metadata({INDEX_KEY.decode(): index})
            self._file.close()
            if kind is None:
                self._partial.replace(self.path)
        finally:
            self._partial.unlink(missing_ok=True)
