"""Scores all pairs by workers in a separate process, which a test kills.

python scan_by_workers.py OUTPUT WORKERS [TOP_K]
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import torch

from ppi_train.checkpoints import Checkpoint
from ppi_train.inference.pair_grid import PairGrid
from ppi_train.inference.predict import Workers, make_prediction
from ppi_train.inference.prediction import Prediction, PredictionCounts
from ppi_train.inference.scan import EncodedProteins
from ppi_train.models.registry import build_model
from ppi_train.parallel.options import ParallelOptions
from ppi_train.parallel.pool import worker_pool

PROTEINS = 4000
SIZES = {"hidden_dim": 8, "members": 2}


def encoded() -> tuple[Checkpoint, EncodedProteins]:
    torch.manual_seed(0)
    model = build_model("pooled_mlp", input_dim=8, **SIZES).eval()
    with torch.inference_mode():
        states = model.encode(torch.randn(PROTEINS, 8))
    described = {"name": "pooled_mlp", "input_dim": 8, "hyperparameters": SIZES}
    checkpoint = Checkpoint(
        weights=dict(model.state_dict()), description={"model": described}, training_state=None
    )
    return checkpoint, EncodedProteins(model=model, states=states, device=torch.device("cpu"))


def predict(output: Path, workers: int | None, top_k: int | None) -> PredictionCounts:
    """The counts of a scan; without workers it is made in this process, with one thread."""
    torch.set_num_threads(1)
    checkpoint, proteins = encoded()
    prediction = Prediction(
        output=output,
        folder=not output.suffix,
        proteins=tuple(f"P{number:04}" for number in range(PROTEINS)),
        pairs=PairGrid(shared=PROTEINS),
        top_k=top_k,
        min_probability=None if top_k else 0.5,
    )
    with worker_pool(ParallelOptions(workers=workers)) as pool:
        shared = Workers(pool=pool, checkpoint=checkpoint, device="cpu") if pool.remote else None
        return make_prediction(prediction, lambda: proteins, shared)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path, number, *best = sys.argv[1:]
    counts = predict(Path(path), int(number), int(best[0]) if best else None)
    print("pairs", counts.pairs, "scored", counts.scored, "tasks", counts.tasks)  # noqa: T201 - what the test reads
