"""Scores all pairs in a separate process, which stops midway.

A test kills it there.

python prediction_process.py OUTPUT BLOCKS [TOP_K]
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

import torch

from ppi_train.inference import task_blocks
from ppi_train.inference.pair_grid import PairGrid
from ppi_train.inference.predict import make_prediction
from ppi_train.inference.prediction import Prediction
from ppi_train.inference.scan import EncodedProteins
from ppi_train.models.pooled_mlp import PooledMlpOptions
from ppi_train.models.pooled_mlp.model import PooledMlp

PROTEINS = 90
SIDE = 12


class TiringModel(PooledMlp):
    """Scores some blocks, and then none."""

    blocks = 0

    def score_block(self, states_a: torch.Tensor, states_b: torch.Tensor) -> torch.Tensor:
        if not self.blocks:
            time.sleep(600)
        self.blocks -= 1
        return super().score_block(states_a, states_b)


def encode(blocks: int) -> EncodedProteins:
    torch.manual_seed(0)
    model = TiringModel(8, PooledMlpOptions(hidden_dim=16, members=2)).eval()
    model.blocks = blocks
    with torch.inference_mode():
        states = model.encode(torch.randn(PROTEINS, 8))
    return EncodedProteins(model=model, states=states, device=torch.device("cpu"))


def main(output: str, blocks: str, top_k: str = "") -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    task_blocks.TASK_PAIRS = 1  # each block is a task
    prediction = Prediction(
        output=Path(output),
        edges=Path(output).with_suffix(".tsv"),
        proteins=tuple(f"P{number:03}" for number in range(PROTEINS)),
        pairs=PairGrid(shared=PROTEINS, side=SIDE),
        top_k=int(top_k) if top_k else None,
        min_probability=None if top_k else 0.49,
    )
    counts = make_prediction(prediction, lambda: encode(int(blocks)))
    print("pairs", counts.pairs, "scored", counts.scored, "kept", counts.kept)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main(*sys.argv[1:])
