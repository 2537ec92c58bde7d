"""Tests of the block scan over all pairs.

Each pair is scored once, as it would be alone, and the requested pairs are kept.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from ppi_train.errors import CheckpointError
from ppi_train.inference.pair_grid import PairGrid, PairList
from ppi_train.inference.pair_sets import PairSet
from ppi_train.inference.scan import EncodedProteins, KeptPairs, Scan, ScoredPairs
from ppi_train.inference.threshold_scan import ThresholdScan
from ppi_train.inference.top_partners import TopPartners
from ppi_train.inference.top_scan import TopScan
from ppi_train.models import base
from ppi_train.models.base import PairModel
from ppi_train.models.registry import build_model

GRIDS = [
    PairGrid(shared=23, side=5),
    PairGrid(shared=23, side=5, include_self=True),
    PairGrid(shared=0, only_a=11, only_b=9, side=4),
    PairGrid(shared=6, only_a=7, only_b=9, side=4),
    PairGrid(shared=6, only_a=7, only_b=9, side=4, include_self=True),
    PairGrid(shared=7, only_a=0, only_b=4, side=3),
    PairGrid(shared=5, only_a=4, only_b=0, side=100),
]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_PAIRS_AT_ONCE", 7)
    # Several blocks are a task, and several tasks a scan.
    monkeypatch.setattr("ppi_train.inference.task_blocks.TASK_PAIRS", 60)
    # Blocks of proteins with themselves have several strips.
    monkeypatch.setattr("ppi_train.inference.pair_grid.STRIP", 3)


def encoded(proteins: int, *, members: int = 3) -> EncodedProteins:
    torch.manual_seed(proteins)
    model = build_model(
        "pooled_mlp", input_dim=6, hidden_dim=8, num_layers=1, dropout=0.0, input_dropout=0.0, members=members
    ).eval()
    with torch.inference_mode():
        states = model.encode(torch.randn(proteins, 6))
    return EncodedProteins(model=model, states=states, device=torch.device("cpu"))


def collected(scan: Scan, order: np.random.Generator | None = None) -> KeptPairs:
    """What a scan keeps, whose tasks are done in a random order."""
    numbers = np.arange(len(scan.tasks)) if order is None else order.permutation(len(scan.tasks))
    parts = {number: scan.run(number) for number in numbers.tolist()}
    return scan.collect(lambda: (parts[number] for number in sorted(parts)))


def run(scan: Scan, order: np.random.Generator | None = None) -> ScoredPairs:
    parts = list(collected(scan, order).rows())
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    return ScoredPairs(
        a=columns["a"],
        b=columns["b"],
        probability=columns["probability"],
        logit=columns["logit"],
        uncertainty=columns.get("uncertainty"),
    )


def one_by_one(proteins: EncodedProteins, grid: PairGrid) -> dict[tuple[int, int], tuple[float, float]]:
    """Probability and deviation of each pair that the grid is to have, by its two numbers."""
    first = range(grid.shared + grid.only_a)
    second = [*range(grid.shared), *range(grid.shared + grid.only_a, grid.proteins)]
    pairs = {(min(a, b), max(a, b)) for a, b in itertools.product(first, second)}
    wanted = sorted(pair for pair in pairs if grid.include_self or pair[0] != pair[1])
    a, b = torch.tensor(wanted).T
    with torch.inference_mode():
        logits, deviations = proteins.model.score_with_uncertainty(
            proteins.model.select(proteins.states, a), proteins.model.select(proteins.states, b)
        )
    return dict(zip(wanted, zip(logits.sigmoid().tolist(), deviations.tolist(), strict=True), strict=True))


def require_same(found: ScoredPairs, wanted: dict[tuple[int, int], tuple[float, float]]) -> None:
    keys = [(min(pair), max(pair)) for pair in zip(found.a.tolist(), found.b.tolist(), strict=True)]
    assert sorted(keys) == sorted(wanted)
    assert found.uncertainty is not None
    for key, *scores in zip(keys, found.probability, found.uncertainty, strict=True):
        assert scores == pytest.approx(wanted[key], abs=1e-5)


@pytest.mark.parametrize("grid", GRIDS)
def test_every_pair_is_scored_once_and_as_by_itself(grid: PairGrid) -> None:
    proteins = encoded(grid.proteins)
    found = run(ThresholdScan(proteins, grid, uncertainty=True))
    assert len(found) == grid.pairs == sum(map(grid.pairs_in, range(len(grid.blocks))))
    require_same(found, one_by_one(proteins, grid))
    # The first is of the first list, the second of the other.
    assert (found.a < grid.shared + grid.only_a).all()
    assert ((found.b < grid.shared) | (found.b >= grid.shared + grid.only_a)).all()


@pytest.mark.parametrize("grid", GRIDS)
def test_a_threshold_keeps_what_reaches_it(grid: PairGrid) -> None:
    proteins = encoded(grid.proteins)
    scores = one_by_one(proteins, grid)
    least = float(np.quantile([score for score, _ in scores.values()], 0.7))
    found = run(ThresholdScan(proteins, grid, min_probability=least, uncertainty=True))
    require_same(found, {pair: score for pair, score in scores.items() if score[0] >= least})


@pytest.mark.parametrize("grid", GRIDS)
def test_filtered_rows_have_one_order_for_any_blocks(grid: PairGrid) -> None:
    proteins = encoded(grid.proteins)
    scores = np.sort([score for score, _ in one_by_one(proteins, grid).values()])
    least = float(scores[len(scores) // 3 : len(scores) // 3 + 2].mean())
    rows = []
    for side in (2, grid.side, 64):
        blocks = replace(grid, side=side)
        found = collected(ThresholdScan(proteins, blocks, min_probability=least)).rows()
        rows.append(np.concatenate([np.stack([part.a, part.b], 1) for part in found]))
    assert len(rows[0]) == (scores >= least).sum()
    assert rows[0].tolist() == sorted(rows[0].tolist())
    for others in rows[1:]:
        np.testing.assert_array_equal(others, rows[0])


def test_a_temperature_changes_what_is_kept_and_not_the_order() -> None:
    grid = PairGrid(shared=23, side=5)
    proteins = encoded(grid.proteins)
    before = run(ThresholdScan(proteins, grid, uncertainty=True))
    best_before = run(TopScan(proteins, grid, 3))
    proteins.model.temperature = 2.5
    logits = torch.from_numpy(before.probability).double().logit().numpy() / 2.5
    after = run(ThresholdScan(proteins, grid, uncertainty=True))
    np.testing.assert_allclose(after.probability, 1 / (1 + np.exp(-logits)), atol=1e-6)
    assert after.uncertainty is not None
    assert before.uncertainty is not None
    np.testing.assert_allclose(after.uncertainty, before.uncertainty / 2.5, atol=1e-6)
    least = float(np.quantile(after.probability, 0.8))
    kept = run(ThresholdScan(proteins, grid, min_probability=least))
    assert len(kept) == (after.probability >= np.float32(least)).sum()
    best = run(TopScan(proteins, grid, 3))
    np.testing.assert_array_equal(np.stack([best.a, best.b]), np.stack([best_before.a, best_before.b]))
    listed = PairList(index=np.stack([after.a, after.b], axis=1))
    by_list = run(ThresholdScan(proteins, listed))
    np.testing.assert_allclose(by_list.probability, after.probability, atol=1e-6)


def test_the_threshold_compares_what_is_written() -> None:
    grid = PairGrid(shared=30, side=8)
    proteins = encoded(30)
    everything = run(ThresholdScan(proteins, grid)).probability
    for least in np.unique(everything)[::40].tolist():  # each on the edge
        kept = run(ThresholdScan(proteins, grid, min_probability=least)).probability
        np.testing.assert_array_equal(np.sort(kept), np.sort(everything[everything >= np.float32(least)]))


@pytest.mark.parametrize("grid", GRIDS)
def test_excluded_pairs_make_room_for_others_among_the_best(grid: PairGrid) -> None:
    proteins = encoded(grid.proteins)
    scores = one_by_one(proteins, grid)
    rng = np.random.default_rng(0)
    known = [pair for pair in scores if rng.random() < 0.4]
    numbers = np.arange(grid.proteins)
    excluding = replace(grid, excluded=PairSet.of_identities(numbers, np.array(known)[:, ::-1]))
    novel = {pair: score for pair, score in scores.items() if pair not in known}
    everything = run(ThresholdScan(proteins, excluding, uncertainty=True))
    require_same(everything, novel)
    found = run(TopScan(proteins, excluding, 3, uncertainty=True))
    require_same(found, {pair: novel[pair] for pair in best(novel, 3)})


@pytest.mark.parametrize("k", [3, 1000])
def test_the_best_partners_of_the_first_proteins_alone(k: int) -> None:
    grid = PairGrid(shared=2, only_b=20, side=5)
    proteins = encoded(grid.proteins)
    scores = one_by_one(proteins, grid)
    scan = TopScan(proteins, grid, k, queries=2, uncertainty=True)
    found = run(scan)
    wanted = {
        pair
        for query in range(2)
        for pair in sorted((pair for pair in scores if query in pair), key=lambda pair: -scores[pair][0])[:k]
    }
    require_same(found, {pair: scores[pair] for pair in wanted})
    assert (found.a < 2).all()
    assert collected(scan).proteins().tolist() == sorted({number for pair in wanted for number in pair})


def test_the_best_come_first_and_equal_ones_by_rank() -> None:
    grid = PairGrid(shared=20, side=6)
    proteins = encoded(20)
    twins = replace(proteins, states=proteins.states[:10].repeat(2, 1))
    ranks = np.random.default_rng(0).permutation(20)
    found = run(TopScan(twins, grid, 19, ranks=ranks))
    keys = [(-logit, ranks[a], ranks[b]) for a, b, logit in zip(found.a, found.b, found.logit, strict=True)]
    assert keys == sorted(keys)
    assert len({logit for logit, *_ in keys}) < len(keys) == 190
    np.testing.assert_allclose(found.probability, 1 / (1 + np.exp(-found.logit)), atol=1e-6)


def best(scores: dict[tuple[int, int], tuple[float, float]], k: int) -> set[tuple[int, int]]:
    """Pairs among the k best of either protein."""
    by_protein: dict[int, list[tuple[float, tuple[int, int]]]] = {}
    for pair, (probability, _) in scores.items():
        for protein in set(pair):
            by_protein.setdefault(protein, []).append((probability, pair))
    return {pair for found in by_protein.values() for _, pair in sorted(found, reverse=True)[:k]}


@pytest.mark.parametrize("k", [1, 4, 1000])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_best_partners_of_each_protein(grid: PairGrid, k: int) -> None:
    proteins = encoded(grid.proteins)
    scores = one_by_one(proteins, grid)
    found = run(TopScan(proteins, grid, k, uncertainty=True))
    require_same(found, {pair: scores[pair] for pair in best(scores, k)})
    assert (found.a < grid.shared + grid.only_a).all()
    assert ((found.b < grid.shared) | (found.b >= grid.shared + grid.only_a)).all()
    least = float(np.median(found.probability))
    both = run(TopScan(proteins, grid, k, min_probability=least))
    assert len(both) == (found.probability >= np.float32(least)).sum()


def test_equal_proteins_do_not_crowd_each_other_out() -> None:
    proteins = encoded(20)
    alike = replace(proteins, states=proteins.states[:1].repeat(20, 1))
    grid = PairGrid(shared=20, side=6)
    found = run(TopScan(alike, grid, 3))
    partners = np.bincount(np.concatenate([found.a, found.b]), minlength=20)
    assert (partners >= 3).all()
    assert len(found) <= 60


def copies(order: np.ndarray) -> EncodedProteins:
    """The proteins of the given numbers, of 300 that are followed by a copy of each."""
    proteins = encoded(300)
    return replace(proteins, states=proteins.states.repeat(2, 1)[torch.from_numpy(order)])


def kept_pairs(proteins: EncodedProteins, side: int, order: np.random.Generator | None) -> np.ndarray:
    """The pairs that a scan of the best keeps, with its tasks in a random order."""
    found = run(TopScan(proteins, PairGrid(shared=600, side=side), 5), order)
    return np.stack([found.a, found.b])


def test_copies_are_chosen_in_the_same_way_whatever_the_blocks() -> None:
    proteins = copies(np.random.default_rng(0).permutation(600))
    wanted = kept_pairs(proteins, 1024, None)
    for seed, side in enumerate((150, 150, 64)):
        found = kept_pairs(proteins, side, np.random.default_rng(seed))
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("side", [3, 7, 100])
def test_of_equal_scores_the_first_accessions_are_chosen(side: int) -> None:
    proteins = encoded(20)
    alike = replace(proteins, states=proteins.states[:1].repeat(20, 1))
    ranks = np.random.default_rng(0).permutation(20)
    grid = PairGrid(shared=6, only_a=8, only_b=6, side=side)
    partners: dict[int, list[int]] = {}
    for pair in one_by_one(alike, grid):
        for protein, partner in (pair, pair[::-1]):
            partners.setdefault(protein, []).append(partner)
    found = run(TopScan(alike, grid, 2, ranks=ranks))
    assert {frozenset(pair) for pair in zip(found.a.tolist(), found.b.tolist(), strict=True)} == {
        frozenset((protein, partner))
        for protein, others in partners.items()
        for partner in sorted(others, key=ranks.__getitem__)[:2]
    }


def test_equal_scores_of_either_sign_of_zero_are_equal() -> None:
    best = TopPartners(np.arange(3), 1, torch.device("cpu"))
    best.add(torch.tensor([0]), torch.tensor([1, 2]), torch.tensor([[-0.0, 0.0]]))
    proteins, partners, logits = best.pairs()
    assert list(zip(proteins.tolist(), partners.tolist(), strict=True)) == [(0, 1), (1, 0), (2, 0)]
    assert logits.tolist() == [0, 0, 0]


def test_a_threshold_keeps_the_same_pairs_whatever_the_size_of_blocks() -> None:
    proteins = copies(np.random.default_rng(1).permutation(600)[:200])
    kept = []
    for side in (1024, 64, 37):
        grid = PairGrid(shared=200, include_self=True, side=side)
        found = run(ThresholdScan(proteins, grid, min_probability=0.5))
        kept.append(sorted(zip(found.a.tolist(), found.b.tolist(), strict=True)))
    assert kept[0]
    assert kept[0] == kept[1] == kept[2]


def test_a_list_is_scored_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppi_train.inference.pair_grid.LISTED", 10)
    proteins = encoded(12)
    scores = one_by_one(proteins, PairGrid(shared=12, include_self=True))
    index = np.random.default_rng(0).permutation(np.array(sorted(scores)))
    pairs = PairList(index=index)
    found = run(ThresholdScan(proteins, pairs, uncertainty=True))
    np.testing.assert_array_equal(np.stack([found.a, found.b], axis=1), index)
    require_same(found, scores)


def test_uncertainty_is_told_to_be_there_or_not() -> None:
    assert encoded(9, members=3).have_uncertainty(9)
    assert not encoded(9, members=1).have_uncertainty(9)
    assert encoded(1, members=3).have_uncertainty(1)


def test_scores_that_are_no_numbers_are_refused_and_not_lost() -> None:
    proteins = encoded(12)
    broken = torch.where(torch.arange(12)[:, None] == 4, torch.nan, proteins.states)
    proteins = replace(proteins, states=broken)
    grid = PairGrid(shared=12)
    for scan in (ThresholdScan(proteins, grid, min_probability=0.9), TopScan(proteins, grid, 2)):
        with pytest.raises(CheckpointError, match="not finite\n  got: 23 of 144 pairs"):
            scan.run(0)


class Quick(base.PairModel):
    """Scores a block by one product of matrices."""

    def __init__(self) -> None:
        super().__init__(4)

    def encode(self, proteins: torch.Tensor) -> torch.Tensor:
        return proteins

    def score_members(self, state_a: torch.Tensor, state_b: torch.Tensor) -> torch.Tensor:
        raise AssertionError(f"pairs are scored one by one: {state_a.shape}, {state_b.shape}")

    def score_block(self, states_a: torch.Tensor, states_b: torch.Tensor) -> torch.Tensor:
        return states_a @ states_b.T


def test_a_models_own_way_to_score_a_block_is_taken() -> None:
    states = torch.randn(30, 4)
    model: PairModel = Quick().eval()
    grid = PairGrid(shared=30, side=8)
    scan = ThresholdScan(
        EncodedProteins(model=model, states=states, device=torch.device("cpu")), grid, min_probability=0.7
    )
    found = run(scan)
    wanted = (states @ states.T).sigmoid().triu(1)
    assert len(found) == (wanted >= 0.7).sum()
    np.testing.assert_allclose(found.probability, wanted[found.a, found.b], atol=1e-6)
