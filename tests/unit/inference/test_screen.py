"""Tests of scans that score pairs roughly first: they keep what exact scores keep, to the last bit."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ppi_train.errors import CheckpointError
from ppi_train.inference import pair_grid, screen
from ppi_train.inference.pair_grid import PairGrid
from ppi_train.inference.pair_sets import PairSet
from ppi_train.inference.scan import EncodedProteins, Scan
from ppi_train.inference.threshold_scan import ThresholdScan
from ppi_train.inference.top_scan import TopScan
from ppi_train.models.base import Packed
from ppi_train.models.pair_head import EnsembleModel, MemberPairHead
from ppi_train.models.registry import build_model
from ppi_train.models.rough_block import RoughBlock

GRIDS = [
    PairGrid(shared=240, side=100),
    PairGrid(shared=240, side=100, include_self=True),
    PairGrid(shared=0, only_a=130, only_b=110, side=64),
    PairGrid(shared=60, only_a=100, only_b=80, side=90),
    PairGrid(shared=60, only_a=100, only_b=80, side=90, include_self=True),
]


@pytest.fixture
def _small_blocks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Screens small blocks, of which a large share may be kept."""
    monkeypatch.setattr(screen, "_MOST", 0.9)
    monkeypatch.setattr(screen, "_FEWEST", 1)
    monkeypatch.setattr(pair_grid, "STRIP", 16)
    # Several blocks are a task, and several tasks a scan.
    monkeypatch.setattr("ppi_train.inference.task_blocks.TASK_PAIRS", 15_000)


class Ensemble(EnsembleModel):
    """Scores states that are given.

    Args:
        claimed: What the bounds on rough scores are multiplied with; small ones are wrong.
        off: By how much the scores of few pairs are off.
    """

    def __init__(self, claimed: float = 1.0, off: float = 0.0) -> None:
        super().__init__(1, 64)
        torch.manual_seed(0)
        self.head = MemberPairHead(members=2, hidden_dim=32, head_dim=16, dropout=0.0)
        # Trained weights spread the scores more than random ones.
        self.head.hidden.weight.data.mul_(4)
        self.claimed, self.off, self.rough_blocks, self.whole_blocks = claimed, off, 0, 0

    def encode(self, proteins: Tensor) -> Tensor:
        return self.with_offsets(proteins)

    def rough_block(self, states_a: Tensor, states_b: Tensor) -> RoughBlock | None:
        self.rough_blocks += 1
        rough = super().rough_block(states_a, states_b)
        assert rough is not None

        def exact(cells: Tensor) -> Tensor:
            return rough.exact(cells) + self.off * (len(cells) != len(states_b))

        return replace(rough, error=rough.error * self.claimed, exact=exact)

    def score_block(self, states_a: Tensor, states_b: Tensor) -> Tensor:
        self.whole_blocks += 1
        return super().score_block(states_a, states_b)


def encoded(
    count: int = 240, *, claimed: float = 1.0, off: float = 0.0, rough: bool = True
) -> EncodedProteins:
    """Proteins, of which the last 20 are copies of others."""
    model = Ensemble(claimed, off).eval()
    members = torch.randn(count, 64, generator=torch.Generator().manual_seed(1))
    members[-20:] = members[:20]
    model.take_reference(model.encode(members[50:120]))
    model.set_reference_share(0.7)
    states = model.encode(members)
    return EncodedProteins(model=model, states=states, device=torch.device("cpu"), rough=rough)


def rows(scan: Scan) -> dict[str, np.ndarray]:
    parts = [scan.run(number) for number in range(len(scan.tasks))]
    kept = list(scan.collect(lambda: iter(parts)).rows())
    return {name: np.concatenate([part.columns[name] for part in kept]) for name in kept[0].columns}


