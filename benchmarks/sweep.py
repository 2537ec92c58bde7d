"""What a trial of a sweep costs besides its training, and whether that grows with the study.

    python benchmarks/sweep.py --trials 200

Trains tiny models on the built-in example in one process, in a store and folders of its own. CPU seconds,
user and system, of all threads.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

ASKED_SHARE = 0.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        trained, ends = swept(options.trials, options.epochs)
    total = [after - before for before, after in itertools.pairwise(ends)]
    besides = [whole - training for whole, training in zip(total, trained[1:], strict=True)]
    middle = statistics.median(besides)
    print(f"training of a trial: {statistics.median(trained):.2f} CPU s; all else: {middle:.2f} CPU s")
    print(f"share of all else: {sum(besides) / sum(total):.1%}")
    print(f"{ASKED_SHARE:.0%} of trials of {middle / ASKED_SHARE:.0f} CPU s or more")
    first, last = statistics.median(total[5:15]), statistics.median(total[-10:])
    print(f"trial {options.trials} over trial 10 (medians of ten): {last / first:.2f}")


def swept(trials: int, epochs: int) -> tuple[list[float], list[float]]:
    """CPU seconds of each training, and the CPU time at the end of each trial."""
    import ppi_train.modes.sweep as mode
    from ppi_train.modes import execute_pipeline
    from ppi_train.training.trainer import Trainer, TrainResult

    train, note = Trainer.run, mode._note
    trained: list[float] = []
    ends: list[float] = []

    def timed(trainer: Trainer) -> TrainResult:
        started = time.process_time()
        result = train(trainer)
        trained.append(time.process_time() - started)
        return result

    def noted(*arguments: Any) -> None:
        note(*arguments)
        ends.append(time.process_time())

    Path("search.yaml").write_text("parameters: {learning_rate: {low: 1e-4, high: 1e-2, log: true}}")
    with patch.object(Trainer, "run", timed), patch.object(mode, "_note", noted):
        execute_pipeline(
            "sweep",
            {"search": "search.yaml", "trials": trials, "epochs": epochs, "hidden_dim": 8, "members": 1},
        )
    return trained, ends


if __name__ == "__main__":
    main()
