"""Tables that scored pairs are written to.

`predict` streams its Parquet table in pieces of a fixed size, so that the same rows give the same bytes;
`export` makes text and networks of it. An evaluation writes a Parquet table of its pairs, and an explanation
a TSV with a row for each residue of two proteins.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ppi_train.data.pairs import PairTable
from ppi_train.inference.pair_sets import PairSet
from ppi_train.io.files import write_file

METADATA_KEY = b"ppi_train.prediction"
ROW_GROUP_ROWS = 1 << 20
# Bound on the names of a row group, above which Parquet would write out each: larger than they can be.
_DICTIONARY_BYTES = 1 << 28
NEAREST = "nearest_training_identity"
"""The column that says how near a pair is to what the model was trained on."""


class BufferedRows:
    """Gathers columns until `size` rows are full."""

    def __init__(self, size: int) -> None:
        self._size, self._buffered = size, 0
        self._pieces: list[Mapping[str, np.ndarray]] = []

    def add(self, columns: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Takes rows, and yields the pieces that are now full."""
        count, start = len(next(iter(columns.values()))), 0
        while self._buffered + count - start >= self._size:
            stop = start + self._size - self._buffered
            self._pieces.append(_cut(columns, start, stop))
            start = stop
            yield self._all()
        if start < count:
            self._pieces.append(_cut(columns, start, count))
            self._buffered += count - start

    def rest(self) -> dict[str, np.ndarray] | None:
        """The rows left at the end; None if there are none."""
        return self._all() if self._pieces else None

    def _all(self) -> dict[str, np.ndarray]:
        whole = {name: np.concatenate([piece[name] for piece in self._pieces]) for name in self._pieces[0]}
        self._pieces, self._buffered = [], 0
        return whole


def _cut(columns: Mapping[str, np.ndarray], start: int, stop: int) -> dict[str, np.ndarray]:
    return {name: column[start:stop] for name, column in columns.items()}


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What is known of proteins and pairs, for further columns of a table.

    Attributes:
        texts: A text of each protein, or None, by the name of the column without its side, such as `gene`.
        marks: Sets of pairs, by the name of the column that says which pairs are in them.
        identities: Gives the identity of each protein, by number, with its nearest training protein; NaN
            where that is not known. None for no such column.
        lengths: Residues of each protein; empty if they are not known.
    """

    texts: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    marks: Mapping[str, PairSet] = field(default_factory=dict)
    identities: Callable[[np.ndarray], np.ndarray] | None = None
    lengths: Sequence[int] = ()


class PredictionWriter:
    """Context manager that writes scored pairs.

    The columns are `protein_a`, `protein_b`, `probability`, `logit`, `uncertainty`, then the marks,
    `nearest_training_identity` and the texts of both proteins, as far as there are any.

    Args:
        path: The file; it is unusable unless the block ends without an error.
        proteins: Accessions by number.
        about: What determines the scores; stored in the file's metadata.
        uncertainty: Whether there is such a column.
        annotations: Of the proteins and pairs.
        identities: (proteins,) float32, of each protein with its nearest training protein, NaN if unknown;
            None for no such column.

    Attributes:
        rows: How many were added.
        marked: How many of them have each mark.
    """

    def __init__(
        self,
        path: Path,
        proteins: Sequence[str],
        about: Mapping[str, object],
        *,
        uncertainty: bool,
        annotations: Annotations,
        identities: np.ndarray | None = None,
    ) -> None:
        self._path, self._marks, self._identities = path, annotations.marks, identities
        self._texts = {name: _Texts(values) for name, values in annotations.texts.items()}
        self._proteins = _Texts(proteins)
        text, score = pa.dictionary(pa.int32(), pa.string()), pa.float32()
        fields = [pa.field(f"protein_{side}", text, nullable=False) for side in "ab"]
        scores = ["probability", "logit", *(["uncertainty"] if uncertainty else [])]
        fields += [pa.field(name, score, nullable=False) for name in scores]
        fields += [pa.field(name, pa.bool_(), nullable=False) for name in self._marks]
        fields += [pa.field(NEAREST, score)] if identities is not None else []
        fields += [pa.field(f"{name}_{side}", text) for name in self._texts for side in "ab"]
        self._schema = pa.schema(fields, metadata={METADATA_KEY: json.dumps(about, sort_keys=True).encode()})
        # Row groups are filled up, so that the file does not depend on how its rows arrived.
        self._rows = BufferedRows(ROW_GROUP_ROWS)
        self.rows = 0
        self.marked = dict.fromkeys(self._marks, 0)

    def __enter__(self) -> PredictionWriter:
        self._file = pq.ParquetWriter(
            self._path,
            self._schema,
            compression="zstd",
            use_dictionary=[column.name for column in self._schema if pa.types.is_dictionary(column.type)],
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
        a, b = columns["a"], columns["b"]
        arrays = {f"protein_{side}": self._proteins.of(columns[side]) for side in "ab"}
        arrays |= {
            name: pa.array(column, pa.float32()) for name, column in columns.items() if name not in "ab"
        }
        for name, pairs in self._marks.items():
            inside = pairs.contains(a, b)
            arrays[name] = pa.array(inside)
            self.marked[name] += int(inside.sum())
        if self._identities is not None:
            nearest = np.minimum(self._identities[a], self._identities[b])  # NaN if either is NaN
            arrays[NEAREST] = pa.array(nearest, pa.float32(), mask=np.isnan(nearest))
        for name, texts in self._texts.items():
            arrays |= {f"{name}_{side}": texts.of(columns[side]) for side in "ab"}
        self._file.write_table(pa.table(arrays, schema=self._schema), row_group_size=ROW_GROUP_ROWS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            rest = self._rows.rest() if error is None else None
            if rest is not None:
                self._write(rest)
        finally:
            self._file.close()


class _Texts:
    """A text of each protein, which is written as a dictionary."""

    def __init__(self, values: Sequence[str | None]) -> None:
        # Distinct: several proteins may have one gene, and a dictionary has no entry twice.
        coded = pa.array(values, pa.string()).dictionary_encode()
        self._codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        self._texts = coded.dictionary

    def of(self, numbers: np.ndarray) -> pa.DictionaryArray:
        """The texts of proteins by number, with a dictionary of only those that occur.

        A row group would write all texts that it is given.
        """
        codes = self._codes[numbers]
        used = np.flatnonzero(np.bincount(codes[codes >= 0], minlength=1))
        place = np.zeros(len(self._texts) + 1, np.int32)  # the last is for codes of -1
        place[used] = np.arange(len(used), dtype=np.int32)
        indices = pa.array(place[codes], mask=codes < 0)
        return pa.DictionaryArray.from_arrays(indices, self._texts.take(pa.array(used)))


def read_about(path: Path) -> dict[str, object]:
    """What determined the scores of a table, from its metadata.

    Empty for a table of another kind.
    """
    metadata = pq.read_schema(part_files(path)[0]).metadata or {}
    found = json.loads(metadata.get(METADATA_KEY, b"{}"))
    return found if isinstance(found, dict) else {}


def part_files(table: Path) -> list[Path]:
    """The Parquet files of a table, in the order of their rows: itself, or the parts of a folder."""
    return sorted(table.glob("part-*.parquet")) if table.is_dir() else [table]


def batches_of(table: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a table, some at a time."""
    for path in part_files(table):
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(1 << 16, columns=columns)


