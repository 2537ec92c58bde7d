"""Embeds a FASTA slowly in a separate process, for tests to kill.

python embedding_process.py FASTA OUTPUT GRANULARITY SECONDS_A_CHUNK [WORKERS]
"""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppi_train.data.fasta import read_fasta
from ppi_train.embeddings.cache import CacheSpec, tasks
from ppi_train.embeddings.cache import build as embedding_work
from ppi_train.parallel.options import ParallelOptions
from ppi_train.parallel.pool import worker_pool


class SlowEmbedder:
    """Numbers that follow from a sequence, and from the batch's longest, as padding makes them do."""

    name = "slow"
    dimension = 256

    def __init__(self, granularity: str, seconds: float) -> None:
        self.granularity, self._seconds = granularity, seconds

    def parameters(self) -> dict[str, object]:
        return {}

    def digest(self) -> str:
        return "ab" * 32

    def embed(self, sequences: Sequence[str]) -> list[np.ndarray]:
        time.sleep(self._seconds)
        longest = max(map(len, sequences))
        return [self._one(sequence, longest) for sequence in sequences]

    def _one(self, sequence: str, longest: int) -> np.ndarray:
        seed = int(hashlib.sha256(f"{sequence}{longest}".encode()).hexdigest()[:8], 16)
        shape = (self.dimension,) if self.granularity == "protein" else (len(sequence), self.dimension)
        return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@dataclass(frozen=True)
class MakeSlow:
    """Makes the embedder in a worker."""

    granularity: str
    seconds: float

    def __call__(self) -> SlowEmbedder:
        return SlowEmbedder(self.granularity, self.seconds)


def main(fasta: str, output: str, granularity: str, seconds: str, workers: str = "0") -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tasks.CHUNK_RESIDUES = 400
    table = read_fasta(fasta)
    make = MakeSlow(granularity, float(seconds))
    embedder = make()
    spec = CacheSpec(
        embedder={"name": embedder.name, "parameters": {}, "digest": embedder.digest()},
        dimension=embedder.dimension,
        granularity=granularity,
        dtype="float32",
        max_length=None,
        truncation="head",
        fasta_digest=table.digest,
    )
    with worker_pool(ParallelOptions(workers=int(workers) or None)) as pool:
        counts = embedding_work.make_cache(Path(output), table, embedder, spec, pool=pool, make=make)
    print("embedded", counts.embedded, "reused", counts.reused)  # noqa: T201 - what the test reads
    if pool.remote:
        print("retried", pool.retried_tasks)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
