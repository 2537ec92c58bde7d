"""Tests of protein features from caches, and of loading pairs with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ppi_train import features as protein_features
from ppi_train.data.fasta import sequence_digest
from ppi_train.embeddings.cache import CacheSpec
from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.features import (
    Features,
    PackedFeatures,
    PairData,
    StaticFeatures,
    VectorFeatures,
    distinct_proteins,
    features_of,
    features_of_embeddings,
    load_batches,
)
from ppi_train.models.base import Packed

States = dict[str, np.ndarray]
LENGTHS = [5, 1, 30, 7, 12]


def states(granularity: str) -> States:
    rng = np.random.default_rng(0)
    lengths = LENGTHS if granularity == "residue" else [1] * len(LENGTHS)
    drawn = {f"P{n}": rng.normal(size=(length, 4)).astype(np.float16) for n, length in enumerate(lengths)}
    return drawn if granularity == "residue" else {name: array[0] for name, array in drawn.items()}


def cache(folder: Path, granularity: str) -> EmbeddingCache:
    spec = CacheSpec(
        embedder={"name": "noise", "parameters": {}, "digest": "ab" * 32}, dimension=4,
        granularity=granularity, dtype="float16", max_length=None, truncation="head", fasta_digest="cd" * 32,
    )  # fmt: skip
    path = folder / f"{granularity}.parquet"
    with CacheWriter(path, spec) as writer:
        for length, (protein, array) in zip(LENGTHS, states(granularity).items(), strict=True):
            writer.add(protein, sequence_digest(protein), length, array)
    return EmbeddingCache(path)


def proteins_of(loaded: Packed | torch.Tensor) -> list[np.ndarray]:
    if isinstance(loaded, Packed):
        return [tensor.numpy() for tensor in loaded.values.split(loaded.lengths.tolist())]
    return [tensor.numpy() for tensor in loaded]


def expected(stored: str, wanted: str) -> list[np.ndarray]:
    given = states(stored).values()
    if (stored, wanted) == ("residue", "protein"):
        return [array.mean(axis=0, dtype=np.float32) for array in given]
    if (stored, wanted) == ("protein", "residue"):
        return [array[None].astype(np.float32) for array in given]
    return [array.astype(np.float32) for array in given]


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("wanted", ["protein", "residue"])
@pytest.mark.parametrize("stored", ["protein", "residue"])
def test_each_protein_comes_with_its_own_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str, wanted: str, in_memory: bool
) -> None:
    monkeypatch.setattr(protein_features, "_CHUNK_RESIDUES", 20)
    features: Features = (
        features_of_embeddings(list(states(stored).values()), stored, wanted)
        if in_memory
        else features_of(cache(tmp_path, stored), list(states(stored)), wanted)
    )
    assert len(features) == 5
    requests = [[4, 0], [2], [0, 1, 2, 3, 4]]
    loaded = list(features.to(torch.device("cpu")).load(torch.tensor(request) for request in requests))
    for rows, batch in zip(requests, loaded, strict=True):
        for row, got in zip(rows, proteins_of(batch), strict=True):
            np.testing.assert_allclose(got, expected(stored, wanted)[row], rtol=1e-6)
    assert torch.cat(list(features.chunks())).tolist() == [0, 1, 2, 3, 4]
    if stored == wanted == "residue":  # 55 residues, some 20 at a time
        assert [len(chunk) for chunk in features.chunks()] == [2, 1, 2]


@pytest.mark.parametrize("room", [5, 3])
def test_what_a_model_makes_of_a_protein_is_made_once_if_there_is_room(
    monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(protein_features, "_MOST_KEPT", room * 2 * 4)
    made: list[float] = []

    def describe(proteins: Packed) -> torch.Tensor:
        first = proteins.values[proteins.offsets[:-1]].float()
        made.extend(first[:, 0].tolist())
        return torch.stack([first[:, 0], proteins.lengths.float()], dim=1)

    offsets = torch.tensor([0, *LENGTHS]).cumsum(0)
    numbered = torch.arange(5.0).repeat_interleave(torch.tensor(LENGTHS))[:, None].half()
    features = StaticFeatures(PackedFeatures(Packed(numbered, offsets)), describe, 2)
    requests = [[4, 0], [2, 4, 1], [0, 1, 2, 3, 4], [3, 4]]
    for rows, loaded in zip(
        requests, features.load(torch.tensor(request) for request in requests), strict=True
    ):
        assert loaded.described is not None
        assert loaded.described.tolist() == [[row, LENGTHS[row]] for row in rows]
    assert sorted(made) == ([0, 1, 2, 3, 4] if room == 5 else [0, 1, 2, 3, 3, 4, 4, 4, 4])


@pytest.mark.parametrize(("n_proteins", "n_pairs"), [(1, 1), (5, 40), (1000, 40), (7, 0)])
def test_distinct_proteins_are_those_of_unique(n_proteins: int, n_pairs: int) -> None:
    pairs = torch.randint(n_proteins, (n_pairs, 2), generator=torch.Generator().manual_seed(1))
    proteins, local = distinct_proteins(pairs, n_proteins)
    expected, rows = torch.unique(pairs, return_inverse=True)
    assert torch.equal(proteins, expected)
    assert torch.equal(local, rows)


@pytest.mark.parametrize("batch_size", [1, 7, 30, 100])
def test_batches_hold_every_pair_once_with_its_own_features_and_label(batch_size: int) -> None:
    generator = torch.Generator().manual_seed(2)
    # Each protein and each pair is told by its number.
    data = PairData(
        features=VectorFeatures(torch.arange(20.0).reshape(20, 1)),
        pairs=torch.randint(20, (30, 2), generator=generator, dtype=torch.int32),
        labels=torch.arange(30, dtype=torch.int8),
    )
    order = torch.randperm(30, generator=generator, dtype=torch.int32)
    seen: list[float] = []
    for batch in load_batches(data, order.split(batch_size)):
        assert len(batch.labels) <= batch_size
        assert len(batch.proteins.unique()) == len(batch.proteins)
        rows = batch.labels.long()
        assert torch.equal(batch.proteins[batch.pairs].squeeze(-1), data.pairs[rows].float())
        seen += batch.labels.tolist()
    assert seen == order.tolist()
