"""Which pairs make a batch, and which distinct proteins they hold.

The order of an epoch follows from the seed and the epoch's number alone, so that a resumed run
needs no sampler state beyond its counters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PairData:
    """Pairs over a table of proteins, on one device.

    `features` (n_proteins, d) float32; `pairs` (n_pairs, 2) int64 rows of features; `labels`
    (n_pairs,) float32, 0 or 1.
    """

    features: Tensor
    pairs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.pairs)

    def to(self, device: torch.device) -> PairData:
        return PairData(
            features=self.features.to(device), pairs=self.pairs.to(device), labels=self.labels.to(device)
        )


def epoch_order(count: int, *, seed: int, epoch: int, device: torch.device) -> Tensor:
    """A permutation of the pairs, drawn on the CPU so that it is the same for every device."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(count, generator=generator).to(device)


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


def batch_of(data: PairData, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features of the chosen pairs' distinct proteins, the pairs as rows of these, and their labels."""
    proteins, local = distinct_proteins(data.pairs[chosen], len(data.features))
    return data.features[proteins], local, data.labels[chosen]
