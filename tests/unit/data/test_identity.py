"""Tests of which names are one protein."""

from __future__ import annotations

import random

import networkx as nx

from ppi_train.data.identity import protein_numbers


def test_names_of_one_sequence_have_one_number() -> None:
    known = [{"A": "s1", "B": "s2", "C": "s1"}, {"D": "s2", "X": "s2"}]
    assert protein_numbers(["D", "C", "B", "A", "E", "A"], known) == {"A": 0, "B": 1, "C": 0, "D": 1, "E": 2}


def test_a_name_of_two_sequences_joins_the_names_of_both() -> None:
    known = [{"A": "s1", "B": "s2"}, {"A": "s2", "C": "s1"}]
    assert set(protein_numbers("ABC", known).values()) == {0}


def test_names_that_are_not_asked_for_join_nothing() -> None:
    known = [{"A": "s1", "X": "s1"}, {"B": "s2", "X": "s2"}]
    assert protein_numbers("AB", known) == {"A": 0, "B": 1}


def test_numbers_are_the_connected_components_of_names_and_sequences() -> None:
    draw = random.Random(0)
    for _ in range(100):
        names = {f"P{draw.randrange(80)}" for _ in range(draw.randrange(1, 60))}
        known = [{f"P{draw.randrange(80)}": f"s{draw.randrange(40)}" for _ in range(30)} for _ in range(3)]
        graph = nx.Graph()
        graph.add_nodes_from(names)
        graph.add_edges_from(
            (name, digest) for part in known for name, digest in part.items() if name in names
        )
        components = [sorted(names & found) for found in nx.connected_components(graph)]
        expected = {name: number for number, found in enumerate(sorted(components)) for name in found}
        assert protein_numbers(names, known) == expected
