"""Work of `protein_lm` for `against.py`: sequences for its training, and embedding.

    python benchmarks/language_model.py write      # proteins.fasta, in the present folder
    python benchmarks/language_model.py embed      # prints cpu_seconds of embedding

Weights and residues are random. It runs with the package of earlier versions too.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch

try:
    from ppi_train.embeddings.embedders.base import TrainedWeights
    from ppi_train.embeddings.embedders.protein_lm import CausalLstm, ProteinLm
except ImportError:  # version 0.2
    from ppi_train.embedders.base import TrainedWeights  # type: ignore[import-not-found, no-redef]
    from ppi_train.embedders.protein_lm import CausalLstm, ProteinLm  # type: ignore[import-not-found, no-redef]

LENGTHS = (120, 300, 450, 700, 1400)
# As `embed` cuts its chunks: proteins of nearly equal length.
CHUNK_RESIDUES = 32_768
TRAINED_RESIDUES = 300_000
HIDDEN = 384


def sequences(length: int, residues: int) -> list[str]:
    """Random proteins of a length, with so many residues together."""
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    rng = np.random.default_rng(length)
    return ["".join(rng.choice(letters, length)) for _ in range(residues // length)]


def write() -> None:
    """Writes the FASTA that `train_embedder` learns from."""
    lines = [
        f">L{length}N{number}\n{sequence}\n"
        for length in LENGTHS
        for number, sequence in enumerate(sequences(length, TRAINED_RESIDUES // len(LENGTHS)))
    ]
    Path("proteins.fasta").write_text("".join(lines))


def embed() -> None:
    """Embeds a chunk of each length, with the precision that is the default here."""
    embedder = new_embedder()
    chunks = [sequences(length, CHUNK_RESIDUES) for length in LENGTHS]
    embedder.embed(chunks[0])
    started = time.process_time()
    for chunk in chunks:
        embedder.embed(chunk)
    seconds = time.process_time() - started
    residues = sum(len(sequence) for chunk in chunks for sequence in chunk)
    print(f"{residues / seconds:,.0f} residues/s, {embedder.parameters().get('precision', 'float32')}")
    print(f"cpu_seconds {seconds:.2f}")


def new_embedder() -> ProteinLm:
    """An embedder with random weights, one vector a protein."""
    torch.manual_seed(0)
    hyperparameters = {"hidden_dim": HIDDEN, "num_layers": 1}
    weights = TrainedWeights(
        run_id="none",
        digest="0" * 64,
        description={"model": {"name": "protein_lm", "hyperparameters": hyperparameters}},
        tensors=CausalLstm(HIDDEN, 1).state_dict(),
    )
    cpu = torch.device("cpu")
    try:
        from ppi_train.models.device import has_fast_bf16
    except ImportError:  # a version that has float32 only
        return ProteinLm(weights, "protein", cpu)
    return ProteinLm(weights, "protein", cpu, "bf16" if has_fast_bf16(cpu) else "float32")


if __name__ == "__main__":
    {"write": write, "embed": embed}[sys.argv[1]]()
