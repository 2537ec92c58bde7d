"""Time of the descriptors for a human proteome.

It is 11,000 sequences of human-like lengths.

python benchmarks/descriptors.py
"""

from __future__ import annotations

import time

import numpy as np

from ppi_train.data.fasta import AMINO_ACIDS
from ppi_train.embeddings.embedders.descriptors import Descriptors

PROTEINS = 11_000
CHUNK = 2048


def main() -> None:
    rng = np.random.default_rng(0)
    # Human proteins: median 415 residues, mean about 560.
    lengths = np.clip(rng.lognormal(np.log(415), 0.8, PROTEINS), 30, 35_000).astype(int)
    letters = np.array(list(AMINO_ACIDS))
    sequences = ["".join(rng.choice(letters, size)) for size in lengths]
    embedder = Descriptors()
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        for start in range(0, PROTEINS, CHUNK):
            embedder.embed(sequences[start : start + CHUNK])
        seconds.append(time.perf_counter() - started)
    print("| proteins | residues | seconds, median of 5 | residues/s |\n| --- | --- | --- | --- |")
    median = float(np.median(seconds))
    print(f"| {PROTEINS:,} | {lengths.sum():,} | {median:.2f} | {lengths.sum() / median:,.0f} |")


if __name__ == "__main__":
    main()
