"""Time and accuracy of the search for the nearest training sequence.

Accuracy is relative to exact alignment.

python benchmarks/audit.py --mirror FOLDER              # 3,000 proteins of Bernett's Intra0 against Intra1
python benchmarks/audit.py --mirror FOLDER --exact 200  # some of them also exactly; needs parasail (x86 only)
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from ppi_train.data.alignment import GAP_EXTEND, GAP_OPEN, KAPPA, LAMBDA
from ppi_train.data.benchmarks.prepare import prepare_dataset
from ppi_train.data.fasta import read_fasta
from ppi_train.data.similarity import MAX_EXPECTED, find_similar

THRESHOLDS = (0.0, 0.2, 0.25, 0.3, 0.4, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mirror", required=True)
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--proteins", type=int, default=3_000)
    parser.add_argument("--exact", type=int, default=0)
    given = parser.parse_args()
    splits = ("train", "validation")
    prepared = prepare_dataset("bernett", data_dir=Path(given.data_dir), mirror=given.mirror, splits=splits)
    targets, queries = (list(read_fasta(prepared.splits[split].fasta).sequences.values()) for split in splits)
    rng = np.random.default_rng(0)
    queries = [queries[index] for index in rng.permutation(len(queries))[: given.proteins]]
    wall, processor = time.perf_counter(), time.process_time()
    nearest = find_similar(queries, targets).nearest(len(queries))
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print("| test proteins | training proteins | seconds | seconds of processor |\n| --- | --- | --- | --- |")
    print(f"| {len(queries):,} | {len(targets):,} | {wall:.1f} | {processor:.1f} |\n")
    names = ["similar at all", *(f"above {threshold:.0%} identity" for threshold in THRESHOLDS[1:])]
    print("| | " + " | ".join(names) + " |\n|" + " --- |" * (len(names) + 1))
    print(_row("all, as found", nearest))
    if given.exact:
        subset = nearest[: given.exact]
        exact = np.array([exact_nearest(query, targets) for query in queries[: given.exact]])
        print(_row(f"the first {given.exact}, as found", subset))
        print(_row(f"the first {given.exact}, exactly", exact))
        print(_row("... of which found at all", (subset > 0) * exact))
        print(_row("... of which found within 0.05", (subset > exact - 0.05) * (subset > 0) * exact))


def _row(name: str, nearest: np.ndarray) -> str:
    counts = [f"{int((nearest > threshold).sum()):,}" for threshold in THRESHOLDS]
    return f"| {name} | " + " | ".join(counts) + " |"


def exact_nearest(query: str, targets: list[str]) -> float:
    """The largest identity over all significant Smith-Waterman alignments of a query."""
    import parasail

    profile = parasail.profile_create_sat(query, parasail.blosum62)
    bound = np.log(KAPPA * len(query) * sum(map(len, targets)) / MAX_EXPECTED) / LAMBDA
    best = 0.0
    for target in targets:
        if parasail.sw_striped_profile_sat(profile, target, GAP_OPEN, GAP_EXTEND).score > bound:
            found = parasail.sw_stats_striped_sat(query, target, GAP_OPEN, GAP_EXTEND, parasail.blosum62)
            best = max(best, found.matches / min(len(query), len(target)))
    return best


if __name__ == "__main__":
    main()
