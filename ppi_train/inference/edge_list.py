"""Export of scored pairs as a network, in GraphML or TSV.

Cytoscape and other programs read these.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import quoteattr

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from ppi_train.inference.prediction_file import batches_of

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
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    write = _write_graphml if path.suffix == ".graphml" else _write_tsv
    try:
        with partial.open("wb") as sink:
            write(sink, table)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_tsv(sink: BinaryIO, table: Path) -> None:
    names = pq.read_schema(table).names
    sink.write(("\t".join(names) + "\n").encode())
    options = pa_csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="needed")
    for batch in batches_of(table):
        columns = {name: _text(batch.column(name)) for name in names}
        pa_csv.write_csv(pa.table(columns), sink, options)


def _text(column: pa.Array) -> pa.Array:
    """A column as strings; numbers with the fewest digits that identify them."""
    return column.cast(pa.string())


def _write_graphml(sink: BinaryIO, table: Path) -> None:
    scores = pq.read_schema(table).names[2:]
    sink.write(_HEAD.encode())
    for name in scores:
        sink.write(f'  <key id="{name}" for="edge" attr.name="{name}" attr.type="double"/>\n'.encode())
    sink.write(b'  <graph edgedefault="undirected">\n')
    for name in _proteins(table):
        sink.write(f"    <node id={quoteattr(name)}/>\n".encode())
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
    ends = [_quoted(batch.column(name)) for name in ("protein_a", "protein_b")]
    pieces = ["    <edge source=", ends[0], " target=", ends[1], ">"]
    for name in scores:
        pieces += [f'<data key="{name}">', _text(batch.column(name)), "</data>"]
    lines = pc.binary_join_element_wise(*pieces, "</edge>\n", "")
    return "".join(lines.to_pylist()).encode()


def _quoted(column: pa.DictionaryArray) -> pa.Array:
    names = pa.array([quoteattr(name) for name in column.dictionary.to_pylist()], pa.string())
    return names.take(column.indices)
