"""Tests of splits and drawn negatives: what each separates, and what it keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ppi_train.data.negatives import degree_matched_negatives, negatives_like, uniform_negatives
from ppi_train.data.pairs import PairTable, pairs_from_ids
from ppi_train.data.splits import (
    GIVEN,
    METHODS,
    SIDES,
    DrawnSplit,
    SplitHelp,
    SplitPlan,
    draw_split,
    group_sides,
    walk,
)
from ppi_train.errors import DataError


def _random_positives(rng: np.random.Generator, proteins: int, count: int) -> np.ndarray:
    weights = 1 / np.arange(1, proteins + 1)
    pairs = rng.choice(proteins, size=(count, 2), p=weights / weights.sum())
    return np.unique(np.sort(pairs, axis=1), axis=0)


def test_no_known_pair_no_self_pair_no_pair_twice() -> None:
    rng = np.random.default_rng(0)
    positives = _random_positives(rng, 200, 2_000)
    forbidden = _random_positives(rng, 250, 2_000)[:, ::-1]
    drawn = degree_matched_negatives(positives, forbidden=forbidden, count=2_000, rng=rng)
    found = {tuple(row) for row in drawn.tolist()}
    known = {tuple(sorted(row)) for row in [*positives.tolist(), *forbidden.tolist()]}
    assert drawn.shape == (2_000, 2)
    assert len(found) == 2_000
    assert not found & known
    assert (drawn[:, 0] < drawn[:, 1]).all()


def test_degrees_follow_those_of_the_positives() -> None:
    rng = np.random.default_rng(0)
    positives = _random_positives(rng, 2_000, 5_000)
    drawn = degree_matched_negatives(positives, forbidden=positives, count=len(positives), rng=rng)
    wanted, got = (np.bincount(pairs.ravel(), minlength=2_000) for pairs in (positives, drawn))
    assert np.corrcoef(wanted, got)[0, 1] > 0.9
    assert not got[wanted == 0].any()


def test_the_same_seed_draws_the_same() -> None:
    positives = _random_positives(np.random.default_rng(0), 100, 300)
    empty = np.empty((0, 2), np.int32)
    first, again, other = (
        degree_matched_negatives(positives, forbidden=empty, count=50, rng=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_every_pair_that_exists_can_be_drawn_and_no_more() -> None:
    positives = np.array([[0, 1], [2, 3]])
    empty = np.empty((0, 2), np.int32)
    rng = np.random.default_rng(0)
    assert len(degree_matched_negatives(positives, forbidden=empty, count=4, rng=rng)) == 4
    with pytest.raises(DataError, match="too few negative pairs could be drawn") as caught:
        degree_matched_negatives(positives, forbidden=empty, count=5, rng=rng)
    assert "got: 4 after" in str(caught.value)
    assert "5 pairs of 4 proteins" in str(caught.value)
    with pytest.raises(DataError):
        degree_matched_negatives(empty, forbidden=empty, count=1, rng=rng)
    assert len(degree_matched_negatives(empty, forbidden=empty, count=0, rng=rng)) == 0


def test_uniform_negatives_do_not_follow_the_degrees() -> None:
    rng = np.random.default_rng(0)
    positives = _random_positives(rng, 2_000, 5_000)
    drawn = uniform_negatives(positives, forbidden=positives, count=len(positives), rng=rng)
    wanted, got = (np.bincount(pairs.ravel(), minlength=2_000) for pairs in (positives, drawn))
    there = wanted > 0
    assert abs(np.corrcoef(wanted[there], got[there])[0, 1]) < 0.15
    assert not got[~there].any()
    assert len(np.unique(drawn, axis=0)) == len(positives)
    assert not {tuple(row) for row in drawn.tolist()} & {tuple(row) for row in positives.tolist()}


PLAN = SplitPlan(
    method="random",
    val_fraction=0.2,
    test_fraction=0.2,
    negatives="degree_matched",
    negative_ratio=1.0,
    seed=3,
)
Pair = tuple[str, str]


def network(proteins: int = 300, edges: int = 1_500, seed: int = 0) -> PairTable:
    """A network with hubs, as real ones have."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.sqrt(np.arange(1, proteins + 1))
    ends = rng.choice(proteins, size=(2 * edges, 2), p=weights / weights.sum())
    ends = np.unique(np.sort(ends[ends[:, 0] != ends[:, 1]], axis=1), axis=0)
    ends = ends[rng.permutation(len(ends))[:edges]]
    a, b = ([f"P{number:04d}" for number in column] for column in ends.T.tolist())
    return pairs_from_ids(a, b, None, "network")


