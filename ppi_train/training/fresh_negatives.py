"""New negatives for each epoch, so that a model cannot memorise them."""

from __future__ import annotations

import torch
from torch import Tensor

from ppi_train.features import PairData


def redrawn_negatives(data: PairData, *, seed: int, epoch: int) -> Tensor:
    """Pairs with re-paired negatives; the positives stay the same.

    Almost every protein keeps its number of negatives, so that the number of partners carries no new
    information. Where the new pair would be a protein with itself, or a positive, the given pair stays.

    Args:
        data: Pairs (n, 2) and their labels.
        seed, epoch: Equal values give equal pairs, on every device.

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
