"""Batches of residue states, packed without padding and prefetched.

What was read is not kept: the system's page cache does that, in memory that it gives back when
another program needs it, and reading from there costs no more than copying from a cache of our own
(docs/caches.md has the figures).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.embeddings.cache.residue_store import chunks
from ppi_train.io.prefetch import Buffers, Job, run_ahead

_BATCHES_AHEAD = 4


@dataclass(frozen=True, kw_only=True)
class PackedResidues:
    """The residue states of several proteins, one protein after the other.

    Attributes:
        proteins: The distinct proteins of the batch, in the order in which they were first named.
        states: (sum of their lengths, d), in the number format of the cache.
        offsets: (n + 1,) int64: protein i has the rows offsets[i] to offsets[i + 1].
    """

    proteins: tuple[str, ...]
    states: np.ndarray
    offsets: np.ndarray


class ResidueBatches:
    """Iterable over the packed residues of batches of proteins.

    It can be iterated over again if `batches` can.

    Args:
        cache: A cache of granularity `residue`.
        batches: The accessions of each batch. A protein that is repeated in a batch is read once.
        memory_mb: Bound on what is read ahead together with the batch in use; one batch is always
            read, even a larger one. None for the cache's own bound.

    Raises:
        CacheError: the cache has no residues; in iterating: it lacks a protein, a file is damaged,
            a number is not finite.
    """

    def __init__(
        self, cache: EmbeddingCache, batches: Iterable[Sequence[str]], *, memory_mb: int | None = None
    ) -> None:
        self._cache = cache
        self._store = cache.residue_store
        self._batches = batches
        self._limit = (memory_mb or cache.memory_mb) << 20

    def __iter__(self) -> Iterator[PackedResidues]:
        job = partial(self._job, Buffers(grows=True))
        return run_ahead(map(job, self._batches), limit=self._limit, depth=_BATCHES_AHEAD)

    def _job(self, buffers: Buffers, batch: Sequence[str]) -> Job[PackedResidues]:
        proteins = tuple(dict.fromkeys(batch))
        rows = self._cache.rows_of(proteins)
        sizes = self._store.sizes[rows]
        ends = np.cumsum(sizes)
        content = buffers.take(int(sizes.sum()))
        order = np.argsort(rows)
        parts = [
            partial(self._store.read, rows[order[chunk]], content, (ends - sizes)[order[chunk]])
            for chunk in chunks(sizes[order])
        ]
        spec = self._cache.spec
        states = content.view(spec.values).reshape(-1, spec.dimension)
        offsets = np.concatenate([[0], ends // (spec.dimension * spec.values.itemsize)])
        packed = PackedResidues(proteins=proteins, states=states, offsets=offsets)
        return Job(packed, parts, buffers.held(content.nbytes))
