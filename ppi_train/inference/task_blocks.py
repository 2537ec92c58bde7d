"""The division of a scan's blocks into tasks.

It follows from the pairs and the kind of device alone, never from the time that anything takes, so that every
process divides a scan in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ppi_train.inference.pair_grid import PairGrid, PairList

# Pairs of a task on a CPU: about a second's work, which is lost if a worker dies. If this changes, so must
# the version of predictions: parts of another division cannot be continued.
TASK_PAIRS = 1 << 20
# A GPU does as many times more in that time.
_OF_GPU = 16

# Tasks of a scan for the best partners are larger than that where there would be more tasks than this: each
# gives the best of all its rows and columns.
_MOST_TILES = 2048


def task_runs(pairs: PairGrid | PairList, device: str) -> Sequence[Sequence[int]]:
    """Tasks of successive blocks, each of so many that they have `TASK_PAIRS` pairs.

    The blocks of a list are smaller, and each is a task: models that score single pairs are slow.

    Args:
        pairs: What is scored.
        device: Type of the device.
    """
    count = len(pairs.blocks)
    if isinstance(pairs, PairList):
        return [range(number, number + 1) for number in range(count)]
    runs, first, found = [], 0, 0
    for number in range(count):
        found += pairs.pairs_in(number)
        if found >= _task_pairs(device) or number == count - 1:
            runs.append(range(first, number + 1))
            first, found = number + 1, 0
    return runs


def task_tiles(grid: PairGrid, device: str) -> Sequence[Sequence[int]]:
    """Tasks of blocks that form squares, which have the fewest proteins for their pairs.

    Args:
        grid: What is scored.
        device: Type of the device.
    """
    pairs = max(_task_pairs(device), grid.pairs // _MOST_TILES)
    # A grid of few rows is cut into wider tiles.
    height = min(grid.shared + grid.only_a, _blocks_in(math.sqrt(pairs), grid.side) * grid.side)
    width = _blocks_in(pairs / height, grid.side) * grid.side
    tiles: dict[tuple[int, int], list[int]] = {}
    for number, block in enumerate(grid.blocks):
        tiles.setdefault((block.rows.start // height, block.columns.start // width), []).append(number)
    return list(tiles.values())


def _task_pairs(device: str) -> int:
    return TASK_PAIRS * _OF_GPU if device == "cuda" else TASK_PAIRS


def _blocks_in(proteins: float, side: int) -> int:
    return max(1, math.ceil(proteins / side))