def require_equal(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert list(found) == list(wanted)
    assert len(found["a"])
    for name, values in found.items():
        np.testing.assert_array_equal(values, wanted[name])


def models(*proteins: EncodedProteins) -> list[Ensemble]:
    found = [each.model for each in proteins]
    assert all(isinstance(model, Ensemble) for model in found)
    return found  # type: ignore[return-value]


@pytest.mark.usefixtures("_small_blocks_too")
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("excluding", [False, True])
def test_the_best_are_those_of_exact_scores(grid: PairGrid, excluding: bool) -> None:
    if excluding:
        index = np.random.default_rng(0).integers(grid.proteins, size=(3000, 2))
        grid = replace(grid, excluded=PairSet.of_identities(np.arange(grid.proteins), index))
    screened, exact = encoded(rough=True), encoded(rough=False)
    ranks = np.random.default_rng(0).permutation(grid.proteins)
    found, wanted = (
        rows(TopScan(proteins, grid, 2, ranks=ranks, uncertainty=True)) for proteins in (screened, exact)
    )
    require_equal(found, wanted)
    of_screened, of_exact = models(screened, exact)
    assert of_screened.rough_blocks > of_screened.whole_blocks
    assert of_exact.rough_blocks == 0


@pytest.mark.usefixtures("_small_blocks_too")
@pytest.mark.parametrize("grid", GRIDS)
def test_a_threshold_at_a_score_keeps_what_exact_scores_keep(grid: PairGrid) -> None:
    screened, exact = encoded(rough=True), encoded(rough=False)
    everything = rows(ThresholdScan(exact, grid))["probability"]
    for share in (0.9, 0.97, 0.999):
        # A score of a pair, which copies make that of others too.
        least = float(np.sort(everything)[int(share * len(everything))])
        found, wanted = (
            rows(ThresholdScan(proteins, grid, min_probability=least, uncertainty=True))
            for proteins in (screened, exact)
        )
        require_equal(found, wanted)
        assert len(found["a"]) == (everything >= np.float32(least)).sum()
    of_screened, _ = models(screened, exact)
    assert of_screened.rough_blocks > of_screened.whole_blocks


@pytest.mark.usefixtures("_small_blocks_too")
def test_the_best_partners_of_named_proteins_are_those_of_exact_scores() -> None:
    grid = PairGrid(shared=100, only_b=140, side=100)
    found, wanted = (
        rows(TopScan(encoded(rough=rough), grid, 3, queries=100, min_probability=0.5))
        for rough in (True, False)
    )
    require_equal(found, wanted)


def test_a_temperature_applies_to_rough_scores_too() -> None:
    grid = PairGrid(shared=240, side=100)
    screened, exact = encoded(rough=True), encoded(rough=False)
    for proteins in (screened, exact):
        proteins.model.temperature = 3.0
    for make in (
        lambda proteins: TopScan(proteins, grid, 2),
        lambda proteins: ThresholdScan(proteins, grid, min_probability=0.6),
    ):
        require_equal(rows(make(screened)), rows(make(exact)))


@pytest.mark.usefixtures("_small_blocks_too")
def test_v3_keeps_what_its_exact_scores_keep() -> None:
    torch.manual_seed(0)
    model = build_model("v3", input_dim=8).eval()
    dict(model.named_parameters())["head.hidden.weight"].data.mul_(4)
    with torch.inference_mode():
        states = model.encode(Packed(torch.randn(150 * 6, 8), torch.arange(151) * 6))
    found, wanted = (
        rows(
            TopScan(
                EncodedProteins(model=model, states=states, device=torch.device("cpu"), rough=rough),
                PairGrid(shared=150, side=100),
                2,
            )
        )
        for rough in (True, False)
    )
    require_equal(found, wanted)


def test_where_many_pairs_may_be_kept_all_are_scored_exactly() -> None:
    grid = PairGrid(shared=240, side=40)
    screened = encoded(rough=True)
    found = rows(TopScan(screened, grid, 30))
    require_equal(found, rows(TopScan(encoded(rough=False), grid, 30)))
    (model,) = models(screened)
    # After a block in vain as many as 15 are not tried.
    assert model.whole_blocks == len(grid.blocks)
    assert model.rough_blocks == 2


def test_a_wrong_bound_is_seen_and_costs_time_alone(caplog: pytest.LogCaptureFixture) -> None:
    grid = PairGrid(shared=240, side=100)
    wrong = encoded(claimed=1e-2)
    with caplog.at_level(logging.WARNING):
        found = rows(TopScan(wrong, grid, 2))
    assert "is scored in float32: a score in bf16 differs by" in caplog.text
    require_equal(found, rows(TopScan(encoded(rough=False), grid, 2)))
    (model,) = models(wrong)
    assert model.whole_blocks == len(grid.blocks)


def test_a_processor_that_scores_few_pairs_differently_is_seen(caplog: pytest.LogCaptureFixture) -> None:
    grid = PairGrid(shared=240, side=100)
    other = encoded(off=1e-6)
    with caplog.at_level(logging.WARNING):
        found = rows(TopScan(other, grid, 2))
    assert caplog.messages == ["all pairs are scored in float32: this processor scores few pairs differently"]
    require_equal(found, rows(TopScan(encoded(rough=False), grid, 2)))


def test_scores_that_are_no_numbers_are_refused() -> None:
    proteins = encoded()
    proteins.states[4] = torch.nan
    grid = PairGrid(shared=240)
    for scan in (ThresholdScan(proteins, grid, min_probability=0.9), TopScan(proteins, grid, 2)):
        with pytest.raises(CheckpointError, match=r"not finite\n  got: 367 of 57,600 pairs"):
            scan.run(0)


def test_few_rows_are_not_worth_it() -> None:
    proteins = encoded()
    rows(TopScan(proteins, PairGrid(shared=2, only_b=238, side=100), 3, queries=2))
    (model,) = models(proteins)
    assert model.rough_blocks == 0
