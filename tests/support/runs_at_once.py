"""Starts N runs at the same moment: `python -m tests.support.runs_at_once URI FOLDER N`.

The processes are forked from one that has imported everything, so that they meet at the server.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

from ppi_train.tracking.run import TrackedDataset, TrackedRun, Tracking

SPLITS = ("train", "validation", "test")


def datasets() -> list[TrackedDataset]:
    """What each of the runs reads: the same."""
    return [
        TrackedDataset(
            name=f"made_up/{split}", context=split, digest=f"{number:064x}", source=f"{split}.tsv", size=100
        )
        for number, split in enumerate(SPLITS)
    ]


def log_run(folder: Path, number: int) -> None:
    """One run, from start to end."""
    with TrackedRun("train_only", tracking=Tracking(folder=folder), system_metrics=False) as run:
        run.log_datasets(datasets())
        run.log_parameters({"number": str(number)})
        run.log_metrics({"loss": float(number)}, 1)


def main(uri: str, folder: Path, count: int) -> int:
    """Runs all; the exit code is the number of processes that failed."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    context = multiprocessing.get_context("fork")
    start = context.Barrier(count)

    def work(number: int) -> None:
        start.wait()
        log_run(folder, number)

    processes = [context.Process(target=work, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return sum(process.exitcode != 0 for process in processes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
