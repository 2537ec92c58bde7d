"""Tests of negatives that are redrawn each epoch."""

from __future__ import annotations

import torch

from ppi_train.features import PairData, VectorFeatures
from ppi_train.training.pair_task import redrawn_negatives

PROTEINS = 60


def data() -> PairData:
    """One pair in twenty is positive; negatives are mostly of the first proteins."""
    generator = torch.Generator().manual_seed(0)
    pairs = torch.combinations(torch.arange(PROTEINS))
    order = torch.randperm(len(pairs), generator=generator)
    positives = pairs[order[: len(pairs) // 20]]
    others = pairs[order[len(pairs) // 20 :]]
    likely = torch.rand(len(others), generator=generator) < 1 / (1 + others.sum(dim=1) / PROTEINS)
    negatives = others[likely]
    labels = torch.cat([torch.ones(len(positives)), torch.zeros(len(negatives))])
    together = torch.cat([positives, negatives])
    mixed = torch.randperm(len(labels), generator=generator)
    return PairData(
        features=VectorFeatures(torch.zeros(PROTEINS, 1)), pairs=together[mixed], labels=labels[mixed]
    )


def keys(pairs: torch.Tensor) -> set[tuple[int, int]]:
    return {(min(a, b), max(a, b)) for a, b in pairs.tolist()}


def test_positives_stay_and_no_negative_is_one() -> None:
    given = data()
    drawn = redrawn_negatives(given, seed=0, epoch=3)
    positive = given.labels == 1
    assert torch.equal(drawn[positive], given.pairs[positive])
    assert not keys(drawn[~positive]) & keys(given.pairs[positive])
    assert (drawn[:, 0] != drawn[:, 1]).all()


def test_an_epoch_has_its_own_negatives() -> None:
    given = data()
    negative = given.labels == 0
    first, again, second = (redrawn_negatives(given, seed=0, epoch=epoch) for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert (first[negative] != given.pairs[negative]).any(dim=1).float().mean() > 0.5
    assert (first[negative] != second[negative]).any(dim=1).float().mean() > 0.5


def test_proteins_keep_about_their_number_of_negatives() -> None:
    given = data()
    negative = given.labels == 0
    before, after = (
        torch.bincount(pairs[negative].reshape(-1), minlength=PROTEINS).double()
        for pairs in (given.pairs, redrawn_negatives(given, seed=0, epoch=0))
    )
    assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.9
