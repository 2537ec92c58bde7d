"""Memory and time of an epoch's batches for many pairs, and what batches over a residue cache read.

    nice -n 10 python benchmarks/batches.py [--pairs 1e6 1e7 1e8] [--proteins 20000] [--fresh-negatives]
    nice -n 10 python benchmarks/batches.py --cache residues.parquet --train pairs.tsv

The first measures each number of pairs in a process of its own: bytes a pair of the pairs, their labels and
the order, at the highest (the growth of the process, which holds the pairs as a training does), and seconds
until the first batch is there. The second counts, for each order of the proteins, the ranges that a batch
reads, and the bytes in row groups it touches, each divided by the bytes it needs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import torch

from ppi_train.config.options import PairLossOptions
from ppi_train.data.pairs import read_pairs
from ppi_train.embeddings.cache.file import CacheFile
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.features import PairData, VectorFeatures
from ppi_train.training.batches import groups_for_sharing, shared_batches
from ppi_train.training.pair_task import PairTask

BATCH_SIZE = 1024
# Bytes that take no longer to read than another request.
GAP = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=float, nargs="+", default=[1e6, 1e7, 1e8])
    parser.add_argument("--proteins", type=int, default=20_000)
    parser.add_argument("--fresh-negatives", action="store_true")
    parser.add_argument("--alone", action="store_true", help="measure in this process")
    parser.add_argument("--cache", help="a residue cache")
    parser.add_argument("--train", help="pairs of its proteins")
    given = parser.parse_args()
    if given.cache:
        reads_of_batches(EmbeddingCache(given.cache), Path(given.cache), Path(given.train))
    elif given.alone:
        measure_epoch(int(given.pairs[0]), given.proteins, given.fresh_negatives)
    else:
        for count in given.pairs:
            options = ["--proteins", str(given.proteins), *["--fresh-negatives"][: given.fresh_negatives]]
            command = [sys.executable, __file__, "--alone", "--pairs", str(count), *options]
            subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@contextmanager
def highest_memory() -> Iterator[list[int]]:
    """Notes the highest memory of this process, in bytes, while the block runs."""
    highest, done, process = [0], threading.Event(), psutil.Process()

    def watch() -> None:
        while not done.wait(0.005):
            highest[0] = max(highest[0], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield highest
    finally:
        done.set()
        thread.join()


def drawn_pairs(count: int, proteins: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs as `read_pairs` gives them, made without more memory than they have."""
    rng = np.random.default_rng(0)
    index, labels = np.empty((count, 2), np.int32), np.empty(count, np.int8)
    for start in range(0, count, 1 << 20):
        part = slice(start, min(start + (1 << 20), count))
        index[part] = rng.integers(proteins, size=index[part].shape, dtype=np.int32)
        labels[part] = rng.random(len(labels[part])) < 0.5
    return torch.from_numpy(index), torch.from_numpy(labels)


def measure_epoch(count: int, proteins: int, fresh_negatives: bool) -> None:
    """Prints bytes a pair and seconds to the first batch of an epoch."""
    first_batches(100_000, proteins, fresh_negatives)  # what is loaded once is not counted
    before = psutil.Process().memory_info().rss
    with highest_memory() as highest:
        seconds = first_batches(count, proteins, fresh_negatives)
    print(
        f"{count:>11,} pairs: {(highest[0] - before) / count:5.1f} bytes a pair at the highest, "
        f"{seconds:6.2f} s to the first batch of an epoch",
        flush=True,
    )


def first_batches(count: int, proteins: int, fresh_negatives: bool) -> float:
    """Begins two epochs; returns the seconds of the faster one, as other programs may run."""
    pairs, labels = drawn_pairs(count, proteins)
    data = PairData(features=VectorFeatures(torch.zeros(proteins, 1)), pairs=pairs, labels=labels)
    task = PairTask(
        PairLossOptions(),
        seed=0,
        train=data,
        validation=data,
        ranking_metrics=lambda _, __: {},
        batch_size=BATCH_SIZE,
        share_proteins=True,
        fresh_negatives=fresh_negatives,
    )
    seconds = []
    for epoch in range(2):
        start = time.process_time()
        next(iter(task.load(task.batches(epoch)[:1])))
        seconds.append(time.process_time() - start)
    return min(seconds)


def reads_of_batches(cache: EmbeddingCache, path: Path, train: Path) -> None:
    """Prints how many ranges and row groups a batch reads, with either order of the proteins."""
    table = read_pairs(train)
    rows = cache.rows_of(table.proteins)
    pairs, positions = torch.from_numpy(table.index), torch.from_numpy(rows)
    for name, block, given in (("proteins", 1, None), ("blocks", 16, positions)):
        groups = groups_for_sharing(len(table), len(rows), BATCH_SIZE, block=block)
        batches = shared_batches(pairs, len(rows), groups, seed=0, epoch=0, positions=given)
        found = [reads_of_rows(cache, path, np.unique(rows[pairs[batch.long()]])) for batch in batches]
        means = {key: np.mean([of_batch[key] for of_batch in found]) for key in found[0]}
        told = ", ".join(f"{value:,.1f} {key}" for key, value in means.items())
        print(f"batch_order={name} ({groups} groups): a batch needs {told}", flush=True)


def reads_of_rows(cache: EmbeddingCache, path: Path, wanted: np.ndarray) -> Mapping[str, float]:
    """What some ascending rows of a cache of one file need."""
    sizes = cache.residue_store.sizes
    starts = CacheFile(path).group_starts()
    groups = np.unique(np.searchsorted(starts, wanted, side="right") - 1)
    whole = sum(int(sizes[starts[group] : starts[group + 1]].sum()) for group in groups)
    needed = int(sizes[wanted].sum())
    ends = sizes.cumsum()
    gaps = (ends - sizes)[wanted[1:]] - ends[wanted[:-1]]
    joined = gaps <= GAP
    return {
        "proteins": float(len(wanted)),
        "ranges": float(1 + (gaps > 0).sum()),
        "ranges if short gaps are read too": float(1 + (~joined).sum()),
        "bytes read then per byte needed": 1 + int(gaps[joined].sum()) / needed,
        "row groups": float(len(groups)),
        "bytes of row groups per byte needed": whole / needed,
    }


if __name__ == "__main__":
    main()
