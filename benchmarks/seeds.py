"""Spread of validation metrics over seeds, with the default settings.

python benchmarks/seeds.py [--dataset bernett] [--mirror FOLDER] [--seeds 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from ppi_train.modes import execute_pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="bernett")
    parser.add_argument("--mirror", default=os.environ.get("PPI_TRAIN_MIRROR"))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if options.mirror and "://" not in options.mirror:
        options.mirror = str(Path(options.mirror).absolute())
    print("| seed | val AUROC | val AUPRC | best epoch | pairs/s |\n| --- | --- | --- | --- | --- |")
    found: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.chdir(folder)
        for seed in range(options.seeds):
            parameters = {"dataset": options.dataset, "mirror": options.mirror, "seed": seed}
            paths = {"data_dir": str(Path(folder) / "data"), "output_dir": str(Path(folder) / "runs")}
            metrics = execute_pipeline("train_only", parameters | paths).metrics
            found.append(metrics["val/auroc_best"])
            rate = metrics["system/training_pairs_per_second"]
            print(
                f"| {seed} | {found[-1]:.4f} | {metrics['val/auprc_best']:.4f} "
                f"| {metrics['best_epoch']:.0f} | {rate:,.0f} |",
                flush=True,
            )
    spread = statistics.stdev(found) if len(found) > 1 else 0.0
    print(f"\nmean AUROC {statistics.mean(found):.4f}, deviation {spread:.4f}, lowest {min(found):.4f}")


if __name__ == "__main__":
    main()
