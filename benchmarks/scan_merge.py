"""Memory, disk and time of a scan for the best partners of very many proteins, all but the scoring.

    nice -n 10 python benchmarks/scan_merge.py --proteins 141422   # 10^10 pairs
    nice -n 10 python benchmarks/scan_merge.py --proteins 447214   # 10^11 pairs

Each task writes a part with random scores, as large as a real one; the parts are then merged and the table is
written as `predict` does.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ppi_train.inference.output import Annotations, PredictionWriter
from ppi_train.inference.output_parts import held_prediction, write_part
from ppi_train.inference.pair_grid import PairGrid
from ppi_train.inference.scan import EncodedProteins
from ppi_train.inference.top_partners import TopPartners
from ppi_train.inference.top_scan import TopScan
from ppi_train.models.registry import build_model


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--proteins", type=int, default=20_000)
    parser.add_argument("--top_k", type=int, default=10)
    parser.add_argument("--folder", help="where to write; a disk, as /tmp may be memory")
    given = parser.parse_args()
    torch.manual_seed(0)
    grid = PairGrid(shared=given.proteins)
    proteins = EncodedProteins(
        model=build_model("pooled_mlp", input_dim=4).eval(), states=None, device=torch.device("cpu")
    )
    scan = TopScan(proteins, grid, given.top_k)
    names = tuple(f"P{number:06d}" for number in range(given.proteins))
    print(f"{grid.pairs:,} pairs, {len(grid.blocks):,} blocks, {len(scan.tasks):,} tasks")
    with (
        tempfile.TemporaryDirectory(dir=given.folder) as name,
        held_prediction(Path(name) / "table.parquet", {}, overwrite=False) as parts,
    ):
        started = time.process_time()
        for number, blocks in enumerate(scan.tasks):
            state = random_part(grid, blocks, given.top_k)
            parts.add(write_part(parts.folder, number, state))
        size = sum(path.stat().st_size for path in parts.folder.glob("0*.parquet"))
        seconds = time.process_time() - started
        print(f"parts: {size / 1e6:,.0f} MB, {seconds:.0f} s CPU; memory {peak_memory() / 1e6:,.0f} MB")
        started = time.process_time()
        kept = scan.collect(parts.columns)
        output = Path(name) / "table.parquet"
        with PredictionWriter(output, names, {}, uncertainty=False, annotations=Annotations()) as table:
            for rows in kept.rows():
                table.add(rows.columns)
        seconds = time.process_time() - started
        print(f"merge: {seconds:.0f} s CPU; memory {peak_memory() / 1e6:,.0f} MB at the most")
        print(f"table: {table.rows:,} rows, {output.stat().st_size / 1e6:,.0f} MB")
        parts.discard()


def random_part(grid: PairGrid, blocks: Sequence[int], k: int) -> dict[str, np.ndarray]:
    """The best partners in some blocks, of random scores: `k` of each protein."""
    sides = [grid.numbers(grid.blocks[number]) for number in blocks]
    rows, columns = (torch.from_numpy(np.unique(np.concatenate(side))) for side in zip(*sides, strict=True))
    best = TopPartners(np.arange(grid.proteins), k, torch.device("cpu"))
    best.add(rows, columns[torch.randperm(len(columns))[:k]], torch.randn(len(rows), min(k, len(columns))))
    best.add(rows[torch.randperm(len(rows))[:k]], columns, torch.randn(min(k, len(rows)), len(columns)))
    return best.state()


def peak_memory() -> int:
    """Bytes that were resident at the most."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    main()
