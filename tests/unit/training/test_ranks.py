"""Tests of training on several processes: the number of ranks changes no digit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ppi_train.training.ranks import SingleProcess, _block, halves, tree_sum
from tests.support import ROOT
from tests.support.faults import free_port


def _train(folder: Path, model: str, accumulation: int, size: int, *more: str) -> list[np.ndarray]:
    """Trains on so many processes; gives the weights and the last step of each."""
    folder = folder / f"{size}"
    folder.mkdir()
    command = [
        sys.executable,
        "-m",
        "tests.support.rank_process",
        model,
        str(accumulation),
        str(folder),
        *more,
    ]
    common = {
        "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    processes = [
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, **common, "RANK": str(rank)})
        for rank in range(size)
    ]
    assert [process.wait(timeout=600) for process in processes] == [0] * size
    return [np.load(folder / f"rank{rank}.npy") for rank in range(size)]


@pytest.mark.slow
@pytest.mark.parametrize(("accumulation", "sizes"), [(2, (2,)), (4, (2, 4))])
@pytest.mark.parametrize("model", ["pooled_mlp", "v3", "contact_map", "pair_transformer"])
def test_any_number_of_ranks_gives_the_bits_of_one_process(
    tmp_path: Path, model: str, accumulation: int, sizes: tuple[int, ...]
) -> None:
    (alone,) = _train(tmp_path, model, accumulation, 1)
    for size in sizes:
        for weights in _train(tmp_path, model, accumulation, size):
            np.testing.assert_array_equal(weights, alone)


@pytest.mark.slow
def test_ranks_on_two_machines_get_the_same_bits(tmp_path: Path) -> None:
    (alone,) = _train(tmp_path, "pooled_mlp", 2, 1)
    for weights in _train(tmp_path, "pooled_mlp", 2, 2, "apart"):
        np.testing.assert_array_equal(weights, alone)


@pytest.mark.slow
def test_all_ranks_stop_after_the_step_in_which_one_was_asked_to(tmp_path: Path) -> None:
    ends = _train(tmp_path, "pooled_mlp", 2, 2, "3")
    assert [int(weights[-1]) for weights in ends] == [3, 3]
    np.testing.assert_array_equal(ends[0], ends[1])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("count", range(1, 9))
def test_every_batch_is_dealt_to_one_rank_in_order(size: int, count: int) -> None:
    dealt = [number for rank in range(size) for number in _block(range(count), rank, size)]
    assert dealt == list(range(count))


@pytest.mark.parametrize("size", [2, 4])
def test_sums_of_blocks_add_up_to_the_tree_of_all(size: int) -> None:
    values = [torch.tensor(value) for value in (1e8, 1.0, -1e8, 1.0, 3e7, 0.1, 0.7, 2.0)]
    blocks = [_block(range(8), rank, size) for rank in range(size)]
    parts = [tree_sum([values[number] for number in block]) for block in blocks]
    assert tree_sum(parts) == tree_sum(values)


def test_the_tree_splits_in_halves_of_which_the_first_is_larger() -> None:
    assert halves(range(3, 8)) == (range(3, 6), range(6, 8))
    assert SingleProcess().block(3) == range(3)
