"""Tests of the prediction table and its network files.

They are written as a stream, have reproducible bytes, and open in common tools.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import networkx
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ppi_train.data.pairs import read_pairs
from ppi_train.errors import DataError
from ppi_train.inference import output as prediction_file
from ppi_train.inference.output import PredictionWriter, check_names, read_about, write_edges

NAMES = ("A1", 'B"<&>', "C'3", "D4", "Ünï")


def rows(count: int, *, uncertainty: bool = True) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(count)
    a, b = rng.integers(0, 4, (2, count)).astype(np.int32)  # the last is in no pair
    columns = {"a": a, "b": b, "probability": rng.random(count, np.float32)}
    return columns | ({"uncertainty": rng.random(count, np.float32)} if uncertainty else {})


def written(path: Path, columns: dict[str, np.ndarray], cuts: Sequence[int] = ()) -> Path:
    with PredictionWriter(path, NAMES, {"model": "m"}, uncertainty="uncertainty" in columns) as writer:
        edges = [0, *cuts, len(columns["a"])]
        for start, stop in pairwise(edges):
            writer.add({name: values[start:stop] for name, values in columns.items()})
    assert writer.rows == len(columns["a"])
    return path


def test_the_bytes_do_not_show_in_which_pieces_the_rows_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_file, "ROW_GROUP_ROWS", 100)
    columns = rows(730)
    whole = written(tmp_path / "whole.parquet", columns)
    pieces = written(tmp_path / "pieces.parquet", columns, cuts=(0, 1, 100, 100, 155, 560, 729))
    assert whole.read_bytes() == pieces.read_bytes()
    assert pq.ParquetFile(whole).metadata.num_row_groups == 8


@pytest.mark.parametrize("uncertainty", [True, False])
@pytest.mark.parametrize("count", [0, 1, 730])
def test_pandas_reads_what_was_written(
    count: int, uncertainty: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_file, "ROW_GROUP_ROWS", 100)
    columns = rows(count, uncertainty=uncertainty)
    table = pd.read_parquet(written(tmp_path / "table.parquet", columns))
    for side in "ab":
        assert list(table[f"protein_{side}"]) == [NAMES[index] for index in columns[side]]
    for name in list(columns)[2:]:
        np.testing.assert_array_equal(table[name], columns[name])
        assert table[name].dtype == np.float32
    assert list(table.columns) == ["protein_a", "protein_b", *list(columns)[2:]]


def test_a_table_says_what_its_scores_follow_from_and_can_be_scored_again(tmp_path: Path) -> None:
    path = written(tmp_path / "table.parquet", rows(20))
    assert read_about(path) == {"model": "m"}
    pq.write_table(pq.read_table(path).replace_schema_metadata(), tmp_path / "other.parquet")
    assert read_about(tmp_path / "other.parquet") == {}
    assert set(read_pairs(path, labels="optional").proteins) <= set(NAMES)


def graph_rows() -> dict[str, np.ndarray]:
    """Each pair once, as in a prediction."""
    a, b = np.triu_indices(4, 1)
    rng = np.random.default_rng(0)
    scores = {name: rng.random(len(a), np.float32) for name in ("probability", "uncertainty")}
    return {"a": a.astype(np.int32), "b": b.astype(np.int32), **scores}


def test_networkx_reads_the_graphml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_file, "ROW_GROUP_ROWS", 4)
    columns = graph_rows()
    write_edges(tmp_path / "net.graphml", written(tmp_path / "table.parquet", columns))
    graph = networkx.read_graphml(tmp_path / "net.graphml")
    assert not graph.is_directed()
    assert dict(graph.nodes(data="name")) == {name: name for name in NAMES[:4]}
    for a, b, probability, uncertainty in zip(*columns.values(), strict=True):
        edge = graph.edges[NAMES[a], NAMES[b]]
        assert np.float32(edge["probability"]) == probability
        assert np.float32(edge["uncertainty"]) == uncertainty
    assert graph.number_of_edges() == 6


def test_pandas_reads_the_tsv(tmp_path: Path) -> None:
    columns = graph_rows()
    write_edges(tmp_path / "net.tsv", written(tmp_path / "table.parquet", columns))
    table = pd.read_csv(tmp_path / "net.tsv", sep="\t")
    assert list(table["protein_a"]) == [NAMES[index] for index in columns["a"]]
    np.testing.assert_array_equal(table["probability"].astype(np.float32), columns["probability"])
    assert list(table.columns) == ["protein_a", "protein_b", "probability", "uncertainty"]


def test_awk_reads_the_tsv(tmp_path: Path) -> None:
    write_edges(tmp_path / "net.tsv", written(tmp_path / "table.parquet", graph_rows()))
    lines = (tmp_path / "net.tsv").read_text().splitlines()
    assert re.fullmatch(r"A1\tC'3\t0\.\d+\t0\.\d+", lines[2])
    assert lines[1].startswith('A1\t"B""<&>"\t0.')  # quotes only where a name has some
    program = "$3 > 0 {n += 1} END {print n}"
    count = subprocess.run(
        ["awk", "-F\t", program, str(tmp_path / "net.tsv")], capture_output=True, text=True, check=True
    )
    assert int(count.stdout) == 1 + 6  # the header is text, which awk puts above any number


@pytest.mark.parametrize("mark", ["\x00", "\x01", "\x1b", "\ufffe", "\uffff"])
def test_what_xml_cannot_have_is_refused_by_name(mark: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 accessions have characters that GraphML cannot have") as refused:
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
    write_edges(tmp_path / "net.graphml", written(tmp_path / "table.parquet", graph_rows()))
    assert set(networkx.read_graphml(tmp_path / "net.graphml").nodes) == set(names[:4])


@pytest.mark.parametrize("name", ["net.graphml", "net.tsv"])
def test_a_network_without_edges(name: str, tmp_path: Path) -> None:
    write_edges(tmp_path / name, written(tmp_path / "table.parquet", rows(0, uncertainty=False)))
    if name.endswith(".tsv"):
        assert (tmp_path / name).read_text() == "protein_a\tprotein_b\tprobability\n"
    else:
        assert len(networkx.read_graphml(tmp_path / name)) == 0
