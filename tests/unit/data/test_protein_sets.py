"""Tests of lists of proteins, node sets and complexes; pickles are read as plain data."""

from __future__ import annotations

import collections
import datetime
import gzip
import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from ppi_train.data import protein_sets as node_sets
from ppi_train.data.protein_sets import published_node_sets, read_complexes, read_node_sets, read_proteins
from ppi_train.errors import DataError


def test_accessions_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfP2\r\n\r\n  P1 \nP2\nQ3")
    found = read_proteins(path)
    assert found.accessions == ("P2", "P1", "Q3")
    assert found.duplicates == 1
    assert found.fasta is None


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_fasta_is_a_list_with_sequences(pack: type[bytes], tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(pack(b">sp|P1|X some\nMKV\n>Q2\nMK\n"))
    found = read_proteins(path)
    assert found.accessions == ("P1", "Q2")
    assert found.fasta == path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the list of proteins is empty"),
        (b"\n  \n", "the list of proteins is empty"),
        (b"P1\nP2\tP3\n", r"not an accession\n  where: .*line 2\n  got: 'P2\\tP3'"),
        (b"P1\n\xff\n", r"not text in UTF-8\n  where: .*line 2"),
        (b"P1\0\n", "line 1"),
    ],
)
def test_what_is_no_list(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_proteins(path)


PLAIN = {2: [{"B", "A"}, {"C", "A"}], 3: [{"C", "B", "A"}]}
READ = {2: [("A", "B"), ("A", "C")], 3: [("A", "B", "C")]}


def written(folder: Path, content: Any, protocol: int = 4) -> Path:
    path = folder / "nodes.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [set, frozenset, list, tuple])
def test_plain_containers_of_every_protocol(tmp_path: Path, protocol: int, kind: type) -> None:
    content = {size: [kind(sorted(nodes)) for nodes in group] for size, group in PLAIN.items()}
    assert read_node_sets(written(tmp_path, content, protocol)) == READ


class _Harm:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_nothing_in_the_file_is_run(tmp_path: Path, protocol: int) -> None:
    path = written(tmp_path, {2: [{"A", "B"}], 3: _Harm(tmp_path / "trace")}, protocol)
    with pytest.raises(DataError, match="does not hold plain node sets") as caught:
        read_node_sets(path)
    assert str(path) in str(caught.value)
    assert "posix.mkdir" in str(caught.value)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (nx.path_graph(3), "networkx.classes.graph.Graph"),
        ({2: [collections.OrderedDict(A=1)]}, "collections.OrderedDict"),
        ({2: [{"A", datetime.date(2026, 1, 1)}]}, "datetime.date"),
        ({2: [{"A", len}]}, "builtins.len"),
        ([{"A", "B"}], "a list in place of the dict"),
        ({"2": [{"A", "B"}]}, "a size that is a str"),
        ({True: [{"A"}]}, "a size that is a bool"),
        ({0: [{"A"}]}, "a size that is a int"),
        ({10**6000: [{"A"}]}, "a size that is a int"),
        ({2: {"A", "B"}}, "a set in place of the list of size 2"),
        ({2: ["AB"]}, "a str in place of node set 1 of size 2"),
        ({2: [{"A": 1}]}, "a dict in place of node set 1"),
        ({2: [{"A", 1.5}]}, "a float in place of an accession"),
        ({2: [{"A", None}]}, "a NoneType in place of an accession"),
        ({2: [{"A", b"B"}]}, "a bytes in place of an accession"),
        ({2: [{"A", 7}]}, "a int in place of an accession"),
        ({2: [set()]}, "0 proteins"),
        ({2: [["A", "A"]]}, "2 proteins, 1 of them distinct"),
        ({}, "no node sets"),
        ({2: []}, "no node sets"),
    ],
)
def test_anything_else_is_refused_and_named(tmp_path: Path, content: Any, named: str) -> None:
    with pytest.raises(DataError, match="does not hold plain node sets") as caught:
        read_node_sets(written(tmp_path, content))
    assert named in str(caught.value)
    assert str(tmp_path / "nodes.pkl") in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"not a pickle",
        pickle.dumps(PLAIN)[:-20],
        pickle.dumps(PLAIN, 2)[:30],
        b"\x80\x04.",
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",  # a bytearray of a terabyte
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b".",  # a string of one
        b"\x80\x04\x82\x01.",  # an extension
        b"(" * 1000 + b"l" * 1000 + b".",
    ],
    ids=range(8),  # the bytes of a set are in another order in each process
)
def test_a_damaged_file_is_an_error_of_the_user(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DataError, match=r"damaged, or neither a pickle|plain node sets") as caught:
        read_node_sets(written(tmp_path, data))
    assert str(tmp_path / "nodes.pkl") in str(caught.value)


