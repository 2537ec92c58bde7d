"""Batches of pairs and their distinct proteins.

The batches of an epoch depend only on the seed and the epoch's number, so that a resumed run
needs no sampler state beyond its counters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ppi_train.features.vectors import Features

# With fewer groups than this a batch would contain most proteins anyway.
_FEWEST_GROUPS = 4


@dataclass(frozen=True, kw_only=True)
class PairData:
    """Pairs over a table of proteins, on one device.

    `features` of n proteins; `pairs` (n_pairs, 2) int64, row numbers of these; `labels` (n_pairs,)
    float32, 0 or 1.
    """

    features: Features
    pairs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.pairs)

    def to(self, device: torch.device) -> PairData:
        return PairData(
            features=self.features.to(device), pairs=self.pairs.to(device), labels=self.labels.to(device)
        )


@dataclass(frozen=True, kw_only=True)
class PairBatch:
    """A batch of pairs and their distinct proteins.

    `proteins` as `encode` takes them, `pairs` (m, 2) as rows of these, and `labels` (m,).
    """

    proteins: Any
    pairs: Tensor
    labels: Tensor


def epoch_order(count: int, *, seed: int, epoch: int, device: torch.device) -> Tensor:
    """A random permutation of the pairs for an epoch.

    It is drawn on the CPU, so that it is the same for every device.
    """
    return torch.randperm(count, generator=_generator(seed, epoch)).to(device)


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def groups_for_sharing(n_pairs: int, n_proteins: int, batch_size: int) -> int:
    """The number of protein groups for `shared_batches`.

    Two groups have about a batch of pairs between them.

    Even; 0 if the batches would not contain fewer proteins than those of a uniform order.
    """
    wanted = 2 * round(math.sqrt(2 * n_pairs / batch_size) / 2)
    groups = min(wanted, n_proteins // 8 * 2)
    return groups if groups >= _FEWEST_GROUPS else 0


def shared_batches(pairs: Tensor, n_proteins: int, groups: int, *, seed: int, epoch: int) -> list[Tensor]:
    """Batches that contain few distinct proteins each.

    A batch is all pairs between two groups of proteins; each pair occurs once an epoch.

    The groups are redrawn each epoch. Pairs within a group are combined with those within another group,
    which gives as many pairs, over as many proteins, as there are between two groups.

    Args:
        pairs: (n, 2) row numbers of proteins.
        groups: Number of groups G, even; there are G * G / 2 batches.

    Returns:
        Pair numbers of each batch, in random order; with few pairs a batch may be empty.
    """
    generator = _generator(seed, epoch)
    group = torch.empty(n_proteins, dtype=torch.int64)
    group[torch.randperm(n_proteins, generator=generator)] = torch.arange(n_proteins) % groups
    sides = group[pairs.cpu()].sort(dim=1).values
    low, high = sides[:, 0], sides[:, 1]
    # Batches 0 to G/2 - 1 are of two diagonal blocks each; the others count the blocks above the diagonal.
    above = groups // 2 + low * (2 * groups - low - 1) // 2 + high - low - 1
    number = torch.where(low == high, low // 2, above)
    shuffled = torch.randperm(len(pairs), generator=generator)
    order = shuffled[number[shuffled].argsort(stable=True)].to(pairs.device)
    sizes = torch.bincount(number, minlength=groups * groups // 2).tolist()
    batches = order.split(sizes)
    return [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]


def distinct_proteins(pairs: Tensor, n_proteins: int) -> tuple[Tensor, Tensor]:
    """The sorted distinct proteins of pairs, and the pairs renumbered.

    The pairs are returned as rows of the list of proteins.

    A table lookup over all proteins; an order of magnitude cheaper than sorting (`torch.unique`).
    """
    present = torch.zeros(n_proteins, dtype=torch.bool, device=pairs.device)
    present[pairs.reshape(-1)] = True
    proteins = present.nonzero().squeeze(1)
    row = torch.empty(n_proteins, dtype=torch.int64, device=pairs.device)
    row[proteins] = torch.arange(len(proteins), device=pairs.device)
    return proteins, row[pairs]


def load_batches(data: PairData, batches: Sequence[Tensor]) -> Iterator[PairBatch]:
    """Loads batches, given as pair numbers (m,), with their proteins.

    Proteins may be read ahead.
    """
    drawn: list[tuple[Tensor, Tensor]] = []

    def requests() -> Iterable[Tensor]:
        for chosen in batches:
            proteins, local = distinct_proteins(data.pairs[chosen], len(data.features))
            drawn.append((local, data.labels[chosen]))
            yield proteins

    with closing(cast(Any, data.features.load(requests()))) as loaded:
        for proteins in loaded:
            local, labels = drawn.pop(0)
            yield PairBatch(proteins=proteins, pairs=local, labels=labels)
