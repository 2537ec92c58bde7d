"""Tests of text tables and networks: they open in common tools, and GraphML keeps to its schema."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import networkx
import numpy as np
import pandas as pd
import pytest

from ppi_train.errors import DataError
from ppi_train.inference import output as prediction_file
from ppi_train.inference.export import NodeTexts, check_names, write_edges, write_text
from ppi_train.inference.output import Annotations, PredictionWriter
from ppi_train.inference.pair_sets import PairSet

NAMES = ("A1", 'B"<&>', "C'3", "D4", "Ünï")
GENES = ("TP53", None, "a, <b>", "\x01D", "E")
LENGTHS = (393, 20, 30, 40, 50)
SCORES = ("probability", "logit", "uncertainty")
# The elements of a GraphML namespace, and the kinds of values of its schema (graphml-structure.xsd,
# graphml-attributes.xsd), http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd.
SPACE = "{http://graphml.graphdrawing.org/xmlns}"
KINDS = {
    "boolean": re.compile("true|false|0|1"),
    "int": re.compile(r"-?\d+"),
    "double": re.compile(r"-?\d+(\.\d+)?([eE]-?\d+)?"),
    "string": re.compile(".*", re.DOTALL),
}


def graph_rows() -> dict[str, np.ndarray]:
    """Each pair once, as in a prediction."""
    a, b = np.triu_indices(4, 1)
    rng = np.random.default_rng(0)
    scores = {name: rng.random(len(a), np.float32) for name in SCORES}
    return {"a": a.astype(np.int32), "b": b.astype(np.int32), **scores}


def written(
    path: Path, columns: dict[str, np.ndarray], annotations: Annotations, identities: np.ndarray | None = None
) -> Path:
    with PredictionWriter(
        path, NAMES, {}, uncertainty=True, annotations=annotations, identities=identities
    ) as writer:
        writer.add(columns)
    return path


def plain_network(path: Path, columns: dict[str, np.ndarray]) -> None:
    """A network of a table without annotations."""
    table = written(path.with_suffix(".parquet"), columns, Annotations())
    write_edges(path, table, NodeTexts(proteins=NAMES))


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """A table with everything that can be known, where a protein's nearness to training is not."""
    known = PairSet.of_identities(np.arange(5), np.array([(0, 1), (2, 3)]))
    annotations = Annotations(texts={"gene": GENES}, marks={"known": known, "in_training": known})
    identities = np.array([1, 0.5, 0.25, np.nan, 0], np.float32)
    return written(tmp_path / "table.parquet", graph_rows(), annotations, identities)


def test_networkx_reads_the_graphml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_file, "ROW_GROUP_ROWS", 4)
    columns = graph_rows()
    plain_network(tmp_path / "net.graphml", columns)
    graph = networkx.read_graphml(tmp_path / "net.graphml")
    assert not graph.is_directed()
    assert set(graph.nodes) == set(NAMES[:4])
    for a, b, *scores in zip(*columns.values(), strict=True):
        edge = graph.edges[NAMES[a], NAMES[b]]
        assert [np.float32(edge[name]) for name in SCORES] == scores
    assert graph.number_of_edges() == 6


