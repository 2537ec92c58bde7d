"""Training speed of the residue models, against the authors' `pair_transformer`.

    nice -n 10 python benchmarks/model_speed.py [--models v3 contact_map] [--steps 2] [--seconds 10]

Residue states of 640 numbers, float16, in memory, of proteins as long as human ones. The authors' way is
that of their released training: every pair encodes both of its proteins, each a random window of 512
residues padded to 512, 16 pairs a step, the second layer over both orders of the pair, attention with
dropout and 4096 random features. The models of the registry go through the project's loop with shared
batches; at most 36 pairs a protein, about as in Bernett's training set, so that large batches share
proteins as there. Each trains on as many pairs as fill the time: slow models on small batches.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from cache_reading import human_lengths
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, dropout, pad, silu
from torch.nn.utils.parametrizations import spectral_norm

from ppi_train.evaluation.pair_metrics import ranking_metrics
from ppi_train.features import PackedFeatures, PairData, with_static_features
from ppi_train.models.base import Packed
from ppi_train.models.device import resolve_amp
from ppi_train.models.registry import MODEL_FACTORIES, build_model, find_model
from ppi_train.runs.configs import TrainConfig
from ppi_train.training.pair_task import PairTask
from ppi_train.training.trainer import Trainer

DIMENSION = 640
PAIRS_PER_PROTEIN = 36
VALIDATION_PAIRS = 16
SMALL_BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="*", default=residue_models(), help="names of the registry")
    parser.add_argument("--steps", type=int, default=2, help="steps of the authors' way; 0: leave it out")
    parser.add_argument("--seconds", type=float, default=10, help="least time of training of a model")
    parser.add_argument("--proteins", type=int, default=4000)
    given = parser.parse_args()
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    print(f"{torch.get_num_threads()} threads, load {load}, {given.proteins:,} proteins\n", flush=True)
    packed = made_proteins(given.proteins)
    print("| model | pairs trained on | a step | pairs/s | times the authors' way |")
    print("| --- | --- | --- | --- | --- |")
    base = authors_rate(packed, given.steps) if given.steps else None
    if base:
        pairs = given.steps * SMALL_BATCH
        print(
            f"| pair_transformer, the authors' way | {pairs} | {SMALL_BATCH} | {base:,.2f} | 1 |", flush=True
        )
    for name in given.models:
        pairs, batch, rate = our_rate(name, packed, given.seconds)
        times = f"{rate / base:,.1f}" if base else ""
        print(f"| {name} | {pairs:,} | {batch:,} | {rate:,.2f} | {times} |", flush=True)


def residue_models() -> list[str]:
    """The models of the registry that take residues."""
    return [name for name in MODEL_FACTORIES if build_model(name, input_dim=8).GRANULARITY == "residue"]


def made_proteins(count: int) -> Packed:
    """Noise: pieces of one pool, since drawing gigabytes would take minutes."""
    lengths = human_lengths(count)
    lengths[count // 2] = 415  # Bernett's training set has no titin
    offsets = torch.tensor([0, *lengths.tolist()]).cumsum(0)
    generator = torch.Generator().manual_seed(0)
    pool = torch.randn(10_000, DIMENSION, generator=generator).half()
    return Packed(pool[torch.randint(len(pool), (int(offsets[-1]),), generator=generator)], offsets)


def drawn_pairs(packed: Packed, count: int) -> PairData:
    generator = torch.Generator().manual_seed(1)
    pairs = torch.randint(len(packed), (count, 2), generator=generator)
    labels = (torch.arange(count) % 2).float()
    return PairData(features=PackedFeatures(packed), pairs=pairs, labels=labels)


def our_rate(name: str, packed: Packed, seconds: float) -> tuple[int, int, float]:
    """Pairs trained on, pairs a step, and pairs a second; on more and more pairs, until that takes long."""
    most = PAIRS_PER_PROTEIN * len(packed)
    batch = MODEL_FACTORIES[name].BATCH_SIZE
    pairs = 2 * batch
    while True:
        rate = trained_rate(name, packed, pairs, batch)
        if pairs / rate >= seconds or pairs >= most:
            return pairs, batch, rate
        pairs = min(most, max(2 * pairs, int(1.2 * seconds * rate)))


def trained_rate(name: str, packed: Packed, pairs: int, batch: int) -> float:
    """Pairs per second of an epoch of the project's loop, without its validation."""
    torch.manual_seed(0)
    config = TrainConfig.of(epochs=1, early_stopping_patience=0)
    train = drawn_pairs(packed, pairs)
    model = build_model(name, input_dim=DIMENSION)
    model.fit_input_statistics([packed.take(torch.arange(min(100, len(packed))))])
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            config.training,
            scheduler=config.scheduler,
            amp=resolve_amp(config.compute.amp, "cpu", gains=find_model(name).GAINS_BY_BF16),
            task=PairTask(
                config.loss,
                seed=config.compute.seed,
                train=with_static_features(train, model),
                validation=drawn_pairs(packed.take(torch.arange(8)), VALIDATION_PAIRS),
                ranking_metrics=ranking_metrics,
                batch_size=batch,
                share_proteins=True,
            ),
            checkpoints=Path(folder),
            description={},
        )
        return trainer.run().units_per_second


