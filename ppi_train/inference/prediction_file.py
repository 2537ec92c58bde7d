"""The Parquet table of scored pairs that `predict` writes.

It is streamed; the same rows give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ppi_train.inference.buffered_rows import BufferedRows

METADATA_KEY = b"ppi_train.prediction"
ROW_GROUP_ROWS = 1 << 20
# Bound on the names of a row group, above which Parquet would write out each: larger than they can be.
_DICTIONARY_BYTES = 1 << 28


class PredictionWriter:
    """Context manager that writes scored pairs.

    The columns are `protein_a`, `protein_b`, `probability` and optionally `uncertainty`.

    Args:
        path: The file; it is unusable unless the block ends without an error.
        proteins: Accessions by number.
        about: What determines the scores; stored in the file's metadata.
        uncertainty: Whether there is such a column.
    """

    def __init__(
        self, path: Path, proteins: Sequence[str], about: Mapping[str, object], *, uncertainty: bool
    ) -> None:
        self._path, self._names = path, pa.array(proteins, pa.string())
        name, score = pa.dictionary(pa.int32(), pa.string()), pa.float32()
        fields = {"protein_a": name, "protein_b": name, "probability": score}
        if uncertainty:
            fields["uncertainty"] = score
        self._schema = pa.schema(
            [pa.field(name, kind, nullable=False) for name, kind in fields.items()],
            metadata={METADATA_KEY: json.dumps(about, sort_keys=True).encode()},
        )
        # Row groups are filled up, so that the file does not depend on how its rows arrived.
        self._rows = BufferedRows(ROW_GROUP_ROWS)
        self.rows = 0

    def __enter__(self) -> PredictionWriter:
        self._file = pq.ParquetWriter(
            self._path,
            self._schema,
            compression="zstd",
            use_dictionary=["protein_a", "protein_b"],
            dictionary_pagesize_limit=_DICTIONARY_BYTES,
            write_page_checksum=True,
        )
        return self

    def add(self, columns: Mapping[str, np.ndarray]) -> None:
        """Appends rows.

        Args:
            columns: `a` and `b`, the numbers of the proteins, and a column for each score.
        """
        self.rows += len(columns["a"])
        for full in self._rows.add(columns):
            self._write(full)

    def _write(self, columns: Mapping[str, np.ndarray]) -> None:
        scores = {
            name: pa.array(column, pa.float32()) for name, column in columns.items() if name not in "ab"
        }
        names = {f"protein_{side}": self._named(columns[side]) for side in "ab"}
        self._file.write_table(pa.table(names | scores, schema=self._schema), row_group_size=ROW_GROUP_ROWS)

    def _named(self, numbers: np.ndarray) -> pa.DictionaryArray:
        """Protein numbers as a dictionary with only the names that occur.

        A row group would write all names that it is given.
        """
        used = np.flatnonzero(np.bincount(numbers))
        place = np.empty(int(used[-1]) + 1, np.int32)
        place[used] = np.arange(len(used), dtype=np.int32)
        return pa.DictionaryArray.from_arrays(pa.array(place[numbers]), self._names.take(pa.array(used)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            rest = self._rows.rest() if error is None else None
            if rest is not None:
                self._write(rest)
        finally:
            self._file.close()


def read_about(path: Path) -> dict[str, object]:
    """What determined the scores of a table, from its metadata.

    Empty for a table of another kind.
    """
    metadata = pq.read_schema(path).metadata or {}
    found = json.loads(metadata.get(METADATA_KEY, b"{}"))
    return found if isinstance(found, dict) else {}


def batches_of(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a table, some at a time."""
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(1 << 16, columns=columns)
