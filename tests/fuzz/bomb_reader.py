"""Reads hostile files in a separate process.

It takes names on standard input and writes a line of JSON for each.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ppi_train.data.protein_sets import read_node_sets
from ppi_train.errors import UserError
from tests.fuzz.test_checkpoint_fuzz import use
from tests.fuzz.test_import_fuzz import import_from
from tests.fuzz.test_parquet_fuzz import read_cache
from tests.fuzz.test_text_fuzz import read_config, read_sequences, read_table
from tests.support.watched import peak_mb, reset_peak

READERS: dict[str, Callable[[Path], object]] = {
    "fasta": read_sequences,
    "pairs": read_table,
    "cache": read_cache,
    "config": read_config,
    "checkpoint": use,
    "node sets": read_node_sets,
    "import": import_from,
}


def main(allowed_mb: int, seconds: int) -> None:
    torch.set_num_threads(1)
    # The system refuses what is taken beyond this, so that a bomb that goes off harms nobody else.
    bound = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + (allowed_mb << 20)
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    for name, (kind, path) in json.loads(sys.stdin.read()).items():
        before, start = reset_peak(), time.monotonic()
        signal.alarm(seconds)  # whose default action ends the process
        message = None
        try:
            READERS[kind](Path(path))
        except UserError as error:
            message = str(error)
        signal.alarm(0)
        told = {"name": name, "message": message and message[:600], "mb": peak_mb(before)}
        sys.stdout.write(json.dumps({**told, "seconds": round(time.monotonic() - start, 2)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
