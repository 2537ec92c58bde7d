"""Peak memory of embedding synthetic proteins by residue, in a separate process.

python embedding_memory.py OUTPUT PROTEINS MEMORY_BYTES
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ppi_train.data.fasta import SequenceTable
from ppi_train.embeddings.cache import CacheSpec, tasks
from ppi_train.embeddings.cache import build as embedding_work

RESIDUES = 250
DIMENSION = 1024


class Wide:
    """A megabyte a protein; lazily, as an embedder may."""

    name = "wide"
    granularity = "residue"
    dimension = DIMENSION

    def parameters(self) -> dict[str, object]:
        return {}

    def digest(self) -> str:
        return "ab" * 32

    def embed(self, sequences: Sequence[str]) -> Iterator[np.ndarray]:
        return iter(
            [np.full((len(sequence), DIMENSION), hash(sequence) % 1000, np.float32) for sequence in sequences]
        )


class Peak(threading.Thread):
    """Watches the memory that is the process's own: pages of mapped files are the system's."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.start_bytes = self.bytes = self._now()
        self.done = threading.Event()

    def _now(self) -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) * 1024

    def run(self) -> None:
        while not self.done.wait(0.002):
            self.bytes = max(self.bytes, self._now())


def main(output: str, proteins: str, memory_bytes: str) -> None:
    tasks.MEMORY_BYTES = int(memory_bytes)
    rng = random.Random(0)
    letters = "ACDEFGHIKLMNPQRSTVWY"
    sequences = {
        f"P{number:05}": "".join(rng.choices(letters, k=RESIDUES)) for number in range(int(proteins))
    }
    table = SequenceTable(sequences=sequences, source="made up", nonstandard={}, duplicates=0)
    spec = CacheSpec(
        embedder={"name": "wide"},
        dimension=DIMENSION,
        granularity="residue",
        dtype="float32",
        max_length=None,
        truncation="head",
        fasta_digest=table.digest,
    )
    peak = Peak()
    peak.start()
    embedding_work.make_cache(Path(output), table, Wide(), spec)
    peak.done.set()
    print(peak.bytes - peak.start_bytes)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main(*sys.argv[1:])
