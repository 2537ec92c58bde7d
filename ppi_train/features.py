"""Protein features, and pairs over them.

Features are vectors in memory, or residues that are read from the cache on demand. A batch has pairs and
their distinct proteins, each of which is encoded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from ppi_train.embeddings.cache.reader import EmbeddingCache, ResidueBatches
from ppi_train.io.prefetch import Buffers
from ppi_train.models.base import Packed, PairModel

_ROWS = 8192

# Residues encoded at once outside training: enough to be fast, few enough for any memory.
_CHUNK_RESIDUES = 65_536
# Memory limit of the descriptors that are kept between epochs, in bytes.
_MOST_KEPT = 512 << 20


class Features(Protocol):
    """A numbered table of proteins, as models take them."""

    def __len__(self) -> int:
        """The number of proteins in the table."""

    def load(self, requests: Iterable[Tensor]) -> Iterator[Any]:
        """Yields what `encode` takes for each request of proteins (n,).

        Requests may be consumed ahead of what is yielded.
        """

    def chunks(self) -> Sequence[Tensor]:
        """Protein numbers in order, in chunks small enough to encode at once."""

    def to(self, device: torch.device) -> Features:
        """The table, yielding tensors on that device."""


@dataclass(frozen=True)
class VectorFeatures:
    """One vector a protein, (n, d) float32, in memory."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def load(self, requests: Iterable[Tensor]) -> Iterator[Tensor]:
        for rows in requests:
            yield self.values[rows]

    def chunks(self) -> Sequence[Tensor]:
        return list(torch.arange(len(self.values), device=self.values.device).split(_ROWS))

    def to(self, device: torch.device) -> VectorFeatures:
        return VectorFeatures(self.values.to(device))


@dataclass(frozen=True)
class ProteinIterator:
    """An iterable over all proteins in chunks, as `encode` takes them.

    It can be iterated more than once.
    """

    features: Features

    def __iter__(self) -> Iterator[Any]:
        return self.features.load(self.features.chunks())


@dataclass(frozen=True, kw_only=True)
class PairData:
    """Pairs over a table of proteins, on one device.

    `features` of n proteins; `pairs` (n_pairs, 2), row numbers of these; `labels` (n_pairs,), 0 or 1; both of
    any type of number, so that they can stay as they were read. `positions` (n,) int64, the rows of the
    proteins in their cache, if they are from one.
    """

    features: Features
    pairs: Tensor
    labels: Tensor
    positions: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    def to(self, device: torch.device) -> PairData:
        return replace(
            self,
            features=self.features.to(device),
            pairs=self.pairs.to(device),
            labels=self.labels.to(device),
        )


@dataclass(frozen=True, kw_only=True)
class PairBatch:
    """A batch of pairs and their distinct proteins.

    `proteins` as `encode` takes them, `pairs` (m, 2) int64 as rows of these, and `labels` (m,) float32.
    """

    proteins: Any
    pairs: Tensor
    labels: Tensor


def distinct_proteins(pairs: Tensor, n_proteins: int) -> tuple[Tensor, Tensor]:
    """The sorted distinct proteins of pairs, and the pairs renumbered.

    The pairs are returned as rows of the list of proteins.

    A table lookup over all proteins; an order of magnitude cheaper than sorting (`torch.unique`).
    """
    present = torch.zeros(n_proteins, dtype=torch.bool, device=pairs.device)
    present[pairs.reshape(-1)] = True
    proteins = present.nonzero().squeeze(1)
    row = torch.empty(n_proteins, dtype=torch.int64, device=pairs.device)
    row[proteins] = torch.arange(len(proteins), device=pairs.device)
    return proteins, row[pairs]


def load_batches(data: PairData, batches: Sequence[Tensor]) -> Iterator[PairBatch]:
    """Loads batches, given as pair numbers (m,), with their proteins.

    Proteins may be read ahead.
    """
    drawn: list[tuple[Tensor, Tensor]] = []

    def requests() -> Iterable[Tensor]:
        for batch in batches:
            chosen = batch.to(data.pairs.device, torch.int64)
            proteins, local = distinct_proteins(data.pairs[chosen].long(), len(data.features))
            drawn.append((local, data.labels[chosen].float()))
            yield proteins

    with closing(cast(Any, data.features.load(requests()))) as loaded:
        for proteins in loaded:
            local, labels = drawn.pop(0)
            yield PairBatch(proteins=proteins, pairs=local, labels=labels)


def features_of(cache: EmbeddingCache, proteins: Sequence[str], granularity: str) -> Features:
    """Features of cached proteins for a model of the given granularity.

    If the cache has another granularity, residues are averaged into one vector, or a vector becomes a
    protein of one residue.

    Raises:
        CacheError: see `EmbeddingCache.protein_matrix`; for residues, raised only when they are read.
    """
    if granularity == "residue" and cache.spec.granularity == "residue":
        return ResidueFeatures(cache=cache, proteins=tuple(proteins))
    vectors = VectorFeatures(torch.from_numpy(cache.protein_matrix(proteins)))
    return SingleResidues(vectors) if granularity == "residue" else vectors


