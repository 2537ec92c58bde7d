"""What a second process gives: training, embedding and scanning, each process with one thread.

The proteins and pairs are random. Every figure is what the run of a command has logged. Embedding and
scanning are with the released model.

    python benchmarks/scaling.py [--only pooled_mlp v3 embed scan] [--pairs 60000] [--proteins 1500]

Prints the rate with one and with two processes, in turn, and the ratio of the best of each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np

LETTERS = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", dtype=np.uint8)
# Pairs of an optimiser step, of which two processes take half each.
BATCH = {"pooled_mlp": 4096, "v3": 1024}
WORK = (*BATCH, "embed", "scan")
# What `scan` reads was made by `embed`, which comes first.
EMBEDDED = "all.parquet"


@dataclass(frozen=True)
class Bench:
    """A folder with random data, in which commands are run."""

    folder: Path

    def rate(self, mode: str, metric: str, **parameters: object) -> float:
        """A metric of the run of one command."""
        words = [word for name, value in parameters.items() for word in (f"--{name}", str(value))]
        store = f"sqlite:///{self.folder}/mlflow.db"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": store}
        command = [sys.executable, "-m", "ppi_train", mode, *words]
        done = subprocess.run(command, cwd=self.folder, env=environment, check=False, capture_output=True)
        if done.returncode:
            sys.exit(done.stderr.decode())
        client = mlflow.MlflowClient(store)
        # By its mode: the first use of the released model makes a run as well.
        of_mode = f"tags.`ppi.mode` = '{mode}'"
        run = client.search_runs(["0"], of_mode, order_by=["attributes.start_time DESC"], max_results=1)[0]
        return float(run.data.metrics[metric])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", choices=WORK, default=WORK)
    parser.add_argument("--pairs", type=int, default=60_000)
    parser.add_argument("--proteins", type=int, default=1500)
    parser.add_argument("--scanned", type=int, default=12_000, help="proteins of a scan")
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        write_data(bench.folder, given)
        for work in given.only:
            rates: dict[int, list[float]] = {1: [], 2: []}
            for _ in range(given.rounds):
                for count, found in rates.items():
                    found.append(measured(bench, work, count))
            one, two = (max(found) for found in rates.values())
            print(f"{work}: {one:,.0f} and {two:,.0f} a second, {two / one:.2f} times", flush=True)


def measured(bench: Bench, work: str, count: int) -> float:
    """The rate of some work with this number of processes."""
    if work == "embed":
        (bench.folder / EMBEDDED).unlink(missing_ok=True)  # an output that is overwritten serves as a cache
        # As the released model takes them, whatever the processor has.
        embedder = {
            "embedder": "protein_lm",
            "embedder_run_id": "released:human",
            "embedder_precision": "float32",
        }
        made = {"fasta": "all.fasta", "output": EMBEDDED, "granularity": "residue", "workers": count}
        return bench.rate("embed", "system/residues_per_second", **embedder, **made)
    if work == "scan":
        scanned = {"embeddings": EMBEDDED, "all_pairs": "true", "top_k": 10, "overwrite": "true"}
        return bench.rate(
            "predict", "system/pairs_per_second", **scanned, output="pairs.parquet", workers=count
        )
    return bench.rate(
        "train_only",
        "system/training_pairs_per_second",
        model=work,
        train_pairs="train.tsv",
        val_pairs="val.tsv",
        fasta="some.fasta",
        epochs=6,
        early_stopping_patience=0,
        batch_size=BATCH[work] // 2,
        accumulation_steps=2,
        processes=count,
    )


def write_data(folder: Path, given: argparse.Namespace) -> None:
    """Random sequences of 50 to 750 residues, and random pairs."""
    draw = np.random.default_rng(0)
    for name, count in (("some", given.proteins), ("all", given.scanned)):
        with (folder / f"{name}.fasta").open("w") as stream:
            for number in range(count):
                letters = LETTERS[draw.integers(len(LETTERS), size=draw.integers(50, 750))]
                stream.write(f">P{number}\n{letters.tobytes().decode()}\n")
    for name, count in (("train", given.pairs), ("val", 2000)):
        rows = draw.integers(given.proteins, size=(2 * count, 2))
        rows = np.unique(np.sort(rows[rows[:, 0] != rows[:, 1]]), axis=0)
        rows = draw.permutation(rows)[:count]
        labels = draw.integers(2, size=len(rows))
        with (folder / f"{name}.tsv").open("w") as stream:
            stream.write("protein_a\tprotein_b\tlabel\n")
            stream.writelines(f"P{a}\tP{b}\t{label}\n" for (a, b), label in zip(rows, labels, strict=True))


if __name__ == "__main__":
    main()
