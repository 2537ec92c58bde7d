"""Text tables and networks made of a prediction's Parquet table, some rows at a time.

TSV and CSV open in spreadsheets, awk and R; GraphML in Cytoscape, igraph and networkx.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ppi_train.errors import DataError, counted
from ppi_train.inference.output import batches_of, part_files
from ppi_train.io.files import replacing

SEPARATORS = {".tsv": "\t", ".csv": ","}
"""Of the columns of a text table, by the ending of its name."""

# What XML 1.0 does not allow, not even escaped.
_NOT_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
_GRAPHML_TYPES = {"bool": "boolean", "float": "double"}
_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://graphml.graphdrawing.org/xmlns http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd">
"""


@dataclass(frozen=True, kw_only=True)
class NodeTexts:
    """What a network says of its proteins, by number.

    Attributes:
        proteins: Accessions.
        genes: Names of genes, or None; empty if none is known.
        lengths: Residues; empty if they are not known.
    """

    proteins: Sequence[str]
    genes: Sequence[str | None] = ()
    lengths: Sequence[int] = ()


def write_edges(path: Path, table: Path, nodes: NodeTexts) -> None:
    """Writes the pairs of a prediction as edges of a network.

    The suffix gives the format. `.graphml`: an undirected graph of the proteins that have an edge, with name,
    gene, length and degree at each node, and scores and marks at each edge. Otherwise: TSV with a header.
    The file appears complete or not at all.

    Args:
        path: The network.
        table: A table written by `PredictionWriter`.
        nodes: Of all proteins of the table.
    """
    with replacing(path) as partial, partial.open("wb") as sink:
        if path.suffix == ".graphml":
            _write_graphml(sink, table, nodes)
        else:
            write_text(sink, table, SEPARATORS[".tsv"])


def write_text(sink: BinaryIO, table: Path, separator: str) -> None:
    """Writes a table as text with a header; an unknown value is an empty cell.

    Args:
        sink: Open for writing.
        table: A table written by `PredictionWriter`.
        separator: Between the columns.
    """
    in_quotes = re.compile(f'[{separator}"\n\r]')

    def cell(text: str) -> str:
        """A text in quotes only where a reader needs them."""
        return f'"{text.replace(chr(34), chr(34) * 2)}"' if in_quotes.search(text) else text

    sink.write((separator.join(pq.read_schema(part_files(table)[0]).names) + "\n").encode())
    for batch in batches_of(table):
        # Not by pyarrow.csv, which writes all text in quotes, or none: awk and igraph read them as text.
        first, *others = (_texts(column, cell) for column in batch.columns)
        sink.write(_joined(first, *(piece for column in others for piece in (separator, column)), "\n"))


def _texts(column: pa.Array, written: Callable[[str], str]) -> pa.Array:
    """A column as strings; numbers with the fewest digits that identify them."""
    if not pa.types.is_dictionary(column.type):
        return column.cast(pa.string())
    texts = pa.array([written(text) for text in column.dictionary.to_pylist()], pa.string())
    return texts.take(column.indices)


def _joined(*pieces: pa.Array | str) -> bytes:
    rows = pc.binary_join_element_wise(*pieces, "", null_handling="replace", null_replacement="")
    return "".join(rows.to_pylist()).encode()


def _write_graphml(sink: BinaryIO, table: Path, nodes: NodeTexts) -> None:
    schema = pq.read_schema(part_files(table)[0])
    edge_keys = {
        field.name: _GRAPHML_TYPES[str(field.type)] for field in schema if str(field.type) in _GRAPHML_TYPES
    }
    node_keys = {"name": "string"}
    node_keys |= {"gene": "string"} if nodes.genes else {}
    node_keys |= {"length": "int"} if len(nodes.lengths) else {}
    sink.write(_HEAD.encode())
    for element, keys in {"node": node_keys | {"degree": "int"}, "edge": edge_keys}.items():
        for name, kind in keys.items():
            key = f'  <key id="{name}" for="{element}" attr.name="{name}" attr.type="{kind}"/>\n'
            sink.write(key.encode())
    sink.write(b'  <graph edgedefault="undirected">\n')
    # Some readers require nodes before the edges between them.
    numbers = {protein: number for number, protein in enumerate(nodes.proteins)}
    for protein, degree in sorted(_degrees(table).items()):
        sink.write(_node(protein, degree, numbers[protein], nodes).encode())
    for batch in batches_of(table, ["protein_a", "protein_b", *edge_keys]):
        sink.write(_edges(batch))
    sink.write(b"  </graph>\n</graphml>\n")


def _degrees(table: Path) -> dict[str, int]:
    """The number of edge ends at each protein with an edge."""
    found: dict[str, int] = {}
    for batch in batches_of(table, ["protein_a", "protein_b"]):
        for column in batch.columns:
            counts = np.bincount(column.indices.to_numpy(), minlength=len(column.dictionary))
            for protein, count in zip(column.dictionary.to_pylist(), counts.tolist(), strict=True):
                if count:
                    found[protein] = found.get(protein, 0) + count
    return found


def _node(protein: str, degree: int, number: int, nodes: NodeTexts) -> str:
    values = {"name": protein}
    gene = nodes.genes[number] if nodes.genes else None
    if gene:
        values["gene"] = _NOT_XML.sub("", gene)
    if len(nodes.lengths):
        values["length"] = str(nodes.lengths[number])
    values["degree"] = str(degree)
    data = "".join(f'<data key="{name}">{_content(value)}</data>' for name, value in values.items())
    return f"    <node id={quoteattr(protein)}>{data}</node>\n"


def _content(text: str) -> str:
    """Text of an element; a reader would turn a bare carriage return into a line feed."""
    return escape(text, {"\r": "&#13;"})


def _edges(batch: pa.RecordBatch) -> bytes:
    ends = [_texts(batch.column(name), quoteattr) for name in ("protein_a", "protein_b")]
    pieces: list[pa.Array | str] = ["    <edge source=", ends[0], " target=", ends[1], ">"]
    for name in batch.schema.names[2:]:
        # An unknown value has no element: an empty one would not be a number.
        data = pc.binary_join_element_wise(
            f'<data key="{name}">', _texts(batch.column(name), str), "</data>", ""
        )
        pieces.append(data)
    return _joined(*pieces, "</edge>\n")


def check_names(edges: Path, proteins: Sequence[str]) -> None:
    """Refuses names that a network file of this format cannot have.

    Raises:
        DataError: an accession has a character that no XML file may have, such as a control character.
    """
    wrong = [name for name in proteins if _NOT_XML.search(name)] if edges.suffix == ".graphml" else []
    if wrong:
        has = "has" if len(wrong) == 1 else "have"
        raise DataError(
            f"{counted(len(wrong), 'accession')} {has} characters that GraphML cannot have",
            where=edges,
            got=", ".join(ascii(name) for name in wrong[:10]),
            expected="no control characters",
            remedy="rename these proteins, or give edges a name that ends in .tsv",
        )
