"""Tests of merging rows into pairs, against a plain loop."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from ppi_train.data.networks import NetworkFilter
from ppi_train.data.networks.collect import Collector, Interactor


@pytest.mark.parametrize("batches", [1, 7])
def test_rows_are_merged_as_a_loop_would(batches: int) -> None:
    rng = np.random.default_rng(0)
    names = [f"P{number}" for number in rng.permutation(40)]
    rows = [
        (names[a], names[b], float(score), int(year), bool(negative))
        for a, b, score, year, negative in zip(
            rng.integers(0, 40, 2000),
            rng.integers(0, 40, 2000),
            rng.random(2000, np.float32),
            rng.choice([0, 1990, 2001, 2020], 2000),
            rng.random(2000) < 0.7,
            strict=True,
        )
    ]
    collector = Collector("layout", "source", NetworkFilter())
    for chosen in np.array_split(np.arange(len(rows)), batches):
        a, b, score, year, negative = zip(*(rows[at] for at in chosen), strict=True)
        ends = [
            collector.numbers(pa.array(end).dictionary_encode(), lambda name, _: Interactor(name))
            for end in (a, b)
        ]
        collector.add(
            collector.rows(len(chosen)),
            np.stack(ends),
            score=np.array(score, np.float32),
            year=np.array(year, np.int16),
            negative=np.array(negative),
        )
    network = collector.network()
    expected: dict[tuple[str, str], list[tuple[float, int, bool]]] = {}
    for x, y, *values in rows:
        expected.setdefault((min(x, y), max(x, y)), []).append(tuple(values))  # type: ignore[arg-type]
    assert [(network.names[a], network.names[b]) for a, b in network.index.tolist()] == list(expected)
    assert network.score is not None
    assert network.year is not None
    assert network.negative is not None
    merged = zip(network.score.tolist(), network.year.tolist(), network.negative.tolist(), strict=True)
    assert list(merged) == [
        (
            max(score for score, _, _ in found),
            min((year for _, year, _ in found if year), default=0),
            all(negative for _, _, negative in found),
        )
        for found in expected.values()
    ]
    assert network.counts["duplicates"] == 2000 - len(expected)


def test_the_organism_of_every_batch_counts() -> None:
    """The first batch has one organism, the second another one."""
    organisms = {"A": 9606, "B": 9606, "C": 10090, "D": 10090, "E": 4932, "F": 4932}
    collector = Collector("layout", "source", NetworkFilter(taxid=(9606, 10090)))
    for pair in (["A", "B"], ["C", "D"], ["E", "F"]):
        ends = [
            collector.numbers(
                pa.array([end]).dictionary_encode(), lambda name, _: Interactor(name, organisms[name])
            )
            for end in pair
        ]
        collector.add(collector.rows(1), np.stack(ends))
    network = collector.network()
    assert network.names == ("A", "B", "C", "D")
    assert network.taxid is not None
    assert network.taxid.tolist() == [9606, 9606, 10090, 10090]
    assert network.counts == {"rows": 3, "another organism": 1}
