"""Which pairs make a batch, and which distinct proteins they hold.

The batches of an epoch follow from the seed and the epoch's number alone, so that a resumed run
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

from ppi_train.training.features import Features

# With fewer groups of proteins than that a batch holds most proteins anyway.
_FEWEST_GROUPS = 4


@dataclass(frozen=True, kw_only=True)
class PairData:
    """Pairs over a table of proteins, on one device.

    `features` of n proteins; `pairs` (n_pairs, 2) int64 rows of these; `labels` (n_pairs,) float32,
    0 or 1.
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
    """Distinct proteins as `encode` takes them, pairs (m, 2) as rows of these, and their labels (m,)."""

    proteins: Any
    pairs: Tensor
    labels: Tensor


def epoch_order(count: int, *, seed: int, epoch: int, device: torch.device) -> Tensor:
    """A permutation of the pairs, drawn on the CPU so that it is the same for every device."""
    return torch.randperm(count, generator=_generator(seed, epoch)).to(device)


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def groups_for_sharing(n_pairs: int, n_proteins: int, batch_size: int) -> int:
    """Into how many groups to part the proteins so that two groups have about a batch of pairs between them.

    Even; 0 where the batches would not hold fewer proteins than those of a uniform order.
    """
    wanted = 2 * round(math.sqrt(2 * n_pairs / batch_size) / 2)
    groups = min(wanted, n_proteins // 8 * 2)
    return groups if groups >= _FEWEST_GROUPS else 0


def shared_batches(pairs: Tensor, n_proteins: int, groups: int, *, seed: int, epoch: int) -> list[Tensor]:
    """Batches over few proteins: all pairs between two groups of them, each pair once an epoch.

    The groups are drawn anew each epoch. Pairs within a group go with those within another one, which
    makes as many, over as many proteins, as there are between two groups.

    Args:
        pairs: (n, 2) rows of proteins.
        groups: G, even; there are G * G / 2 batches.

    Returns:
        Numbers of the pairs of each batch, in random order; a batch of few pairs may be empty.
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
    return [batches[one] for one in torch.randperm(len(batches), generator=generator).tolist()]


def distinct_proteins(pairs: Tensor, n_proteins: int) -> tuple[Tensor, Tensor]:
    """The distinct proteins of some pairs, sorted, and the pairs as rows of that list.

    A table lookup over all proteins; an order of magnitude cheaper than sorting (`torch.unique`).
    """
    present = torch.zeros(n_proteins, dtype=torch.bool, device=pairs.device)
    present[pairs.reshape(-1)] = True
    proteins = present.nonzero().squeeze(1)
    row = torch.empty(n_proteins, dtype=torch.int64, device=pairs.device)
    row[proteins] = torch.arange(len(proteins), device=pairs.device)
    return proteins, row[pairs]


def load_batches(data: PairData, batches: Sequence[Tensor]) -> Iterator[PairBatch]:
    """The batches, each a list of pair numbers (m,), with their proteins, which may be read ahead."""
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
