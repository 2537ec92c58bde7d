"""Tests of networks under accessions: what is merged, left out and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppi_train.data.fasta import read_fasta, write_fasta
from ppi_train.data.identifiers import map_names
from ppi_train.data.mapped_network import map_network, other_pairs, pairs_among, write_names
from ppi_train.data.networks import Network
from ppi_train.data.pairs import PairTable
from ppi_train.errors import DataError


def network(rows: list[tuple[str, str, int, bool]]) -> Network:
    """A network of two names, a year and whether the pair is negative."""
    names = sorted({name for a, b, *_ in rows for name in (a, b)})
    index = np.array([sorted((names.index(a), names.index(b))) for a, b, *_ in rows], np.int32)
    return Network(
        layout="made up",
        source="made.txt",
        names=tuple(names),
        index=index,
        score=None,
        year=np.array([year for *_, year, _ in rows], np.int16),
        negative=np.array([negative for *_, negative in rows]),
        taxid=None,
        alternatives={},
        counts={"rows": len(rows)},
    )


ROWS = [
    ("d", "a", 2010, False),
    ("b", "c", 0, False),
    ("A", "d", 2004, False),  # the first pair under another name
    ("a", "A", 2001, False),  # a protein with itself
    ("a", "x", 2001, False),  # no protein
    ("c", "A", 1999, True),
    ("a", "c", 2003, True),
    ("B", "c", 0, True),  # the second pair again, negative
]
ACCESSION_OF = {"a": "P1", "A": "P1", "b": "P2", "B": "P2", "c": "P3", "d": "P0"}


def named(table: PairTable) -> list[tuple[str, str]]:
    return [(table.proteins[a], table.proteins[b]) for a, b in table.index.tolist()]


def test_pairs_under_several_names_are_merged_and_the_rest_counted() -> None:
    found = map_network(network(ROWS), ACCESSION_OF)
    assert named(found.pairs) == [("P0", "P1"), ("P2", "P3"), ("P1", "P3")]
    assert found.pairs.required_labels.tolist() == [1, 1, 0]  # positive where any row says so
    assert found.years is not None
    assert found.years.tolist() == [2004, 0, 1999]
    assert (found.unmapped, found.alone, found.merged) == (1, 1, 3)


def test_without_negatives_the_proteins_are_those_of_the_positives() -> None:
    rows = [*ROWS, ("e", "a", 0, True)]
    found = map_network(network(rows), ACCESSION_OF | {"e": "P9"}).positives()
    assert named(found.pairs) == [("P0", "P1"), ("P2", "P3")]
    assert found.pairs.labels is None
    assert found.pairs.proteins == ("P0", "P1", "P2", "P3")
    assert found.years is not None
    assert found.years.tolist() == [2004, 0]


def test_a_network_of_positives_has_no_labels() -> None:
    assert map_network(network(ROWS[:3]), ACCESSION_OF).pairs.labels is None


def test_pairs_among_given_proteins_are_the_positive_ones() -> None:
    found = pairs_among(network(ROWS), ACCESSION_OF, ["P0", "P1", "P2"])
    assert {tuple(sorted(pair)) for pair in found.tolist()} == {(0, 1), (1, 1)}


def test_other_pairs_are_distinct_and_no_edges() -> None:
    pairs = np.array([[2, 1], [1, 2], [0, 3], [3, 1]])
    assert other_pairs(pairs, np.array([[1, 3]], np.int32), 4).tolist() == [[0, 3], [1, 2]]


def test_a_network_without_a_pair_of_the_fasta_is_refused() -> None:
    with pytest.raises(DataError, match="no pair of the network is left") as caught:
        map_network(network(ROWS), {"x": "P5"})
    assert "8 pairs of 7 names, of which 1 are in the FASTA" in str(caught.value)


def test_two_names_of_one_sequence_are_one_protein(tmp_path: Path) -> None:
    write_fasta(tmp_path / "a.fasta", {"P1": "MKVW", "P2": "MKVW", "P3": "MAAA", "P4": "MCCC"})
    edges = network(
        [("P2", "P3", 0, False), ("P1", "P3", 0, False), ("P1", "P2", 0, False), ("P4", "P2", 0, False)]
    )
    mapping = map_names(edges.names, read_fasta(tmp_path / "a.fasta"))
    found = map_network(edges, mapping.accession_of)
    assert named(found.pairs) == [("P1", "P3"), ("P1", "P4")]
    assert (found.alone, found.merged) == (1, 1)
    write_names(tmp_path / "names.tsv", mapping)
    assert (tmp_path / "names.tsv").read_text().splitlines()[:3] == [
        "name\tstatus\taccession\tcandidates\trule",
        "P1\tas given\tP1\t\texact",
        "P2\tas given\tP1\t\texact, the first accession of its sequence",
    ]
