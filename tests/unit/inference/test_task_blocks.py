"""Tests of the division of blocks into tasks."""

from __future__ import annotations

import numpy as np
import pytest

from ppi_train.inference.pair_grid import PairGrid, PairList
from ppi_train.inference.task_blocks import TASK_PAIRS, task_runs, task_tiles

GRIDS = [
    PairGrid(shared=20_000),
    PairGrid(shared=100, only_a=3000, only_b=2500, side=64),
    PairGrid(shared=3, only_b=20_000),
    PairGrid(shared=1, include_self=True),
]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_each_block_is_in_one_task(grid: PairGrid, device: str) -> None:
    runs, tiles = task_runs(grid, device), task_tiles(grid, device)
    numbers = list(range(len(grid.blocks)))
    assert [number for run in runs for number in run] == numbers
    assert sorted(number for tile in tiles for number in tile) == numbers
    most = (TASK_PAIRS if device == "cpu" else 16 * TASK_PAIRS) * 2
    for task in (*runs, *tiles):
        assert sum(map(grid.pairs_in, task)) <= most


def test_a_proteome_has_tasks_of_a_block() -> None:
    grid = GRIDS[0]
    assert len(grid.blocks) == len(task_tiles(grid, "cpu")) == 210
    assert len(task_tiles(grid, "cuda")) == 15


def test_a_queried_protein_has_few_tasks() -> None:
    assert len(task_tiles(GRIDS[2], "cpu")) == 1


def test_ten_billion_pairs_have_a_few_thousand_tasks() -> None:
    grid = PairGrid(shared=141_422)
    assert grid.pairs > 1e10
    assert len(task_tiles(grid, "cpu")) < 2048
    assert len(task_runs(grid, "cpu")) < 10_000


def test_each_block_of_a_list_is_a_task() -> None:
    pairs = PairList(index=np.zeros((200_000, 2), np.int64))
    assert [list(run) for run in task_runs(pairs, "cpu")] == [[0], [1], [2], [3]]
