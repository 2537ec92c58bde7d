"""Negatives drawn anew for each epoch, so that a model cannot learn the drawn ones by heart."""

from __future__ import annotations

import torch
from torch import Tensor

from ppi_train.training.batches import PairData


def redrawn_negatives(data: PairData, *, seed: int, epoch: int) -> Tensor:
    """Pairs of which the negatives' ends are paired anew; the positives stay.

    Each protein keeps its number of negatives, but for a few, so that the number of partners gives nothing
    away that it did not before. Where the new pair would be a protein with itself, or a positive, the given
    one stays.

    Args:
        data: Pairs (n, 2) and their labels.
        seed, epoch: The same give the same pairs, whatever the device.

    Returns:
        (n, 2), in the order of `data`.
    """
    pairs, negative = data.pairs.cpu(), data.labels.cpu() == 0
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    given = pairs[negative]
    ends = given.reshape(-1)
    drawn = ends[torch.randperm(len(ends), generator=generator)].view(-1, 2)
    known = _keys(pairs[~negative], len(data.features))
    unusable = (drawn[:, 0] == drawn[:, 1]) | torch.isin(_keys(drawn, len(data.features)), known)
    redrawn = pairs.clone()
    redrawn[negative] = torch.where(unusable[:, None], given, drawn)
    return redrawn.to(data.pairs.device)


def _keys(pairs: Tensor, proteins: int) -> Tensor:
    """One number for each unordered pair."""
    return pairs.amin(dim=1) * proteins + pairs.amax(dim=1)
