"""Scans of many proteins by workers: their speed, what they cost, and what happens if workers are killed.

The model has random weights; the proteins are random sequences, with descriptors as embeddings.

    nice -n 10 python benchmarks/scan_under_fire.py --proteins 20000 --workers 2 --kills 20
    nice -n 10 python benchmarks/scan_under_fire.py --proteins 20000 --workers 2

The first command kills workers by SIGKILL at random moments. Both scan in this process first, with one
thread, and compare times and tables. They print the tasks that were begun more than once, and the CPU time of
this process, which deals out the tasks.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from ppi_train.checkpoints import Checkpoint
from ppi_train.data.fasta import AMINO_ACIDS
from ppi_train.embeddings.embedders.descriptors import Descriptors
from ppi_train.inference.pair_grid import PairGrid
from ppi_train.inference.predict import Workers, make_prediction
from ppi_train.inference.prediction import Prediction, PredictionCounts
from ppi_train.inference.scan import EncodedProteins
from ppi_train.models.registry import build_model
from ppi_train.parallel.options import TASKS_AHEAD, ParallelOptions
from ppi_train.parallel.pool import LocalPool, Pool, worker_pool

# Sequences that are embedded at once.
_AT_ONCE = 2048


class RecordingPool(LocalPool):
    """A pool that records in a file which tasks were begun."""

    def __init__(self, pool: Pool, begun: Path) -> None:
        self._pool, self._begun = pool, begun

    def run(
        self, function: Callable[..., Any], job: Any, numbers: Iterable[int], *, ahead: int = TASKS_AHEAD
    ) -> Iterator[Any]:
        return self._pool.run(recorded, (function, job, self._begun), numbers, ahead=ahead)

    def everywhere(self, function: Callable[..., Any], *arguments: object) -> dict[str, Any]:
        return self._pool.everywhere(function, *arguments)


def recorded(job: tuple[Callable[..., Any], Any, Path], number: int) -> Any:
    """Does a task after a note that it was begun."""
    function, inner, begun = job
    with begun.open("a") as file:
        file.write(f"{number}\n")
    return function(inner, number)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--proteins", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--top_k", type=int, default=10)
    parser.add_argument("--members", type=int, default=4, help="of the model")
    parser.add_argument("--hidden_dim", type=int, default=128, help="of the model")
    parser.add_argument("--folder", help="where to write; a disk, as /tmp may be memory")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    torch.set_num_threads(1)
    checkpoint, encoded = encoded_proteins(given)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        alone, of_one, cpu, _ = scan(folder / "alone.parquet", given, encoded)
        print(
            f"one process: {alone.pairs:,} pairs, {alone.tasks} tasks, {alone.seconds:.1f} s, {cpu:.1f} s CPU"
        )
        begun = folder / "begun"
        with worker_pool(ParallelOptions(workers=given.workers)) as pool:
            workers = Workers(pool=RecordingPool(pool, begun), checkpoint=checkpoint, device="cpu")
            over = threading.Event()
            expected = alone.seconds / given.workers
            killer = threading.Thread(target=kill_workers, args=(given.kills, expected, over))
            killer.start()
            shared, of_many, cpu, of_workers = scan(folder / "shared.parquet", given, encoded, workers)
            over.set()
            killer.join()
        started = len(begun.read_text().split())
        faster = alone.seconds / shared.seconds
        print(f"{given.workers} workers: {shared.seconds:.1f} s, {faster:.2f} times as fast")
        print(f"CPU: this process {cpu:.1f} s, workers that are left {of_workers:.1f} s")
        print(f"{started - shared.tasks} tasks again; table {'the same' if of_one == of_many else 'ANOTHER'}")


def encoded_proteins(given: argparse.Namespace) -> tuple[Checkpoint, EncodedProteins]:
    """A model, and the states of random sequences."""
    count, sizes = given.proteins, {"members": given.members, "hidden_dim": given.hidden_dim}
    rng, letters = np.random.default_rng(0), np.array(list(AMINO_ACIDS))
    sequences = ["".join(rng.choice(letters, size)) for size in rng.integers(50, 800, count)]
    embedder = Descriptors()
    vectors = [embedder.embed(sequences[start : start + _AT_ONCE]) for start in range(0, count, _AT_ONCE)]
    features = torch.from_numpy(np.concatenate([np.asarray(part, np.float32) for part in vectors]))
    torch.manual_seed(0)
    described = {"name": "pooled_mlp", "input_dim": features.shape[1], "hyperparameters": sizes}
    model = build_model("pooled_mlp", input_dim=features.shape[1], **sizes).eval()
    with torch.inference_mode():
        states = model.encode(features)
    checkpoint = Checkpoint(
        weights=dict(model.state_dict()), description={"model": described}, training_state=None
    )
    return checkpoint, EncodedProteins(model=model, states=states, device=torch.device("cpu"))


def scan(
    output: Path, given: argparse.Namespace, encoded: EncodedProteins, workers: Workers | None = None
) -> tuple[PredictionCounts, str, float, float]:
    """Counts, the table's sha256, and the CPU seconds of this process and of its children."""
    prediction = Prediction(
        output=output,
        proteins=tuple(f"P{number:06d}" for number in range(given.proteins)),
        pairs=PairGrid(shared=given.proteins),
        top_k=given.top_k,
        uncertainty=False,
    )
    own, of_others = time.process_time(), of_children()
    counts = make_prediction(prediction, lambda: encoded, workers)
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    return counts, digest, time.process_time() - own, of_children() - of_others


def of_children() -> float:
    """CPU seconds of all processes below this one that are alive."""
    times = [process.cpu_times() for process in worker_processes()]
    return float(sum(found.user + found.system for found in times))


def worker_processes() -> list[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    return [process for process in found if "spawn_main" in " ".join(process.cmdline())]


def kill_workers(kills: int, seconds: float, over: threading.Event) -> None:
    """Kills a random worker at random moments."""
    draw = random.Random(0)
    begun = time.monotonic()
    for moment in sorted(draw.uniform(0.05, 0.95) * seconds for _ in range(kills)):
        if over.wait(max(0.0, begun + moment - time.monotonic())):
            return
        alive = worker_processes()
        if alive:
            draw.choice(alive).kill()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
