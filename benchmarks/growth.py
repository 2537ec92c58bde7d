"""How the cost of pairs grows with their number: from ten thousand to ten million.

    python benchmarks/growth.py [--pairs 1e4 1e5 1e6 1e7]

Makes tables of pairs of a hundredth as many proteins, and measures steps of a training and an evaluation on
one thread: reading the text, the digest of the table, looking for pairs of it in another, the batches of an
epoch, all metrics of scored pairs, and ten resamples for the intervals. Prints microseconds of CPU time a
pair, and the exponent that fits the seconds: 1 if a pair always costs the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from pair_reading import make

from ppi_train.data.pair_keys import among
from ppi_train.data.pairs import PairTable, read_pairs
from ppi_train.evaluation.bootstrap import bootstrap_intervals
from ppi_train.evaluation.pair_metrics import pair_metrics
from ppi_train.training.batches import groups_for_sharing, shared_batches

BATCH_SIZE = 1024
RESAMPLES = 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=float, nargs="+", default=[1e4, 1e5, 1e6, 1e7])
    sizes = [int(size) for size in parser.parse_args().pairs]
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        columns = [measured(Path(folder) / "pairs.tsv", size, max(1000, size // 100)) for size in sizes]
    print(f"| step | {' | '.join(f'{size:,} pairs' for size in sizes)} | exponent |")
    print("| --- |" + " --- |" * (len(sizes) + 1))
    for step in columns[0]:
        seconds = [column[step] for column in columns]
        cells = [f"{1e6 * spent / size:.2f}" for spent, size in zip(seconds, sizes, strict=True)]
        print(f"| {step} | {' | '.join(cells)} | {exponent(sizes, seconds)} |")


def measured(path: Path, pairs: int, proteins: int) -> dict[str, float]:
    """CPU seconds of each step on a table of so many pairs."""
    make(path, pairs, proteins)
    table = read_pairs(path)
    return {name: least(step) for name, step in steps(path, table).items()}


def steps(path: Path, table: PairTable) -> Mapping[str, Callable[[], object]]:
    """What is measured."""
    rng = np.random.default_rng(0)
    labels, proteins = table.required_labels, len(table.proteins)
    probabilities = np.clip(rng.normal(0.4 + 0.2 * labels, 0.15), 0, 1).astype(np.float32)
    keys = table.index @ np.array([proteins, 1])
    others = rng.integers(proteins**2, size=len(keys))
    index = torch.from_numpy(table.index)
    groups = groups_for_sharing(len(table), proteins, BATCH_SIZE)
    return {
        "reading the text": lambda: read_pairs(path),
        "digest": lambda: read_digest(table),
        "pairs in another table": lambda: among(others, np.sort(keys)),
        "batches of an epoch": lambda: shared_batches(index, proteins, groups, seed=0, epoch=0),
        "metrics": lambda: pair_metrics(probabilities, labels),
        "ten resamples": lambda: bootstrap_intervals(
            probabilities, labels, table.index, resamples=RESAMPLES, seed=0
        ),
    }


def read_digest(table: PairTable) -> str:
    """The digest of a table, which it keeps once it is known."""
    table.__dict__.pop("digest", None)
    return table.digest


def least(step: Callable[[], object], *, rounds: int = 2) -> float:
    """The least CPU seconds of some rounds."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        step()
        times.append(time.process_time() - started)
    return min(times)


def exponent(sizes: list[int], seconds: list[float]) -> str:
    """The slope of the logarithms."""
    return f"{np.polyfit(np.log(sizes), np.log(seconds), 1)[0]:.2f}" if len(sizes) > 1 else ""


if __name__ == "__main__":
    main()