def features_of_embeddings(embeddings: Sequence[np.ndarray], stored: str, granularity: str) -> Features:
    """Features of embeddings in memory for a model of the given granularity.

    Args:
        embeddings: One array a protein, in the number format of the cache.
        stored: Granularity of the embeddings, as in the cache.
        granularity: Granularity of the model.
    """
    if granularity == "residue":
        parts = [torch.from_numpy(array.reshape(-1, array.shape[-1])) for array in embeddings]
        offsets = torch.tensor([0] + [len(part) for part in parts]).cumsum(0)
        return PackedFeatures(Packed(torch.cat(parts), offsets))
    means = [array.mean(axis=0, dtype=np.float32) if stored == "residue" else array for array in embeddings]
    return VectorFeatures(torch.from_numpy(np.stack(means).astype(np.float32)))


@dataclass(frozen=True, kw_only=True)
class ResidueFeatures:
    """Residue states, read from the cache in the background on each request."""

    cache: EmbeddingCache
    proteins: tuple[str, ...]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __len__(self) -> int:
        return len(self.proteins)

    def load(self, requests: Iterable[Tensor]) -> Iterator[Packed]:
        named = ([self.proteins[row] for row in rows.tolist()] for rows in requests)
        for batch in ResidueBatches(self.cache, named):
            yield Packed(torch.from_numpy(batch.states), torch.from_numpy(batch.offsets)).to(self.device)

    def chunks(self) -> Sequence[Tensor]:
        lengths = self.cache.lengths
        return _chunks([lengths[protein] for protein in self.proteins])

    def to(self, device: torch.device) -> ResidueFeatures:
        return replace(self, device=device)


@dataclass(frozen=True)
class PackedFeatures:
    """Residue states in memory."""

    packed: Packed

    def __len__(self) -> int:
        return len(self.packed)

    def load(self, requests: Iterable[Tensor]) -> Iterator[Packed]:
        values, buffers = self.packed.values, Buffers(grows=True)

        def memory(rows: int) -> Tensor:
            taken = buffers.take(rows * values.shape[1] * values.itemsize)
            return torch.from_numpy(taken).view(values.dtype).view(rows, -1)

        for rows in requests:
            yield self.packed.take(rows, memory if values.device.type == "cpu" else None)

    def chunks(self) -> Sequence[Tensor]:
        return _chunks(self.packed.lengths.tolist())

    def to(self, device: torch.device) -> PackedFeatures:
        return PackedFeatures(self.packed.to(device))


class StaticFeatures:
    """Residues with descriptors that are computed once and kept in memory.

    The descriptors do not depend on the weights of the model.

    Args:
        features: Features that yield `Packed`.
        describe: Computes the descriptors; see `PairModel.describe`.
        width: Numbers in the descriptor of a protein.
    """

    def __init__(self, features: Features, describe: Callable[[Packed], Tensor], width: int) -> None:
        self._features, self._describe = features, describe
        # The descriptors of proteins beyond this limit are computed each time.
        self._kept = torch.empty(min(len(features), _MOST_KEPT // (4 * width)), width)
        self._known = torch.zeros(len(features), dtype=torch.bool)

    def __len__(self) -> int:
        return len(self._features)

    def load(self, requests: Iterable[Tensor]) -> Iterator[Packed]:
        drawn: list[Tensor] = []

        def ahead() -> Iterator[Tensor]:
            for rows in requests:
                drawn.append(rows.cpu())
                yield rows

        with closing(cast(Any, self._features.load(ahead()))) as loaded:
            for proteins in loaded:
                yield replace(proteins, described=self._static(drawn.pop(0), proteins))

    def _static(self, rows: Tensor, proteins: Packed) -> Tensor:
        device = proteins.values.device
        new = (~self._known[rows]).nonzero().squeeze(1)
        made = self._describe(proteins.take(new) if len(new) < len(rows) else proteins)
        found = torch.empty(len(rows), made.shape[1], device=device)
        found[new.to(device)] = made
        old = self._known[rows].nonzero().squeeze(1)
        found[old.to(device)] = self._kept[rows[old]].to(device)
        fits = rows[new] < len(self._kept)
        self._kept[rows[new][fits]] = made[fits.to(device)].cpu()
        self._known[rows[new][fits]] = True
        return found

    def chunks(self) -> Sequence[Tensor]:
        return self._features.chunks()

    def to(self, device: torch.device) -> StaticFeatures:
        return StaticFeatures(self._features.to(device), self._describe, self._kept.shape[1])


def with_static_features(data: PairData, model: PairModel) -> PairData:
    """The data with cached protein descriptors, if the model has any."""
    if not model.described_width:
        return data
    return replace(data, features=StaticFeatures(data.features, model.describe, model.described_width))


def _chunks(lengths: Sequence[int]) -> Sequence[Tensor]:
    """Row numbers of the proteins, in order, in chunks of similar size."""
    cuts = np.flatnonzero(np.diff(np.cumsum(lengths) // _CHUNK_RESIDUES)) + 1
    return torch.arange(len(lengths)).tensor_split(torch.from_numpy(cuts))


@dataclass(frozen=True)
class SingleResidues:
    """Proteins with one vector each, treated as proteins of one residue."""

    vectors: VectorFeatures

    def __len__(self) -> int:
        return len(self.vectors)

    def load(self, requests: Iterable[Tensor]) -> Iterator[Packed]:
        for vectors in self.vectors.load(requests):
            yield Packed.one_row_each(vectors)

    def chunks(self) -> Sequence[Tensor]:
        return self.vectors.chunks()

    def to(self, device: torch.device) -> SingleResidues:
        return SingleResidues(self.vectors.to(device))