def authors_rate(packed: Packed, steps: int) -> float:
    """Pairs per second of steps that are trained the authors' way; the first step is not counted."""
    torch.manual_seed(0)
    model = PublishedTransformer(DIMENSION)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    data = drawn_pairs(packed, (steps + 1) * SMALL_BATCH)
    started = time.perf_counter()
    for number, chosen in enumerate(torch.arange(len(data)).split(SMALL_BATCH)):
        if number == 1:
            started = time.perf_counter()
        sides = [windows(packed, data.pairs[chosen, side]) for side in (0, 1)]
        loss = binary_cross_entropy_with_logits(model(*sides[0], *sides[1]), data.labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return steps * SMALL_BATCH / (time.perf_counter() - started)


def windows(packed: Packed, proteins: Tensor, width: int = 512) -> tuple[Tensor, Tensor]:
    """Random windows of the proteins, padded, (n, width, d), and which residues are their own."""
    rng = np.random.default_rng(0)
    parts, lengths = [], []
    for protein in proteins.tolist():
        start, end = packed.offsets[protein : protein + 2].tolist()
        start += int(rng.integers(max(0, end - start - width) + 1))
        part = packed.values[start : min(end, start + width)].float()
        parts.append(pad(part, (0, 0, 0, width - len(part))))
        lengths.append(len(part))
    return torch.stack(parts), torch.arange(width) < torch.tensor(lengths)[:, None]


class PublishedLayer(nn.Module):
    """A transformer layer whose attention stands whole in memory, as in the authors' code."""

    def __init__(self, width: int = 64, heads: int = 8, inner: int = 256) -> None:
        super().__init__()
        self.heads = heads
        self.maps = nn.ModuleList(spectral_norm(nn.Linear(width, width)) for _ in range(4))
        self.widen, self.narrow = (
            spectral_norm(nn.Linear(width, inner)),
            spectral_norm(nn.Linear(inner, width)),
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x: Tensor, own: Tensor) -> Tensor:
        query, key, value = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in list(self.maps)[:3]
        )
        energy = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        energy = energy.masked_fill(~own[:, None, None], -1e10)
        seen = dropout(energy.softmax(dim=-1), 0.2) @ value
        x = self.norms[0](x + dropout(self.maps[3](seen.transpose(1, 2).flatten(2)), 0.2))
        return self.norms[1](x + dropout(self.narrow(dropout(silu(self.widen(x)), 0.2)), 0.2))  # type: ignore[no-any-return]


class PublishedTransformer(nn.Module):
    """The architecture behind `pair_transformer`, run as its authors run it."""

    def __init__(self, input_dim: int, width: int = 64, features: int = 4096) -> None:
        super().__init__()
        self.project = spectral_norm(nn.Linear(input_dim, width))
        self.within_protein, self.over_pair = PublishedLayer(width), PublishedLayer(width)
        self.register_buffer("frequencies", torch.randn(width, features // 2))
        self.output = nn.Linear(features, 1, bias=False)

    def forward(self, a: Tensor, own_a: Tensor, b: Tensor, own_b: Tensor) -> Tensor:
        """Both sides of n pairs, (n, residues, d) and (n, residues) -> logits (n,)."""
        a, b = self.within_protein(self.project(a), own_a), self.within_protein(self.project(b), own_b)
        orders = [self._mean(a, own_a, b, own_b), self._mean(b, own_b, a, own_a)]
        phases = torch.stack(orders).amax(dim=0) @ self.frequencies  # type: ignore[operator]
        return self.output(torch.cat([phases.cos(), phases.sin()], dim=1)).squeeze(1)  # type: ignore[no-any-return]

    def _mean(self, a: Tensor, own_a: Tensor, b: Tensor, own_b: Tensor) -> Tensor:
        own = torch.cat([own_a, own_b], dim=1)
        seen = self.over_pair(torch.cat([a, b], dim=1), own)
        return (seen * own[:, :, None]).sum(dim=1) / own.sum(dim=1, keepdim=True)  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
