"""Tests of pair batches: each pair once per epoch, reproducible order."""

from __future__ import annotations

import itertools

import pytest
import torch

from ppi_train.features import (
    PairData,
    VectorFeatures,
    distinct_proteins,
    epoch_order,
    groups_for_sharing,
    load_batches,
    shared_batches,
)

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
        features=VectorFeatures(torch.arange(20.0).reshape(20, 1)),
        pairs=torch.randint(20, (30, 2), generator=generator),
        labels=torch.arange(30.0),
    )
    order = epoch_order(30, seed=0, epoch=0, device=CPU)
    seen: list[float] = []
    for batch in load_batches(data, order.split(batch_size)):
        assert len(batch.labels) <= batch_size
        assert len(batch.proteins.unique()) == len(batch.proteins)
        rows = batch.labels.long()
        assert torch.equal(batch.proteins[batch.pairs].squeeze(-1), data.pairs[rows].float())
        seen += batch.labels.tolist()
    assert seen == order.tolist()


def test_shared_batches_hold_every_pair_once_over_few_proteins_anew_each_epoch() -> None:
    pairs = torch.randint(800, (20_000, 2), generator=torch.Generator().manual_seed(3))
    groups = groups_for_sharing(len(pairs), 800, batch_size=1000)
    assert groups == 6
    orders = []
    for epoch in range(2):
        batches = shared_batches(pairs, 800, groups, seed=0, epoch=epoch)
        again = shared_batches(pairs, 800, groups, seed=0, epoch=epoch)
        assert all(torch.equal(batch, repeated) for batch, repeated in zip(batches, again, strict=True))
        assert len(batches) == groups**2 // 2
        assert torch.equal(torch.cat(batches).sort().values, torch.arange(20_000))
        assert all(800 <= len(batch) <= 1400 for batch in batches)
        # Two sixths of the proteins, where a uniform batch of 1,000 pairs has nearly all of them.
        assert all(len(pairs[batch].unique()) <= 2 * 134 for batch in batches)
        orders.append(torch.cat(batches).tolist())
    assert orders[0] != orders[1]


@pytest.mark.parametrize(("n_pairs", "n_proteins", "batch_size"), [(100, 50, 64), (1000, 12, 10), (0, 0, 1)])
def test_few_pairs_or_proteins_are_not_worth_sharing(n_pairs: int, n_proteins: int, batch_size: int) -> None:
    assert groups_for_sharing(n_pairs, n_proteins, batch_size) == 0
