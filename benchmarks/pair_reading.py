"""CPU seconds and memory of reading a large table of pairs.

    python benchmarks/pair_reading.py make PAIRS.tsv [--pairs 1e7] [--proteins 1e5]
    python benchmarks/pair_reading.py read PAIRS.tsv

Also runs with the code of commit 4e26ede; see `against.py`.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from ppi_train.data.pairs import read_pairs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("make", "read"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--pairs", type=float, default=1e7)
    parser.add_argument("--proteins", type=float, default=1e5)
    given = parser.parse_args()
    if given.what == "make":
        make(given.path, int(given.pairs), int(given.proteins))
    else:
        read(given.path)


def make(path: Path, pairs: int, proteins: int, *, seed: int = 0) -> None:
    """Writes about as many pairs, all distinct, with a header and labels."""
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.integers(proteins, size=(pairs, 2)), axis=1) @ np.array([proteins, 1])
    keys, _ = np.unique(drawn, return_counts=True)  # without counts it takes many times as long
    rng.shuffle(keys)
    names = pa.array([f"P{number:06d}" for number in range(proteins)])
    columns = {
        "protein_a": names.take(pa.array(keys // proteins)),
        "protein_b": names.take(pa.array(keys % proteins)),
        "label": pa.array(rng.integers(2, size=len(keys), dtype=np.int8)),
    }
    options = pa_csv.WriteOptions(delimiter="\t", quoting_style="none")
    pa_csv.write_csv(pa.table(columns), path, options)


def read(path: Path) -> None:
    before, started = peak_mb(), time.process_time()
    table = read_pairs(path)
    seconds, size = time.process_time() - started, path.stat().st_size / 1e6
    grown = peak_mb() - before
    print(f"{len(table):,} pairs: {grown:,.0f} MB beside the libraries, {grown / size:.2f} times the text")
    print(f"cpu_seconds {seconds:.2f}")


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()
