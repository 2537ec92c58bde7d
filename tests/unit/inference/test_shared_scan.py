"""Tests of the file through which workers get a scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ppi_train.checkpoints import Checkpoint
from ppi_train.inference.pair_grid import PairGrid, PairList
from ppi_train.inference.pair_sets import PairSet
from ppi_train.inference.scan import EncodedProteins
from ppi_train.inference.scan_plan import ScanPlan
from ppi_train.inference.shared_scan import (
    HeldScan,
    SharedScan,
    open_scan,
    score_task,
    share_scan,
    shared_scan,
)
from ppi_train.models.base import Packed
from ppi_train.models.registry import MODEL_FACTORIES, build_model

PROTEINS = 12
EXCLUDED = PairSet.of_identities(np.arange(PROTEINS), np.array([[0, 1], [3, 7]]))
INDEX = np.array([[0, 1], [2, 3], [4, 4]])
PLANS = {
    "best": ScanPlan(
        pairs=PairGrid(shared=5, only_a=3, only_b=4, side=4, excluded=EXCLUDED),
        best=2, ranks=np.random.default_rng(0).permutation(PROTEINS), queries=5, min_probability=0.2,
    ),
    "list": ScanPlan(pairs=PairList(index=INDEX), uncertainty=True),
    "all": ScanPlan(pairs=PairGrid(shared=PROTEINS, include_self=True, side=5)),
}  # fmt: skip


def encoded(name: str) -> tuple[Checkpoint, EncodedProteins]:
    torch.manual_seed(0)
    model = build_model(name, input_dim=6).eval()
    residues = Packed(torch.randn(PROTEINS * 5, 6), torch.arange(PROTEINS + 1) * 5)
    with torch.inference_mode():
        states = model.encode(torch.randn(PROTEINS, 6) if model.GRANULARITY == "protein" else residues)
    model.temperature = 1.5
    checkpoint = Checkpoint(
        weights=dict(model.state_dict()),
        description={
            "model": {"name": name, "input_dim": 6, "hyperparameters": {}},
            "metrics": {"val/temperature": 1.5},
        },
        training_state=None,
    )
    return checkpoint, EncodedProteins(model=model, states=states, device=torch.device("cpu"))


@pytest.mark.parametrize("name", sorted(MODEL_FACTORIES))
def test_a_worker_scores_as_this_process(name: str, tmp_path: Path) -> None:
    checkpoint, proteins = encoded(name)
    for plan in PLANS.values():
        scan = plan.scan(proteins)
        file = share_scan(tmp_path, plan, checkpoint, proteins)
        for number in range(len(scan.tasks)):
            here, there = tmp_path / "here", tmp_path / "there"
            for folder in (here, there):
                folder.mkdir(exist_ok=True)
            own = score_task(HeldScan(scan, here), number)
            other = score_task(SharedScan(file, there, "cpu"), number)
            assert own.name == other.name  # has the sha256
            own.unlink()
            other.unlink()


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    checkpoint, proteins = encoded("pooled_mlp")
    plan = PLANS[name]
    found, _ = open_scan(share_scan(tmp_path, plan, checkpoint, proteins), "cpu")
    assert (found.best, found.queries) == (plan.best, plan.queries)
    assert (found.min_probability, found.uncertainty) == (plan.min_probability, plan.uncertainty)
    np.testing.assert_array_equal(np.array(found.ranks), np.array(plan.ranks))
    if isinstance(plan.pairs, PairList):
        assert isinstance(found.pairs, PairList)
        np.testing.assert_array_equal(found.pairs.index, plan.pairs.index)
        return
    assert isinstance(found.pairs, PairGrid)
    assert found.pairs == plan.pairs
    assert (found.pairs.excluded is None) == (plan.pairs.excluded is None)
    if found.pairs.excluded and plan.pairs.excluded:
        assert found.pairs.excluded.digest == plan.pairs.excluded.digest


def test_a_task_whose_part_is_there_is_not_done_again(tmp_path: Path) -> None:
    _, proteins = encoded("pooled_mlp")
    path = score_task(HeldScan(PLANS["all"].scan(proteins), tmp_path), 0)
    assert score_task(SharedScan(tmp_path / "nothing", tmp_path, "cpu"), 0) == path
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_a_damaged_file_is_not_taken_up(tmp_path: Path) -> None:
    checkpoint, proteins = encoded("pooled_mlp")
    assert shared_scan(tmp_path) is None
    file = share_scan(tmp_path, PLANS["all"], checkpoint, proteins)
    assert shared_scan(tmp_path) == file
    file.write_bytes(file.read_bytes()[:-1])
    assert shared_scan(tmp_path) is None
