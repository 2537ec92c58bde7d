"""Scores all pairs of some proteins in a process of its own, slowly, so that a test can kill it midway.

python prediction_process.py OUTPUT SECONDS_A_BLOCK [TOP_K]
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

import torch

from ppi_train.models.pooled_mlp import PooledMlp
from ppi_train.pipelines import prediction_work
from ppi_train.training.pair_grid import PairGrid
from ppi_train.training.scan import EncodedProteins

PROTEINS = 90
SIDE = 12


class SlowModel(PooledMlp):
    """Takes a while for each block."""

    seconds = 0.0

    def score_block(self, states_a: torch.Tensor, states_b: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds)
        return super().score_block(states_a, states_b)


def encode(seconds: float) -> EncodedProteins:
    torch.manual_seed(0)
    model = SlowModel(8, hidden_dim=16, members=2).eval()
    model.seconds = seconds
    with torch.inference_mode():
        states = model.encode(torch.randn(PROTEINS, 8))
    return EncodedProteins(model=model, states=states, device=torch.device("cpu"))


def main(output: str, seconds: str, top_k: str = "") -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prediction_work.PART_SECONDS = 0.02
    prediction = prediction_work.Prediction(
        output=Path(output),
        edges=Path(output).with_suffix(".tsv"),
        proteins=tuple(f"P{number:03}" for number in range(PROTEINS)),
        pairs=PairGrid(shared=PROTEINS, side=SIDE),
        top_k=int(top_k) if top_k else None,
        min_probability=None if top_k else 0.49,
    )
    counts = prediction_work.make_prediction(prediction, lambda: encode(float(seconds)))
    print("pairs", counts.pairs, "scored", counts.scored, "kept", counts.kept)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main(*sys.argv[1:])
