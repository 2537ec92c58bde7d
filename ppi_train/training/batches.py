"""The batches of an epoch: which pairs are in each.

They depend on nothing but the pairs, the seed and the epoch's number, so that a resumed run needs no sampler
state beyond its counters, and every process of a training can draw them by itself. Drawing them takes 8 bytes
a pair, and a bounded amount of memory in addition; 4 bytes a pair are kept. The processes of a machine can
share these in a file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ppi_train.io.shared_arrays import shared_array

# With fewer groups than this a batch would contain most proteins anyway.
_FEWEST_GROUPS = 4
# Proteins that lie next to one another in a cache and are read at once.
BLOCK = 16
# Pairs that are sorted at once: this bounds the memory, and is large enough for the speed of a sort.
PART = 1 << 18


def uniform_batches(
    count: int, batch_size: int, *, seed: int, epoch: int, file: Path | None = None
) -> list[Tensor]:
    """Batches of pairs in random order.

    Drawn on the CPU, so that they are the same for every device.

    Args:
        count: Number of pairs.
        file: Where the processes of a machine share the order; None to keep it in memory.

    Returns:
        Pair numbers of each batch, int32.
    """
    generator = epoch_generator(seed, epoch)
    order = in_file(file, lambda: torch.randperm(count, generator=generator, dtype=torch.int32))
    return list(order.split(batch_size))


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The source of what an epoch draws."""
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def groups_for_sharing(n_pairs: int, n_proteins: int, batch_size: int, *, block: int = 1) -> int:
    """The number of protein groups for `shared_batches`.

    Two groups have about a batch of pairs between them.

    Even; 0 if the batches would not contain fewer proteins than those of a uniform order.

    Args:
        block: Proteins that are always in the same group.
    """
    wanted = 2 * round(math.sqrt(2 * n_pairs / batch_size) / 2)
    groups = min(wanted, n_proteins // max(8, 2 * block) * 2)
    return groups if groups >= _FEWEST_GROUPS else 0


def shared_batches(
    pairs: Tensor,
    n_proteins: int,
    groups: int,
    *,
    seed: int,
    epoch: int,
    positions: Tensor | None = None,
    file: Path | None = None,
) -> list[Tensor]:
    """Batches that contain few distinct proteins each.

    A batch is all pairs between two groups of proteins; each pair occurs once an epoch.

    The groups are redrawn each epoch. Pairs within a group are combined with those within another group,
    which gives as many pairs, over as many proteins, as there are between two groups.

    Args:
        pairs: (n, 2) row numbers of proteins, on the CPU.
        groups: Number of groups G, even; there are G * G / 2 batches.
        positions: (n_proteins,) order of the proteins in their cache: a group is then made of blocks of
            BLOCK neighbours, which can be read at once. None for groups of single proteins.
        file: Where the processes of a machine share the order; None to keep it in memory.

    Returns:
        Pair numbers of each batch, int32, in random order; with few pairs a batch may be empty.
    """
    n_batches = groups * groups // 2

    def draw() -> Tensor:
        generator = epoch_generator(seed, epoch)
        group = _protein_groups(n_proteins, groups, positions, generator)
        return _sizes_and_order(pairs, group, groups, generator)

    sizes, order = in_file(file, draw).tensor_split([n_batches])
    return list(order.split(sizes.tolist()))


def in_file(file: Path | None, draw: Callable[[], Tensor]) -> Tensor:
    """A tensor on the CPU, in a file that the processes of a machine share, or in memory."""
    return draw() if file is None else torch.from_numpy(shared_array(file, lambda: draw().numpy()))


def _protein_groups(
    n_proteins: int, groups: int, positions: Tensor | None, generator: torch.Generator
) -> Tensor:
    """The group of each protein, (n_proteins,) int64."""
    blocks = torch.arange(n_proteins)
    if positions is not None:
        blocks[positions.argsort()] = torch.arange(n_proteins) // BLOCK
    n_blocks = int(blocks.max()) + 1
    group = torch.empty(n_blocks, dtype=torch.int64)
    group[torch.randperm(n_blocks, generator=generator)] = torch.arange(n_blocks) % groups
    return group[blocks]


def _sizes_and_order(pairs: Tensor, group: Tensor, groups: int, generator: torch.Generator) -> Tensor:
    """The sizes of the batches and then the pair numbers, batch by batch; int32.

    A stable counting sort of the shuffled pairs by their batch, a part at a time.
    """
    n_batches = groups * groups // 2
    shuffled = torch.randperm(len(pairs), generator=generator, dtype=torch.int32)
    place = torch.empty(n_batches, dtype=torch.int64)
    place[torch.randperm(n_batches, generator=generator)] = torch.arange(n_batches)

    def batch_of(part: Tensor) -> Tensor:
        return place[_block_of_groups(group[part], groups)]

    sizes = torch.zeros(n_batches, dtype=torch.int64)
    for part in pairs.split(PART):
        sizes += torch.bincount(batch_of(part), minlength=n_batches)
    packed = torch.empty(n_batches + len(pairs), dtype=torch.int32)
    packed[:n_batches] = sizes
    free = n_batches + sizes.cumsum(0) - sizes  # where the next pair of each batch goes
    for part in shuffled.split(PART):
        batches, order = batch_of(pairs[part]).sort(stable=True)
        counts = torch.bincount(batches, minlength=n_batches)
        before = counts.cumsum(0) - counts
        packed[(free - before)[batches] + torch.arange(len(part))] = part[order]
        free += counts
    return packed


def _block_of_groups(sides: Tensor, groups: int) -> Tensor:
    """The number of the batch of pairs between the groups `sides` (n, 2).

    Batches 0 to G/2 - 1 are of two diagonal blocks each; the others count the blocks above the diagonal.
    """
    low, high = torch.minimum(*sides.unbind(1)), torch.maximum(*sides.unbind(1))
    above = groups // 2 + low * (2 * groups - low - 1) // 2 + high - low - 1
    return torch.where(low == high, low // 2, above)
