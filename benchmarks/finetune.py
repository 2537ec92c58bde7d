"""Finetuning from Bernett to Arabidopsis, against training from scratch and zero-shot.

Training from scratch gets the same number of steps.

    python benchmarks/finetune.py --mirror ../shared/mirror

All figures are of validation. For each number of steps, each way of training takes the learning rate that
is best for it with the first seed.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
from pathlib import Path

import mlflow

from ppi_train.modes import PipelineResult, execute_pipeline

SEEDS = (0, 1, 2)
EPOCHS = (1, 2, 4, 8, 16)
RATES = (4e-3, 8e-3, 1.6e-2)
STEPS_PER_EPOCH = 9


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mirror", required=True)
    mirror = str(Path(parser.parse_args().mirror).absolute())
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.environ["PPI_TRAIN_CACHE"] = f"{folder}/cache"
        os.chdir(folder)
        compare({"mirror": mirror})


def compare(given: dict[str, object]) -> None:
    """Prints the table; AUROC and AUPRC of validation, mean and spread over the seeds."""
    pretrained = execute_pipeline("train_only", given | {"dataset": "bernett"})
    print(f"pretrained on bernett: val AUROC {pretrained.metrics['val/auroc_best']:.4f}\n")
    print("| steps | epochs | zero-shot | from scratch | finetuned | gain | AUPRC: scratch, finetuned |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for epochs in EPOCHS:
        common = given | {"dataset": "pring_arath", "epochs": epochs, "early_stopping_patience": 0}
        scratch = best_rate("train_only", common)
        finetuned = best_rate("finetune_from_pretrain", common | {"pretrain_run_id": pretrained.run_id})
        auroc = [[run.metrics["val/auroc_best"] for run in runs] for runs in (scratch, finetuned)]
        auprc = [[run.metrics["val/auprc_best"] for run in runs] for runs in (scratch, finetuned)]
        gain = statistics.mean(auroc[1]) - statistics.mean(auroc[0])
        print(
            f"| {epochs * STEPS_PER_EPOCH} | {epochs} | {zero_shot(finetuned[0].run_id):.4f} "
            f"| {spread(auroc[0])} | {spread(auroc[1])} | {gain:+.4f} "
            f"| {statistics.mean(auprc[0]):.4f}, {statistics.mean(auprc[1]):.4f} |",
            flush=True,
        )


def best_rate(mode: str, given: dict[str, object]) -> list[PipelineResult]:
    """Trains with every seed at the rate that is best for the first one."""

    def trained(rate: float, seed: int) -> PipelineResult:
        return execute_pipeline(mode, given | {"learning_rate": rate, "seed": seed})

    tried = {rate: trained(rate, SEEDS[0]) for rate in RATES}
    rate = max(RATES, key=lambda candidate: tried[candidate].metrics["val/auroc_best"])
    return [tried[rate], *(trained(rate, seed) for seed in SEEDS[1:])]


def zero_shot(run_id: str) -> float:
    """The ancestor's AUROC on the new data: what a finetuned run logs at step 0."""
    history = mlflow.MlflowClient().get_metric_history(run_id, "val/auroc")
    return next(point.value for point in history if point.step == 0)


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


if __name__ == "__main__":
    main()