def test_a_few_bytes_cannot_ask_for_gigabytes_or_the_stack(tmp_path: Path) -> None:
    far = b"\x80\x02}r" + struct.pack("<I", (1 << 31) - 1) + b"."  # place 2^31 - 1 of the memo
    with pytest.raises(DataError, match="place 2147483647"):
        read_node_sets(written(tmp_path, far))
    deep = b"\x80\x04}(" + b")" + b"\x85" * 2_000_000 + b"K\x01u."  # a key of tuples in tuples
    with pytest.raises(DataError, match="more than 10,000 tuples"):
        read_node_sets(written(tmp_path, deep))
    with pytest.raises(DataError, match="a reference to something outside the file"):
        read_node_sets(written(tmp_path, b"\x80\x02K\x01Q."))


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node_set = {f"P{number}" for number in range(1000)}
    again = {size: [node_set] * 100 for size in range(1, 101)}  # few bytes: the set is stored once
    path = written(tmp_path, again)
    monkeypatch.setattr(node_sets, "MAX_PROTEINS", 1_000_000)
    with pytest.raises(DataError, match="1,001,000 proteins in all node sets"):
        read_node_sets(path)
    monkeypatch.setattr(node_sets, "MAX_SETS", 250)
    with pytest.raises(DataError, match="300 node sets"):
        read_node_sets(path)
    monkeypatch.setattr(node_sets, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="at most 100 bytes"):
        read_node_sets(path)


def test_unknown_proteins_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN)
    assert read_node_sets(path, known={"A", "B", "C", "D"}) == READ
    with pytest.raises(DataError, match="2 proteins that are not known") as caught:
        read_node_sets(path, known={"A"})
    assert "B, C" in str(caught.value)
    assert str(path) in str(caught.value)


def test_json_is_read_as_well(tmp_path: Path) -> None:
    content = {str(size): [sorted(nodes) for nodes in group] for size, group in PLAIN.items()}
    assert read_node_sets(written(tmp_path, json.dumps(content, indent=1).encode())) == READ


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b'{"2": [["A", "B"]], "2": [["A", "C"]]}', "an object has a key twice"),
        (b'{"2": [["A", "B"]', "JSONDecodeError"),
        (b'{"2": ' + b"[" * 100_000, "RecursionError"),
        (b'{"02": [["A", "B"]]}', "a size that is a str"),
        (b'{"2": [["A", 7]]}', "a int in place of an accession"),
        (b'{"2": [{"A": "B"}]}', "a dict in place of node set 1"),
        (b"{}", "no node sets"),
    ],
)
def test_json_that_holds_anything_else_is_refused(tmp_path: Path, data: bytes, named: str) -> None:
    with pytest.raises(DataError, match=r"damaged, or neither a pickle nor JSON|plain node sets") as caught:
        read_node_sets(written(tmp_path, data))
    assert named in str(caught.value)


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the file of node sets is not there"):
        read_node_sets(tmp_path / "none.pkl")


def test_the_published_sets(tmp_path: Path, mirror: str) -> None:
    files = published_node_sets("pring_arath", data_dir=tmp_path, mirror=mirror)
    assert list(files) == ["bfs", "dfs", "random_walk"]
    for path in files.values():
        sets = read_node_sets(path)
        assert list(sets) == list(range(20, 201, 20))
        assert all(len(nodes) == size for size, group in sets.items() for nodes in group)
        assert [len(group) for group in sets.values()] == [50] * 10


@pytest.mark.parametrize("dataset", ["bernett", "example", "mine"])
def test_data_sets_without_node_sets(tmp_path: Path, dataset: str) -> None:
    assert published_node_sets(dataset, data_dir=tmp_path, mirror=None) == {}


def complexes_file(folder: Path, text: str | bytes) -> Path:
    path = folder / "table"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "Arp2/3 complex\tA\tB\nCCT\tC\tD\n\nArp2/3 complex\tB\tC\n",
        "complex_id\tprotein_a\tprotein_b\r\nArp2/3 complex\tA\tB\r\nCCT\tC\tD\r\nArp2/3 complex\tB\tC\r\n",
        "\ufeffprotein_a,Protein_B,complex_id\nA,B,Arp2/3 complex\nC, D,CCT\nB,C,Arp2/3 complex",
    ],
)
def test_complexes(tmp_path: Path, text: str) -> None:
    found = read_complexes(complexes_file(tmp_path, text))
    assert found == {"Arp2/3 complex": [("A", "B"), ("B", "C")], "CCT": [("C", "D")]}


@pytest.mark.parametrize(
    ("text", "message", "where"),
    [
        ("", "is empty", ""),
        ("\n\n", "has no rows", ""),
        ("complex_id\tprotein_a\tprotein_b\n", "has no rows", ""),
        ("one\tA\tB\none\tA\n", "row of the table of complexes is wrong", "line 2"),
        ("one\tA\tB\tC\n", "row of the table of complexes is wrong", "line 1"),
        (
            "complex_id\tprotein_a\tprotein_a\tprotein_b\none\tA\tB\n",
            "row of the table of complexes is wrong",
            "line 1",
        ),
        ("one\tA\t\n", "row of the table of complexes is wrong", "line 1"),
        (b"one\tA\t\xff\n", "is not text", ""),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, text: str | bytes, message: str, where: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_complexes(complexes_file(tmp_path, text))
    assert where in str(caught.value)
    assert str(tmp_path / "table") in str(caught.value)