def write_predictions(
    path: Path,
    table: PairTable,
    logits: np.ndarray,
    probabilities: np.ndarray,
    uncertainty: np.ndarray | None = None,
) -> None:
    """Writes scored pairs to a Parquet file, one row per pair.

    The columns are `protein_a`, `protein_b`, `logit`, `probability`, `uncertainty` and `label`.

    Args:
        uncertainty: The standard deviation of each logit; None to leave the column out.
    """
    columns = table.named() | {
        "logit": pa.array(logits, pa.float32()),
        "probability": pa.array(probabilities, pa.float32()),
    }
    if uncertainty is not None:
        columns["uncertainty"] = pa.array(uncertainty, pa.float32())
    if table.labels is not None:
        columns["label"] = pa.array(table.labels, pa.int8())
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, compression="zstd")


def write_residue_weights(
    path: Path, proteins: Sequence[str], weights: Sequence[np.ndarray], sequences: Mapping[str, str]
) -> None:
    """Writes the residue weights of two proteins as TSV.

    The columns are `side`, `protein`, `position` (from 1), `residue` and `weight`.

    Args:
        proteins: Of sides a and b.
        weights: (l,) for each of them.
        sequences: The known sequences, as long as the weights; `residue` is empty for other proteins.
    """
    rows = ["side\tprotein\tposition\tresidue\tweight"]
    for side, protein, values in zip("ab", proteins, weights, strict=True):
        letters = sequences.get(protein) or [""] * len(values)
        rows += [
            f"{side}\t{protein}\t{place}\t{letter}\t{weight:.6g}"
            for place, (letter, weight) in enumerate(zip(letters, values.tolist(), strict=True), start=1)
        ]
    write_file(path, ("\n".join(rows) + "\n").encode())
