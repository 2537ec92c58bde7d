"""Random pairs, embeddings and sequences of a size, for benchmarks of whole commands.

python benchmarks/made_pairs.py cache PROTEINS.parquet --proteins 1e5 [--fasta PROTEINS.fasta]
python benchmarks/made_pairs.py pairs PAIRS.tsv --proteins 1e5 --pairs 1e7 [--seed 1]
python benchmarks/made_pairs.py archive PROTEINS.fasta EMBEDDINGS.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from pair_reading import make

from ppi_train.data.fasta import read_fasta, sequence_digest
from ppi_train.embeddings.cache import CacheSpec
from ppi_train.embeddings.cache.file import CacheWriter

DIMENSION = 16
LETTERS = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)
LENGTH = 300


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("cache", "pairs", "archive"))
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--proteins", type=float, default=1e5)
    parser.add_argument("--pairs", type=float, default=1e7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fasta", type=Path)
    given = parser.parse_args()
    if given.what == "cache":
        write_cache(given.paths[0], int(given.proteins), given.fasta)
    elif given.what == "pairs":
        make(given.paths[0], int(given.pairs), int(given.proteins), seed=given.seed)
    else:
        write_archive(*given.paths)


def write_cache(path: Path, proteins: int, fasta: Path | None) -> None:
    """Writes noise for embeddings, and random sequences if a FASTA is asked for."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(proteins, DIMENSION)).astype(np.float32)
    names = [f"P{number:06d}" for number in range(proteins)]
    sequences = dict.fromkeys(names, "")
    if fasta:
        letters = LETTERS[rng.integers(len(LETTERS), size=(proteins, LENGTH), dtype=np.uint8)]
        sequences = {name: row.tobytes().decode() for name, row in zip(names, letters, strict=True)}
        fasta.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in sequences.items()))
    spec = CacheSpec(
        embedder={"name": "noise", "parameters": {}, "digest": "00"},
        dimension=DIMENSION,
        granularity="protein",
        dtype="float32",
        max_length=None,
        truncation="head",
        fasta_digest="00",
    )
    with CacheWriter(path, spec) as writer:
        for name, row in zip(names, values, strict=True):
            writer.add(name, sequence_digest(sequences[name] or name), len(sequences[name]) or LENGTH, row)


def write_archive(fasta: Path, path: Path) -> None:
    """Writes noise for the embeddings of a FASTA's proteins as an archive of NumPy."""
    rng = np.random.default_rng(0)
    names = read_fasta(fasta).sequences
    vectors = {name: rng.normal(size=DIMENSION).astype(np.float32) for name in names}
    np.savez(path, **vectors)  # type: ignore[arg-type]  # a name could be that of an option


if __name__ == "__main__":
    main()
