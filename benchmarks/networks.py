"""Speed and memory of reading a network of the size of STRING's human one.

    python benchmarks/networks.py [--rows 12000000] [--proteins 20000]

Makes a links file with random scores in a temporary folder, and reads it with `pyarrow.csv` and with
`read_network`, each in processes of its own. Prints the seconds, the ratio and the peak of resident memory.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from ppi_train.data.networks import read_network

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=12_000_000)
    parser.add_argument("--proteins", type=int, default=20_000)
    parser.add_argument("--read", choices=("pyarrow", "ours"), help="only read FILE, and print its cost")
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if options.read:
        print(*cost(options.read, options.file))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "9606.protein.links.txt"
        write_links(path, options.rows, options.proteins)
        print(f"{options.rows:,} rows of {options.proteins:,} proteins, {path.stat().st_size / 1e6:,.0f} MB")
        compare(path)


def write_links(path: Path, rows: int, proteins: int) -> None:
    """Random distinct pairs in both directions, sorted as STRING sorts them; some proteins have many."""
    rng = np.random.default_rng(0)
    names = pa.array([f"9606.ENSP{number:011d}" for number in np.sort(rng.choice(500_000, proteins, False))])
    weights = rng.pareto(1.5, proteins) + 1
    keys = np.empty(0, np.int64)
    while len(keys) < rows // 2:
        a = rng.integers(0, proteins, rows // 2)
        b = rng.choice(proteins, rows // 2, p=weights / weights.sum())
        drawn = np.minimum(a, b) * proteins + np.maximum(a, b)
        keys = np.unique(np.concatenate((keys, drawn[a != b])))
    keys = rng.permutation(keys)[: rows // 2]
    a, b = keys // proteins, keys % proteins
    a, b = np.concatenate((a, b)), np.concatenate((b, a))
    score = np.tile(rng.integers(150, 1000, len(keys)), 2)
    order = np.lexsort((b, a))
    columns = {
        "protein1": names.take(pa.array(a[order])),
        "protein2": names.take(pa.array(b[order])),
        "combined_score": score[order],
    }
    with path.open("wb") as sink:
        sink.write(f"{' '.join(columns)}\n".encode())
        options = pa_csv.WriteOptions(include_header=False, delimiter=" ", quoting_style="none")
        pa_csv.write_csv(pa.table(columns), sink, options)


def compare(path: Path) -> None:
    """Reads the file in turns, and prints the fastest of each."""
    costs: dict[str, list[tuple[float, float]]] = {"pyarrow": [], "ours": []}
    for _ in range(ROUNDS):
        for reader, found in costs.items():
            command = [sys.executable, __file__, "--read", reader, "--file", str(path)]
            seconds, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            found.append((float(seconds), float(peak)))
    print("| reader | seconds | peak, MB |\n| --- | --- | --- |")
    for reader, found in costs.items():
        print(f"| {reader} | {min(found)[0]:.2f} | {max(peak for _, peak in found):,.0f} |")
    print(f"speed of pyarrow.csv: {min(costs['pyarrow'])[0] / min(costs['ours'])[0]:.2f}")


def cost(reader: str, path: Path) -> tuple[float, float]:
    """The seconds of a reader, and the process's peak of memory in MB."""
    started = time.perf_counter()
    if reader == "ours":
        read_network(path)
    else:
        pa_csv.read_csv(path, parse_options=pa_csv.ParseOptions(delimiter=" "))
    seconds = time.perf_counter() - started
    # The peak of `getrusage` includes that of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return seconds, int(kilobytes) * 1024 / 1e6


if __name__ == "__main__":
    main()
