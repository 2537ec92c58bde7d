"""Which pairs make a batch: each once an epoch, in an order that the seed and the epoch fix."""

from __future__ import annotations

import itertools

import pytest
import torch

from ppi_train.training.batches import PairData, batch_of, distinct_proteins, epoch_order

CPU = torch.device("cpu")


@pytest.mark.parametrize(("n_proteins", "n_pairs"), [(1, 1), (5, 40), (1000, 40), (7, 0)])
def test_distinct_proteins_are_those_of_unique(n_proteins: int, n_pairs: int) -> None:
    pairs = torch.randint(n_proteins, (n_pairs, 2), generator=torch.Generator().manual_seed(1))
    proteins, local = distinct_proteins(pairs, n_proteins)
    expected, rows = torch.unique(pairs, return_inverse=True)
    assert torch.equal(proteins, expected)
    assert torch.equal(local, rows)


def test_an_order_is_a_permutation_that_seed_and_epoch_fix() -> None:
    orders = {
        (seed, epoch): epoch_order(1000, seed=seed, epoch=epoch, device=CPU)
        for seed, epoch in itertools.product(range(3), range(4))
    }
    torch.rand(5)  # the global generator has no part in it
    for (seed, epoch), order in orders.items():
        assert torch.equal(order.sort().values, torch.arange(1000))
        assert torch.equal(order, epoch_order(1000, seed=seed, epoch=epoch, device=CPU))
    assert len({tuple(order.tolist()) for order in orders.values()}) == 12


@pytest.mark.parametrize("batch_size", [1, 7, 30, 100])
def test_batches_hold_every_pair_once_with_its_own_features_and_label(batch_size: int) -> None:
    generator = torch.Generator().manual_seed(2)
    # Each protein and each pair is told by its number.
    data = PairData(
        features=torch.arange(20.0).reshape(20, 1),
        pairs=torch.randint(20, (30, 2), generator=generator),
        labels=torch.arange(30.0),
    )
    order = epoch_order(30, seed=0, epoch=0, device=CPU)
    seen: list[float] = []
    for chosen in order.split(batch_size):
        features, local, labels = batch_of(data, chosen)
        assert len(labels) <= batch_size
        assert len(features.unique()) == len(features)
        rows = labels.long()
        assert torch.equal(features[local].squeeze(-1), data.pairs[rows].float())
        seen += labels.tolist()
    assert seen == order.tolist()
