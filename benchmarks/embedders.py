"""Comparison of embedders on a benchmark's validation pairs.

The pair model is trained with three seeds for each.

    python benchmarks/embedders.py --mirror FOLDER [--dataset bernett] [--variants descriptors lstm384 ...]

Each variant is trained (if it is a language model), embeds the data set, and is judged by `pooled_mlp`.
Times are wall time of whole run modes, start of the tracking included.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ppi_train.modes import PipelineResult, execute_pipeline

SEEDS = (0, 1, 2)
LANGUAGE_MODELS: dict[str, dict[str, object]] = {
    "lstm384": {},
    "lstm384-seed1": {"seed": 1},
    "lstm192": {"hidden_dim": 192},
    "lstm512": {"hidden_dim": 512},
    "lstm3x192": {"hidden_dim": 192, "num_layers": 3},
    "lstm384-rate3e-3": {"learning_rate": 3e-3},
    "lstm384-2passes": {"epochs": 2},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mirror", default=os.environ.get("PPI_TRAIN_MIRROR"))
    parser.add_argument("--dataset", default="bernett")
    parser.add_argument("--variants", nargs="+", default=["descriptors", "lstm384"])
    options = parser.parse_args()
    mirror = str(Path(options.mirror).absolute()) if options.mirror else None
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    print("| embedder | training, s | perplexity | embedding, s | dimension | val AUROC | val AUPRC |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.environ["PPI_TRAIN_CACHE"] = f"{folder}/cache"
        os.chdir(folder)
        given = {"dataset": options.dataset, "mirror": mirror}
        execute_pipeline("prepare_data", given | {"splits": "train,validation"})
        for variant in options.variants:
            print(row(variant, given), flush=True)


def row(variant: str, given: Mapping[str, object]) -> str:
    """A line of the table."""
    used: dict[str, object] = {"embedder": "descriptors"}
    training, perplexity = "", ""
    if variant in LANGUAGE_MODELS:
        model, seconds = timed("train_embedder", {**given, **LANGUAGE_MODELS[variant]})
        used = {"embedder": "protein_lm", "embedder_run_id": model.run_id}
        training, perplexity = f"{seconds:.0f}", f"{model.metrics['val/perplexity_best']:.3f}"
    embedded, seconds = timed("embed", {**given, **used})
    runs = [execute_pipeline("train_only", {**given, **used, "seed": seed}) for seed in SEEDS]
    cells = [
        variant, training, perplexity, f"{seconds:.0f}", f"{embedded.metrics['embedding/dimension']:.0f}",
        spread([run.metrics["val/auroc_best"] for run in runs]),
        spread([run.metrics["val/auprc_best"] for run in runs]),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def timed(mode: str, given: Mapping[str, object]) -> tuple[PipelineResult, float]:
    started = time.perf_counter()
    return execute_pipeline(mode, given), time.perf_counter() - started


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


if __name__ == "__main__":
    main()
