"""Tests of the batches of an epoch: each pair once, as in earlier versions, in little memory."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ppi_train.config.options import PairLossOptions
from ppi_train.features import PairData, VectorFeatures
from ppi_train.training import batches as drawing
from ppi_train.training import pair_task
from ppi_train.training.batches import BLOCK, groups_for_sharing, shared_batches, uniform_batches
from ppi_train.training.pair_task import PairTask, redrawn_negatives

# What version 0.2 drew for 300,000 pairs of 3,000 proteins: (seed, epoch) -> shared batches of 512 pairs, a
# uniform order, and new negatives. A run that it began goes on with the same pairs.
BEFORE = {
    (0, 0): ("33e9ec0ba7d30ccb", "870cdaa434149618", "ef8de5fb4f67d9a4"),
    (7, 4): ("9e187e3591d448c0", "e232c9b56d53f218", "4c751ce053772612"),
}


def pair_data() -> PairData:
    generator = torch.Generator().manual_seed(3)
    pairs = torch.randint(3000, (300_000, 2), generator=generator)
    positive = torch.rand(300_000, generator=generator) < 0.3
    return PairData(
        features=VectorFeatures(torch.zeros(3000, 1)), pairs=pairs.int(), labels=positive.to(torch.int8)
    )


def digest(batches: list[Tensor]) -> str:
    content = b"".join(batch.numpy().astype("<i8").tobytes() + b"|" for batch in batches)
    return hashlib.sha256(content).hexdigest()[:16]


@pytest.mark.parametrize("part", [1 << 18, 777])
def test_batches_are_those_of_earlier_versions(monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr(drawing, "PART", part)
    monkeypatch.setattr(pair_task, "PART", part)
    data = pair_data()
    groups = groups_for_sharing(len(data), 3000, 512)
    assert groups == 34
    for (seed, epoch), (shared, uniform, negatives) in BEFORE.items():
        assert digest(shared_batches(data.pairs, 3000, groups, seed=seed, epoch=epoch)) == shared
        assert digest(uniform_batches(len(data), 512, seed=seed, epoch=epoch)) == uniform
        assert digest([redrawn_negatives(data, seed=seed, epoch=epoch)]) == negatives


def test_a_uniform_order_is_a_permutation_that_seed_and_epoch_fix() -> None:
    orders = {
        (seed, epoch): uniform_batches(1000, 300, seed=seed, epoch=epoch)
        for seed, epoch in itertools.product(range(3), range(4))
    }
    torch.rand(5)  # the global generator has no part in it
    for (seed, epoch), batches in orders.items():
        assert [len(batch) for batch in batches] == [300, 300, 300, 100]
        assert torch.equal(torch.cat(batches).sort().values, torch.arange(1000))
        again = uniform_batches(1000, 300, seed=seed, epoch=epoch)
        assert torch.equal(torch.cat(batches), torch.cat(again))
    assert len({tuple(torch.cat(batches).tolist()) for batches in orders.values()}) == 12


@pytest.mark.parametrize("blocks", [False, True])
def test_shared_batches_have_every_pair_once_over_few_proteins_new_each_epoch(blocks: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    pairs = torch.randint(800, (20_000, 2), generator=generator, dtype=torch.int32)
    positions = torch.randperm(800, generator=generator) if blocks else None
    groups = groups_for_sharing(len(pairs), 800, batch_size=1000, block=BLOCK if blocks else 1)
    assert groups == 6
    orders = []
    for epoch in range(2):
        batches, again = (
            shared_batches(pairs, 800, groups, seed=0, epoch=epoch, positions=positions) for _ in range(2)
        )
        assert all(torch.equal(batch, repeated) for batch, repeated in zip(batches, again, strict=True))
        assert len(batches) == groups**2 // 2
        assert torch.equal(torch.cat(batches).sort().values, torch.arange(20_000))
        # Two sixths of the proteins, where a uniform batch of 1,000 pairs has nearly all of them.
        most = 2 * (9 * BLOCK if blocks else 134)
        assert all(len(pairs[batch.long()].unique()) <= most for batch in batches)
        orders.append(torch.cat(batches).tolist())
    assert orders[0] != orders[1]


def test_blocks_bring_neighbours_in_the_cache_together() -> None:
    generator = torch.Generator().manual_seed(4)
    pairs = torch.combinations(torch.arange(8 * BLOCK)).int()  # so that a batch needs whole groups
    rows = torch.randperm(1000, generator=generator)[: 8 * BLOCK]  # the cache has other proteins as well
    block = rows.argsort().argsort() // BLOCK
    batches = shared_batches(pairs, 8 * BLOCK, 4, seed=0, epoch=0, positions=rows)
    assert torch.equal(torch.cat(batches).sort().values, torch.arange(len(pairs)))
    for batch in batches:
        of_batch = block[pairs[batch.long()].unique().long()].bincount(minlength=8)
        assert sorted(of_batch.tolist()) == [0] * 4 + [BLOCK] * 4


@pytest.mark.parametrize(
    ("n_pairs", "n_proteins", "batch_size", "block"),
    [(100, 50, 64, 1), (1000, 12, 10, 1), (0, 0, 1, 1), (1000, 63, 10, 16)],
)
def test_few_pairs_or_proteins_are_not_worth_sharing(
    n_pairs: int, n_proteins: int, batch_size: int, block: int
) -> None:
    assert groups_for_sharing(n_pairs, n_proteins, batch_size, block=block) == 0


def task(data: PairData, folder: Path | None, *, shared: bool, fresh_negatives: bool = False) -> PairTask:
    return PairTask(
        PairLossOptions(), seed=1, train=data, validation=data, ranking_metrics=lambda _, __: {},
        batch_size=512, share_proteins=shared, fresh_negatives=fresh_negatives, folder=folder,
    )  # fmt: skip


@pytest.mark.parametrize(("shared", "fresh_negatives"), [(True, False), (True, True), (False, False)])
def test_processes_share_the_files_of_an_epoch(tmp_path: Path, shared: bool, fresh_negatives: bool) -> None:
    data = pair_data()
    alone, first, second = (
        task(data, folder, shared=shared, fresh_negatives=fresh_negatives)
        for folder in (None, tmp_path / "epoch", tmp_path / "epoch")
    )
    for epoch in range(3):
        drawn = [each.batches(epoch) for each in (alone, first, second)]
        loaded = [
            next(each.load(found[-1:])) for each, found in zip((alone, first, second), drawn, strict=True)
        ]
        assert len({digest(list(batches)) for batches in drawn}) == 1
        assert all(torch.equal(batch.pairs, loaded[0].pairs) for batch in loaded)
        assert all(torch.equal(batch.labels, loaded[0].labels) for batch in loaded)
    left = {path.name for path in (tmp_path / "epoch").iterdir() if not path.name.startswith(".")}
    names = {f"order-of-{first.n_batches}-2.npy"} | ({"pairs-2.npy"} if fresh_negatives else set())
    assert left == names


# Prints the growth of the highest memory, in bytes a pair, from before the pairs are there.
MEASURED = """
import resource, sys
import numpy as np, torch
from ppi_train.training.batches import groups_for_sharing, shared_batches

def drawn(count):
    pairs = torch.randint(5000, (count, 2), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    groups = groups_for_sharing(count, 5000, 1024)
    return pairs, shared_batches(pairs, 5000, groups, seed=0, epoch=0)

def highest():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

drawn(500_000)
before = highest()
kept = drawn(4_000_000)
print((highest() - before) / 4_000_000)
"""


def test_an_epoch_takes_few_bytes_a_pair() -> None:
    command = [sys.executable, "-c", MEASURED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # Pairs 8, order 4, a permutation 4, and what does not grow with the pairs; version 0.2 took 112.
    assert float(done.stdout) < 24