def help_for(edges: PairTable) -> SplitHelp:
    """Clusters of three proteins, and years from 1990 to 2019; every tenth edge has none."""
    years = 1990 + np.arange(len(edges)) % 30
    return SplitHelp(clusters=np.arange(len(edges.proteins)) // 3, years=np.where(years % 10, years, 0))


def pairs_of(table: PairTable, label: int | None = None) -> set[Pair]:
    keep = np.ones(len(table), bool) if label is None else table.labels == label
    return {(table.proteins[a], table.proteins[b]) for a, b in table.index[keep].tolist()}


def rows_of(table: PairTable) -> list[tuple[list[int], int]]:
    assert table.labels is not None
    return list(zip(table.index.tolist(), table.labels.tolist(), strict=True))


def proteins_of(split: DrawnSplit, side: str) -> set[str]:
    return set(split.tables[side].proteins)


@pytest.mark.parametrize("negatives", ["uniform", "degree_matched"])
@pytest.mark.parametrize("method", METHODS)
def test_every_edge_is_on_one_side_or_counted_and_no_negative_is_known(method: str, negatives: str) -> None:
    edges = network()
    plan = replace(PLAN, method=method, negatives=negatives, negative_ratio=1.5)
    split = draw_split(edges, plan, help_for(edges))
    assert tuple(split.tables) == SIDES
    positives = [pairs_of(split.tables[side], 1) for side in SIDES]
    drawn = [pairs_of(split.tables[side], 0) for side in SIDES]
    known = pairs_of(edges)
    assert sum(map(len, positives)) == len(set.union(*positives)) == len(known) - split.dropped
    assert set.union(*positives) <= known
    assert not set.union(*drawn) & known
    assert sum(map(len, drawn)) == len(set.union(*drawn))
    assert all(a != b for a, b in set.union(*drawn))
    for mine, theirs in zip(positives, drawn, strict=True):
        assert len(theirs) == round(1.5 * len(mine))
        assert {protein for pair in theirs for protein in pair} <= {
            protein for pair in mine for protein in pair
        }


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_draws_the_same_and_another_seed_another(method: str) -> None:
    edges = network()
    plan = replace(PLAN, method=method)
    first, again, other = (
        draw_split(edges, variant, help_for(edges)).tables for variant in (plan, plan, replace(plan, seed=4))
    )
    assert all(rows_of(first[side]) == rows_of(again[side]) for side in SIDES)
    assert first["test"].digest != other["test"].digest


def test_another_kind_of_negatives_leaves_the_positives_where_they_are() -> None:
    matched, uniform = (
        draw_split(network(), replace(PLAN, negatives=kind)).tables for kind in ("degree_matched", "uniform")
    )
    assert all(pairs_of(matched[side], 1) == pairs_of(uniform[side], 1) for side in SIDES)


def test_random_takes_the_fractions_of_the_edges_and_drops_none() -> None:
    split = draw_split(network(), replace(PLAN, val_fraction=0.1, test_fraction=0.3))
    assert [split.tables[side].positives for side in SIDES] == [900, 150, 450]
    assert split.dropped == 0


def test_c3_shares_no_protein_between_any_two_sides() -> None:
    split = draw_split(network(), replace(PLAN, method="c3"))
    sides = [proteins_of(split, side) for side in SIDES]
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert split.dropped > 0


def test_clustered_keeps_every_cluster_on_one_side() -> None:
    edges = network()
    clusters = np.random.default_rng(0).integers(0, 60, len(edges.proteins))
    split = draw_split(edges, replace(PLAN, method="clustered"), SplitHelp(clusters=clusters))
    cluster_of = dict(zip(edges.proteins, clusters.tolist(), strict=True))
    sides = [{cluster_of[protein] for protein in proteins_of(split, side)} for side in SIDES]
    assert sum(map(len, sides)) == len(set.union(*sides))


def test_a_group_that_is_larger_than_a_side_is_for_training() -> None:
    groups = np.array([0] * 60 + list(range(1, 41)))
    sides = group_sides(groups, (0.1, 0.2), np.random.default_rng(0))
    assert np.bincount(sides).tolist() == [70, 10, 20]
    assert not sides[:60].any()


@pytest.mark.parametrize("method", ["bfs", "dfs", "random_walk"])
def test_a_walk_takes_a_fifth_of_the_proteins_in_one_piece_and_validation_is_of_the_rest(method: str) -> None:
    edges = network()
    split = draw_split(edges, replace(PLAN, method=method))
    size = len(edges.proteins) // 5
    tested = walk(edges.index, len(edges.proteins), method, size=size, rng=np.random.default_rng([3, 0]))
    assert tested.sum() == size
    names = {name for name, there in zip(edges.proteins, tested.tolist(), strict=True) if there}
    assert pairs_of(split.tables["test"], 1) == {pair for pair in pairs_of(edges) if names >= set(pair)}
    training = {pair for pair in pairs_of(edges) if not names & set(pair)}
    assert pairs_of(split.tables["train"], 1) | pairs_of(split.tables["validation"], 1) == training
    assert split.tables["validation"].positives == round(0.2 * len(training))
    assert _is_connected(edges, tested)


def _is_connected(edges: PairTable, among: np.ndarray) -> bool:
    inside = edges.index[among[edges.index].all(axis=1)]
    reached = {int(np.flatnonzero(among)[0])}
    for _ in range(int(among.sum())):
        reached |= {int(node) for row in inside.tolist() if reached & set(row) for node in row}
    return len(reached) == int(among.sum())


# A root of five partners, in a network that every method leaves at another place.
TREE = np.array([[0, 1], [0, 2], [0, 3], [0, 4], [0, 5], [1, 6], [5, 7], [5, 8], [8, 9]])


@pytest.mark.parametrize(
    ("method", "visited"), [("bfs", [0, 1, 2, 3]), ("dfs", [0, 5, 8, 9]), ("dfs", [0, 5, 7, 8, 9])]
)
def test_breadth_first_takes_neighbours_in_order_and_depth_first_the_last_one(
    method: str, visited: list[int]
) -> None:
    found = walk(TREE, 10, method, size=len(visited), rng=np.random.default_rng(0))
    assert np.flatnonzero(found).tolist() == visited


def test_a_random_walk_that_is_stuck_jumps_until_all_is_visited(caplog: pytest.LogCaptureFixture) -> None:
    for seed in range(20):
        assert walk(TREE, 10, "random_walk", size=10, rng=np.random.default_rng(seed)).all()
    two_pieces = np.concatenate([TREE, [[10, 11]]])
    found = walk(two_pieces, 12, "random_walk", size=12, rng=np.random.default_rng(0))
    assert found.sum() == 10
    assert "the root's part of the network has 10 proteins, not the 12 wanted" in caplog.text


def test_without_a_root_of_degree_five_a_walk_is_refused() -> None:
    ring = pairs_from_ids(list("ABCD"), list("BCDA"), None, "ring")
    with pytest.raises(DataError, match="no protein has 5 partners, where bfs would start") as caught:
        draw_split(ring, replace(PLAN, method="bfs"))
    assert "another method, such as c3" in str(caught.value)
    assert "method=" not in str(caught.value)  # it is split_method= in other modes


def test_a_side_that_is_too_full_for_negatives_is_named() -> None:
    names = [f"P{number}" for number in range(16)]
    every = [(a, b) for position, a in enumerate(names) for b in names[:position]]
    full = pairs_from_ids([a for a, _ in every], [b for _, b in every], None, "full")
    with pytest.raises(DataError, match="too few negative pairs could be drawn") as caught:
        draw_split(full, replace(PLAN, method="random"))
    assert "where: full, train" in str(caught.value)


def test_a_side_without_edges_is_refused() -> None:
    few = pairs_from_ids(list("ABC"), list("BCD"), None, "few")
    with pytest.raises(DataError, match="the split leaves no edge for") as caught:
        draw_split(few, replace(PLAN, method="c3"))
    assert "3 edges of 4 proteins, split by c3" in str(caught.value)
    assert "or the method random" in str(caught.value)


def test_random_is_not_the_remedy_for_random() -> None:
    few = pairs_from_ids(list("AB"), list("BC"), None, "few")
    with pytest.raises(DataError, match="the split leaves no edge for") as caught:
        draw_split(few, replace(PLAN, method="random"))
    assert str(caught.value).endswith("give more edges or a larger fraction")


def test_by_time_the_last_years_are_test_and_those_before_validation() -> None:
    edges = network()
    known_of = help_for(edges)
    assert known_of.years is not None
    split = draw_split(edges, replace(PLAN, method="time", val_fraction=0.1, test_fraction=0.2), known_of)
    years = dict(zip(rows_of_names(edges), known_of.years.tolist(), strict=True))
    spans = {side: {years[pair] for pair in pairs_of(split.tables[side], 1)} for side in SIDES}
    assert split.years == {side: (min(span), max(span)) for side, span in spans.items()}
    # 27 years of 50 edges each: 5 years are nearest to a fifth of them, 3 to a tenth.
    assert split.years == {"train": (1991, 2011), "validation": (2012, 2014), "test": (2015, 2019)}
    assert split.dropped == (known_of.years == 0).sum() == 150


def rows_of_names(table: PairTable) -> list[Pair]:
    return [(table.proteins[a], table.proteins[b]) for a, b in table.index.tolist()]


@pytest.mark.parametrize("years", [None, np.zeros(1_500, int), 2000 + np.arange(1_500) % 2])
def test_fewer_than_three_years_are_refused(years: np.ndarray | None) -> None:
    with pytest.raises(DataError, match="cannot be split by time") as caught:
        draw_split(network(), replace(PLAN, method="time"), SplitHelp(years=years))
    assert "edges of three years or more" in str(caught.value)


def test_given_negatives_are_divided_as_the_positives_are() -> None:
    edges = network()
    labels = (np.arange(len(edges)) % 4 > 0).astype(np.int8)
    labelled = replace(edges, labels=labels)
    split = draw_split(labelled, replace(PLAN, method="c3", negatives=GIVEN))
    label_of = dict(zip(rows_of_names(edges), labels.tolist(), strict=True))
    for side in SIDES:
        for label in (0, 1):
            assert all(label_of[pair] == label for pair in pairs_of(split.tables[side], label))
    assert sum(len(table) for table in split.tables.values()) == len(edges) - split.dropped


def test_further_known_pairs_are_not_drawn() -> None:
    edges = network(proteins=40, edges=300)
    plan = replace(PLAN, method="random", val_fraction=0.1, test_fraction=0.1)
    drawn = {pair for table in draw_split(edges, plan).tables.values() for pair in pairs_of(table, 0)}
    names = {name: place for place, name in enumerate(edges.proteins)}
    some = np.array([[names[b], names[a]] for a, b in sorted(drawn)[:100]])
    again = draw_split(edges, plan, SplitHelp(known=some)).tables
    assert not set(sorted(drawn)[:100]) & {pair for table in again.values() for pair in pairs_of(table, 0)}


@pytest.mark.parametrize("kind", ["degree_matched", "uniform"])
def test_negatives_are_between_the_organisms_that_positives_are_between(kind: str) -> None:
    rng = np.random.default_rng(0)
    organisms = np.repeat([0, 1, 2], [60, 30, 10])
    rng.shuffle(organisms)
    host, virus = np.flatnonzero(organisms == 0), np.flatnonzero(organisms == 1)
    across = np.stack([rng.choice(host, 120), rng.choice(virus, 120)], axis=1)
    within = rng.choice(host, (40, 2), replace=True)
    pairs = np.unique(np.sort(np.concatenate([across, within]), axis=1), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    drawn = negatives_like(kind, pairs, forbidden=pairs, count=2 * len(pairs), rng=rng, organisms=organisms)
    kinds = [np.sort(organisms[found], axis=1).sum(axis=1) for found in (pairs, drawn)]
    assert set(kinds[1].tolist()) == {0, 1}  # of two hosts, and of host and virus
    assert (kinds[1] == 0).sum() == pytest.approx(2 * (kinds[0] == 0).sum(), abs=1)
    assert not {tuple(row) for row in drawn.tolist()} & {tuple(row) for row in pairs.tolist()}
    assert len({tuple(row) for row in drawn.tolist()}) == 2 * len(pairs)
