"""Reading speed of residue states: this cache, memory-mapped files, and HDF5.

The HDF5 file has a data set per protein.

    pip install -e .[h5]
    nice -n 10 python benchmarks/cache_reading.py [--proteins 4000] [--folder /a/disk]
    nice -n 10 python benchmarks/cache_reading.py --gigabytes 20 --folder /a/disk

The first prints the tables of docs/reference/caches.md. The second makes a cache of that size, trains on it
and says how much memory that took. What is written is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from ppi_train.data.fasta import sequence_digest
from ppi_train.embeddings.cache import CacheSpec
from ppi_train.embeddings.cache import file as cache_writer
from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.embeddings.cache.reader import EmbeddingCache, ResidueBatches

DIMENSION = 640
BATCH, BATCHES = 256, 12
TURNS = 7


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--proteins", type=int, default=4000)
    parser.add_argument("--gigabytes", type=float)
    parser.add_argument("--folder", help="where to write; a disk, as /tmp may be memory")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        if given.gigabytes:
            train_within_memory(Path(folder), given.gigabytes)
        else:
            compare_readers(Path(folder), given.proteins)
            measure_opening(Path(folder))


def human_lengths(count: int) -> np.ndarray:
    """Median 415 and mean 560 residues as in the human proteome, a few beyond 5,000, and titin."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(415), 0.774, count), 25, 9000).astype(int)
    lengths[count // 2] = 34_350
    return lengths


def made_states(lengths: np.ndarray, dimension: int = DIMENSION) -> Iterator[tuple[str, np.ndarray]]:
    """Proteins with noise for states: pieces of one pool, since drawing gigabytes would take minutes."""
    rng = np.random.default_rng(1)
    pool = rng.normal(size=(40_000, dimension)).astype(np.float16)
    for number, length in enumerate(lengths.tolist()):
        start = rng.integers(0, len(pool) - length)
        yield f"P{number:05d}", pool[start : start + length]


def write_cache(path: Path, lengths: np.ndarray, dimension: int = DIMENSION) -> None:
    spec = CacheSpec(
        embedder={"name": "noise", "parameters": {}, "digest": "00"},
        dimension=dimension,
        granularity="residue",
        dtype="float16",
        max_length=None,
        truncation="head",
        fasta_digest="00",
    )
    with CacheWriter(path, spec) as writer:
        for protein, states in made_states(lengths, dimension):
            writer.add(protein, sequence_digest(protein), len(states), states)


def compare_readers(folder: Path, count: int) -> None:
    """Prints the table of speeds."""
    lengths = human_lengths(count)
    cache, flat, hdf5 = files = tuple(folder / name for name in ("cache.parquet", "flat.bin", "cache.h5"))
    started = time.perf_counter()
    write_cache(cache, lengths)
    seconds = time.perf_counter() - started
    with flat.open("wb") as raw, h5py.File(hdf5, "w") as sets:
        for protein, states in made_states(lengths):
            raw.write(states.tobytes())
            sets.create_dataset(protein, data=states)
    total = int(lengths.sum()) * DIMENSION * 2
    print(f"{count:,} proteins of {lengths.mean():.0f} residues, {total / 1e9:.2f} GB, written at")
    print(f"{total / seconds / 1e9:.2f} GB/s. Best of {TURNS} turns; all files are opened in each.\n")
    proteins = [f"P{number:05d}" for number in range(count)]
    rng = np.random.default_rng(2)
    batches = [rng.choice(proteins, BATCH, replace=False).tolist() for _ in range(BATCHES)]
    asked = sum(int(lengths[int(name[1:])]) for batch in batches for name in batch) * DIMENSION * 2
    print("| reading | page cache | this cache, GB/s | other, GB/s | ratio |")
    print("| --- | --- | --- | --- | --- |")
    in_order = [partial(in_order_of_file, cache, proteins), partial(mapped, flat, lengths)]
    again = [partial(in_order_again, EmbeddingCache(cache), proteins), partial(mapped, flat, lengths)]
    at_random = [partial(packed_batches, cache, batches), partial(hdf5_batches, hdf5, batches)]
    for name, size, readers, page_cache in (
        ("all in order, compared with `np.memmap`", total, in_order, ("cold", "warm")),
        ("the same, later in the process", total, again, ("warm",)),
        (f"random batches of {BATCH}, compared with HDF5", asked, at_random, ("cold", "warm")),
    ):
        for state in page_cache:
            ours, other = (size / seconds / 1e9 for seconds in timed(readers, files, cold=state == "cold"))
            print(f"| {name} | {state} | {ours:.2f} | {other:.2f} | {ours / other:.2f} |", flush=True)


def in_order_of_file(path: Path, proteins: list[str]) -> None:
    for _ in EmbeddingCache(path).residues(proteins):
        pass


def in_order_again(cache: EmbeddingCache, proteins: list[str]) -> None:
    """Reads what the process has checked before: the first turn, which does not count, has."""
    for _ in cache.residues(proteins):
        pass


def mapped(path: Path, lengths: np.ndarray) -> None:
    """Copies each protein's states out of a memory-mapped file."""
    states = np.memmap(path, np.float16, "r").reshape(-1, DIMENSION)
    ends = np.cumsum(lengths)
    for start, end in zip(ends - lengths, ends, strict=True):
        np.array(states[start:end])


def packed_batches(path: Path, batches: list[list[str]]) -> None:
    for _ in ResidueBatches(EmbeddingCache(path), batches):
        pass


def hdf5_batches(path: Path, batches: list[list[str]]) -> None:
    """Reads each protein's data set; the states of a batch stay apart, which saves HDF5 a copy."""
    with h5py.File(path) as sets:
        for batch in batches:
            [sets[protein][()] for protein in batch]


def timed(readers: Sequence[Callable[[], None]], files: Sequence[Path], *, cold: bool) -> list[float]:
    """Seconds of each reader's best turn: what else the machine does only ever adds time."""
    best = [float("inf")] * len(readers)
    for turn in range(TURNS + 1):
        for number, reader in enumerate(readers):
            if cold:
                evict(files)
            started = time.perf_counter()
            reader()
            if turn or cold:  # the first turn warms the page cache
                best[number] = min(best[number], time.perf_counter() - started)
    return best


def evict(files: Sequence[Path]) -> None:
    """Drops the files from the page cache."""
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure_opening(folder: Path) -> None:
    """A cache of 20,000 proteins, with as many row groups as there are at full width."""
    path, dimension = folder / "many.parquet", 8
    cache_writer.ROW_GROUP_BYTES = cache_writer.ROW_GROUP_BYTES * dimension // DIMENSION
    write_cache(path, human_lengths(20_000), dimension)
    print("\n| opening 20,000 proteins | ms | MB more of resident memory |\n| --- | --- | --- |")
    for state in ("cold", "warm"):
        if state == "cold":
            evict((path,))
        opened = json.loads(in_process("report_opening", path))
        print(f"| {state} page cache | {1000 * opened['seconds']:.0f} | {opened['bytes'] / 1e6:.0f} |")


def report_opening(path: str) -> None:
    before, started = resident(), time.perf_counter()
    cache = EmbeddingCache(path)
    seconds = time.perf_counter() - started
    assert len(cache) > 0
    print(json.dumps({"seconds": seconds, "bytes": resident() - before}))


def resident(field: str = "VmRSS") -> int:
    """Bytes of resident memory; `VmHWM` for the most that there ever were."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


def in_process(function: str, *arguments: object) -> str:
    """Calls a function of this file in a process of its own; its last line of output."""
    command = [sys.executable, __file__, "--call", function, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[-1]


def train_within_memory(folder: Path, gigabytes: float) -> None:
    """Makes a cache of that size and trains on random pairs of all its proteins."""
    count = round(gigabytes * 1e9 / (560 * DIMENSION * 2))
    lengths = human_lengths(count)
    started = time.perf_counter()
    write_cache(folder / "cache.parquet", lengths)
    size = (folder / "cache.parquet").stat().st_size
    seconds = time.perf_counter() - started
    print(f"cache: {count:,} proteins, {size / 1e9:.1f} GB, written in {seconds:.0f} s", flush=True)
    rng = np.random.default_rng(3)
    for name, pairs in (("train", 5 * count), ("validation", count)):
        ends = rng.permuted(np.resize(np.arange(count), 2 * pairs)).reshape(-1, 2)
        rows = [f"P{a:05d}\tP{b:05d}\t{(a + b) % 2}" for a, b in ends.tolist() if a != b]
        (folder / f"{name}.tsv").write_text("\n".join(["protein_a\tprotein_b\tlabel", *dict.fromkeys(rows)]))
    evict((folder / "cache.parquet",))
    seconds, most = train(folder)
    print(f"training: {seconds:.0f} s, at most {most / 1e9:.2f} GB of resident memory", flush=True)
    evict((folder / "cache.parquet",))
    report = json.loads(in_process("report_batches", folder / "cache.parquet"))
    print(
        f"every protein once in random batches of {BATCH}: {report['seconds']:.0f} s, "
        f"at most {report['bytes'] / 1e9:.2f} GB of resident memory"
    )


def train(folder: Path) -> tuple[float, int]:
    """Trains on the made pairs as a user would; seconds, and the most bytes of resident memory."""
    options = {
        "train_pairs": folder / "train.tsv",
        "val_pairs": folder / "validation.tsv",
        "embeddings": folder / "cache.parquet",
        "model": "pooled_mlp",
        "epochs": 2,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    started = time.perf_counter()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ppi_train", "train_only", *words], cwd=folder, env=environment, stderr=log
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit((folder / "log").read_text())
    return time.perf_counter() - started, usage.ru_maxrss * 1024


def report_batches(path: str) -> None:
    cache = EmbeddingCache(path)
    proteins = np.random.default_rng(4).permutation(list(cache.lengths))
    batches = [proteins[start : start + BATCH].tolist() for start in range(0, len(proteins), BATCH)]
    started = time.perf_counter()
    for batch in ResidueBatches(cache, batches):
        assert len(batch.states) == batch.offsets[-1]
    print(json.dumps({"seconds": time.perf_counter() - started, "bytes": resident("VmHWM")}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--call"]:
        globals()[sys.argv[2]](*sys.argv[3:])
    else:
        main()
