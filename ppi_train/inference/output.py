"""Files that scored pairs are written to: tables and networks.

`predict` streams its Parquet table in pieces of a fixed size, so that the same rows give the same bytes.
Scored pairs are also exported as a network, in GraphML or TSV, for Cytoscape and other programs. An
evaluation writes a Parquet table of its pairs, and an explanation a TSV with a row for each residue of two
proteins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ppi_train.data.pairs import PairTable
from ppi_train.errors import DataError
from ppi_train.io.files import replacing, write_file

METADATA_KEY = b"ppi_train.prediction"
ROW_GROUP_ROWS = 1 << 20
# Bound on the names of a row group, above which Parquet would write out each: larger than they can be.
_DICTIONARY_BYTES = 1 << 28
# Names are data of the nodes too: igraph reads `A&B` in an ID as `A&#38;B`.
_NAME_KEY = b'  <key id="name" for="node" attr.name="name" attr.type="string"/>\n'
# What XML 1.0 does not allow, not even escaped.
_NOT_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


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


_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://graphml.graphdrawing.org/xmlns http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd">
"""


def write_edges(path: Path, table: Path) -> None:
    """Writes the pairs of a prediction as edges of a network.

    The suffix gives the format. `.graphml`: an undirected graph of the proteins that have an edge, with
    `probability` and `uncertainty` at each edge. Otherwise: TSV with a header. The file appears complete or
    not at all.

    Args:
        path: The network.
        table: A table written by `PredictionWriter`.
    """
    write = _write_graphml if path.suffix == ".graphml" else _write_tsv
    with replacing(path) as partial, partial.open("wb") as sink:
        write(sink, table)


def _write_tsv(sink: BinaryIO, table: Path) -> None:
    names = pq.read_schema(table).names
    sink.write(("\t".join(names) + "\n").encode())
    for batch in batches_of(table):
        # Not by pyarrow.csv, which writes all text in quotes, or none: awk and igraph read them as text.
        columns = [_names(batch.column(name), _cell) for name in names[:2]]
        columns += [_text(batch.column(name)) for name in names[2:]]
        sink.write(_joined(columns[0], *(piece for column in columns[1:] for piece in ("\t", column)), "\n"))


def _cell(name: str) -> str:
    """A name as a cell of a TSV, in quotes only where a reader needs them."""
    if not any(mark in name for mark in '\t"\n\r'):
        return name
    return '"' + name.replace('"', '""') + '"'


def _text(column: pa.Array) -> pa.Array:
    """A column as strings; numbers with the fewest digits that identify them."""
    return column.cast(pa.string())


def _write_graphml(sink: BinaryIO, table: Path) -> None:
    scores = pq.read_schema(table).names[2:]
    sink.write(_HEAD.encode())
    for name in scores:
        sink.write(f'  <key id="{name}" for="edge" attr.name="{name}" attr.type="double"/>\n'.encode())
    sink.write(_NAME_KEY)
    sink.write(b'  <graph edgedefault="undirected">\n')
    for name in _proteins(table):
        text = escape(name, {"\r": "&#13;"})
        sink.write(f'    <node id={quoteattr(name)}><data key="name">{text}</data></node>\n'.encode())
    for batch in batches_of(table):
        sink.write(_edges(batch, scores))
    sink.write(b"  </graph>\n</graphml>\n")


def _proteins(table: Path) -> list[str]:
    """The proteins with an edge, sorted.

    Some readers require nodes before the edges between them.
    """
    found: set[str] = set()
    for batch in batches_of(table, ["protein_a", "protein_b"]):
        for column in batch.columns:
            found.update(column.unique().dictionary.take(column.unique().indices).to_pylist())
    return sorted(found)


def _edges(batch: pa.RecordBatch, scores: list[str]) -> bytes:
    ends = [_names(batch.column(name), quoteattr) for name in ("protein_a", "protein_b")]
    pieces = ["    <edge source=", ends[0], " target=", ends[1], ">"]
    for name in scores:
        pieces += [f'<data key="{name}">', _text(batch.column(name)), "</data>"]
    return _joined(*pieces, "</edge>\n")


def _names(column: pa.DictionaryArray, written: Callable[[str], str]) -> pa.Array:
    names = pa.array([written(name) for name in column.dictionary.to_pylist()], pa.string())
    return names.take(column.indices)


def _joined(*pieces: pa.Array | str) -> bytes:
    return "".join(pc.binary_join_element_wise(*pieces, "").to_pylist()).encode()


def check_names(edges: Path, proteins: Sequence[str]) -> None:
    """Refuses names that a network file of this format cannot have.

    Raises:
        DataError: an accession has a character that no XML file may have, such as a control character.
    """
    wrong = [name for name in proteins if _NOT_XML.search(name)] if edges.suffix == ".graphml" else []
    if wrong:
        raise DataError(
            f"{len(wrong):,} accessions have characters that GraphML cannot have",
            where=edges,
            got=", ".join(ascii(name) for name in wrong[:10]),
            expected="no control characters",
            remedy="rename these proteins, or give edges a name that ends in .tsv",
        )