def test_networkx_reads_what_is_known_of_nodes_and_edges(annotated: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.graphml"
    write_edges(path, annotated, NodeTexts(proteins=NAMES, genes=GENES, lengths=LENGTHS))
    graph = networkx.read_graphml(path)
    assert graph.nodes["A1"] == {"name": "A1", "gene": "TP53", "length": 393, "degree": 3}
    assert graph.nodes['B"<&>'] == {"name": 'B"<&>', "length": 20, "degree": 3}
    assert [graph.nodes[name]["gene"] for name in ("C'3", "D4")] == ["a, <b>", "D"]
    known = {frozenset(pair) for *pair, data in graph.edges(data=True) if data["known"] is True}
    assert known == {frozenset(NAMES[:2]), frozenset(NAMES[2:4])}
    assert graph.edges["A1", "C'3"]["nearest_training_identity"] == 0.25
    assert "nearest_training_identity" not in graph.edges["A1", "D4"]


def test_igraph_reads_what_networkx_reads(annotated: Path, tmp_path: Path) -> None:
    igraph = pytest.importorskip("igraph")
    path = tmp_path / "net.graphml"
    write_edges(path, annotated, NodeTexts(proteins=NAMES, genes=GENES, lengths=LENGTHS))
    graph, other = igraph.Graph.Read_GraphML(str(path)), networkx.read_graphml(path)
    assert not graph.is_directed()
    assert graph.vs["name"] == list(NAMES[:4])
    assert graph.vs["length"] == [393, 20, 30, 40]
    assert graph.vs["degree"] == graph.degree() == [3, 3, 3, 3]
    assert graph.vs["gene"][0] == "TP53"
    for edge in graph.es:
        same = other.edges[graph.vs[edge.source]["name"], graph.vs[edge.target]["name"]]
        assert edge["probability"] == same["probability"]
        assert edge["known"] is same["known"]


def check_schema(path: Path) -> None:
    """Checks what the GraphML schema demands of a file, as far as a network of ours could break it."""
    root = ElementTree.parse(path).getroot()
    assert root.tag == f"{SPACE}graphml"
    *keys, graph = root
    assert {key.tag for key in keys} == {f"{SPACE}key"}
    declared = {(key.attrib["for"], key.attrib["id"]): key.attrib["attr.type"] for key in keys}
    assert len({key.attrib["id"] for key in keys}) == len(keys)
    assert graph.tag == f"{SPACE}graph"
    assert graph.attrib["edgedefault"] == "undirected"
    nodes = [node.attrib["id"] for node in graph.iter(f"{SPACE}node")]
    assert len(set(nodes)) == len(nodes)
    for element in graph:
        kind = element.tag.removeprefix(SPACE)
        assert set(element.attrib) == ({"id"} if kind == "node" else {"source", "target"})
        if kind == "edge":
            assert {element.attrib["source"], element.attrib["target"]} <= set(nodes)
        names = [data.attrib["key"] for data in element]
        assert len(set(names)) == len(names)
        for data in element:
            assert data.tag == f"{SPACE}data"
            assert KINDS[declared[kind, data.attrib["key"]]].fullmatch(data.text or "")


def test_the_graphml_keeps_to_its_schema(annotated: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.graphml"
    write_edges(path, annotated, NodeTexts(proteins=NAMES, genes=GENES, lengths=LENGTHS))
    check_schema(path)
    plain_network(tmp_path / "plain.graphml", graph_rows())
    check_schema(tmp_path / "plain.graphml")


def test_a_pair_of_a_protein_with_itself_counts_twice_in_its_degree(tmp_path: Path) -> None:
    path = tmp_path / "net.graphml"
    columns = graph_rows()
    plain_network(path, {name: np.append(column, column[:1] * 0) for name, column in columns.items()})
    graph = networkx.read_graphml(path)
    assert graph.nodes["A1"]["degree"] == graph.degree("A1") == 5


def test_pandas_reads_the_tsv(tmp_path: Path) -> None:
    columns = graph_rows()
    plain_network(tmp_path / "net.tsv", columns)
    table = pd.read_csv(tmp_path / "net.tsv", sep="\t")
    assert list(table["protein_a"]) == [NAMES[index] for index in columns["a"]]
    for name in SCORES:
        np.testing.assert_array_equal(table[name].astype(np.float32), columns[name])
    assert list(table.columns) == ["protein_a", "protein_b", *SCORES]


@pytest.mark.parametrize("separator", [",", "\t"])
def test_a_text_table_has_what_the_parquet_table_has(separator: str, annotated: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    with path.open("wb") as sink:
        write_text(sink, annotated, separator)
    wanted = pd.read_parquet(annotated)
    found = pd.read_csv(path, sep=separator)
    assert list(found.columns) == list(wanted.columns)
    for name, column in wanted.items():
        if column.dtype.name == "category":
            assert list(found[name].fillna("")) == list(column.astype(object).fillna(""))
        else:
            np.testing.assert_array_equal(found[name].astype(column.dtype), column)
    with path.open(newline="") as file:
        assert {len(row) for row in csv.reader(file, delimiter=separator)} == {len(wanted.columns)}


def test_awk_reads_the_tsv(tmp_path: Path) -> None:
    plain_network(tmp_path / "net.tsv", graph_rows())
    lines = (tmp_path / "net.tsv").read_text().splitlines()
    assert re.fullmatch(r"A1\tC'3\t0\.\d+\t0\.\d+\t0\.\d+", lines[2])
    assert lines[1].startswith('A1\t"B""<&>"\t0.')  # quotes only where a name has some
    program = "$3 > 0 {n += 1} END {print n}"
    count = subprocess.run(
        ["awk", "-F\t", program, str(tmp_path / "net.tsv")], capture_output=True, text=True, check=True
    )
    assert int(count.stdout) == 1 + 6  # the header is text, which awk puts above any number


@pytest.mark.parametrize("mark", ["\x00", "\x01", "\x1b", "\ufffe", "\uffff"])
def test_what_xml_cannot_have_is_refused_by_name(mark: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 accession has characters that GraphML cannot have") as refused:
        check_names(tmp_path / "net.graphml", ["A", f"B{mark}"])
    assert ascii(f"B{mark}") in str(refused.value)
    check_names(tmp_path / "net.tsv", ["A", f"B{mark}"])


@pytest.mark.parametrize("mark", ["\t", "\n", "\r", "\x7f", "\x85", "\u2028", "\U0001f9ec", "]]>", "&#1;"])
def test_networkx_reads_whatever_name_is_not_refused(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (f"A{mark}1", f"B{mark}", "C", "D", "E")
    monkeypatch.setattr(sys.modules[__name__], "NAMES", names)
    check_names(tmp_path / "net.graphml", names)
    plain_network(tmp_path / "net.graphml", graph_rows())
    graph = networkx.read_graphml(tmp_path / "net.graphml")
    assert set(graph.nodes) == set(names[:4])
    assert [graph.nodes[name]["name"] for name in names[:4]] == list(names[:4])


@pytest.mark.parametrize("name", ["net.graphml", "net.tsv"])
def test_a_network_without_edges(name: str, tmp_path: Path) -> None:
    plain_network(tmp_path / name, {key: column[:0] for key, column in graph_rows().items()})
    if name.endswith(".tsv"):
        assert (tmp_path / name).read_text() == "protein_a\tprotein_b\tprobability\tlogit\tuncertainty\n"
    else:
        assert len(networkx.read_graphml(tmp_path / name)) == 0
