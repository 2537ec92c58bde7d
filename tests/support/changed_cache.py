"""Embedding caches whose numbers were changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.embeddings.cache.reader import EmbeddingCache


def write_scaled(path: Path, to: Path, factor: float) -> None:
    """Writes a cache of vectors with every number multiplied by `factor`."""
    cache = EmbeddingCache(path)
    names = list(cache.lengths)
    rows = pq.read_table(path, columns=["protein_id", "sequence_digest"]).to_pylist()
    digest_of = {row["protein_id"]: row["sequence_digest"] for row in rows}
    vectors = cache.protein_matrix(names) * np.float32(factor)
    with CacheWriter(to, cache.spec) as writer:
        for name, vector in zip(names, vectors, strict=True):
            writer.add(name, digest_of[name], cache.lengths[name], vector)
