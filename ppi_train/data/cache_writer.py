"""Writing an embedding cache: streamed in row groups, the same bytes for the same input, moved whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ppi_train.data.cache_format import METADATA_KEY, CacheSpec
from ppi_train.errors import CacheError

# Large enough that a scan runs at the speed of the disk, small enough that one protein's row group
# costs little to read for itself.
ROW_GROUP_VALUES = 2_000_000


def cache_schema(spec: CacheSpec) -> pa.Schema:
    """The columns of a cache; a protein's embedding is one vector, or its residues row by row."""
    value = {"float16": pa.float16(), "float32": pa.float32()}[spec.dtype]
    item = pa.field("item", value, nullable=False)
    vector = pa.list_(item, spec.dimension) if spec.granularity == "protein" else pa.list_(item)
    return pa.schema(
        [
            pa.field("protein_id", pa.string(), nullable=False),
            pa.field("sequence_digest", pa.string(), nullable=False),
            pa.field("length", pa.int32(), nullable=False),
            pa.field("embedding", vector, nullable=False),
        ],
        metadata={METADATA_KEY: spec.to_json().encode()},
    )


class CacheWriter:
    """Writes proteins in the order in which they are added; a context manager.

    The file appears under its name when the block ends well, and not at all otherwise.
    """

    def __init__(self, path: Path, spec: CacheSpec) -> None:
        self.path = path
        self._spec = spec
        self._schema = cache_schema(spec)
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._rows: list[tuple[str, str, int, np.ndarray]] = []
        self._values = 0

    def __enter__(self) -> CacheWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = pq.ParquetWriter(
            self._partial,
            self._schema,
            compression="none",  # embeddings are noise to a compressor
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )
        return self

    def add(self, protein_id: str, sequence_digest: str, length: int, embedding: np.ndarray) -> None:
        """Appends one protein.

        Args:
            protein_id: Its accession.
            sequence_digest: sha256 of its sequence.
            length: Residues of the full sequence.
            embedding: (d,) for granularity `protein`, (L, d) for `residue`.

        Raises:
            CacheError: an embedding that is not finite in the cache's number format, or of another shape.
        """
        with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite and is refused here
            stored = embedding.astype(self._spec.dtype)
        finite = bool(np.isfinite(stored).all())
        axes = 1 if self._spec.granularity == "protein" else 2
        right_shape = stored.ndim == axes and stored.size > 0 and stored.shape[-1] == self._spec.dimension
        if not (finite and right_shape):
            raise CacheError(
                "an embedding is not finite or has the wrong shape",
                where=protein_id,
                got=f"shape {embedding.shape}, finite as {self._spec.dtype}: {finite}",
                expected=f"{'one vector' if axes == 1 else 'rows'} of {self._spec.dimension} finite numbers",
            )
        self._rows.append((protein_id, sequence_digest, length, stored))
        self._values += embedding.size
        if self._values >= ROW_GROUP_VALUES:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        ids, digests, lengths, embeddings = zip(*self._rows, strict=True)
        self._file.write_table(
            pa.Table.from_arrays(
                [
                    pa.array(ids, pa.string()),
                    pa.array(digests, pa.string()),
                    pa.array(lengths, pa.int32()),
                    self._column(embeddings),
                ],
                schema=self._schema,
            )
        )
        self._rows, self._values = [], 0

    def _column(self, embeddings: Sequence[np.ndarray]) -> pa.Array:
        vector_type = self._schema.field("embedding").type
        flat = np.concatenate([one.reshape(-1) for one in embeddings])
        values = pa.array(flat, vector_type.value_type)
        if self._spec.granularity == "protein":
            return pa.FixedSizeListArray.from_arrays(values, type=vector_type)
        offsets = np.concatenate([[0], np.cumsum([one.size for one in embeddings])]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), values, type=vector_type)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
            self._file.close()
            if kind is None:
                self._partial.replace(self.path)
        finally:
            self._partial.unlink(missing_ok=True)
