"""Throughput of a served model in pairs per second.

The server is `mlflow models serve` on loopback; requests have 1, 10 and 1,000 pairs.

    python benchmarks/serving.py

Trains on the built-in example, promotes, serves with one worker, and prints the table.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from ppi_train.modes import execute_pipeline

NAME = "benchmark"
AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
SECONDS = 10.0


def main() -> None:
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.environ["PPI_TRAIN_CACHE"] = f"{folder}/cache"
        os.chdir(folder)
        execute_pipeline("full_pipeline", {"registered_model": NAME})
        with served() as url:
            print("| pairs a request | requests | pairs/s | ms a request |")
            print("| --- | --- | --- | --- |")
            for size in (1, 10, 1000):
                measure(url, size)


@contextmanager
def served() -> Iterator[str]:
    """`mlflow models serve` of the champion; gives the URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{NAME}@champion"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--env-manager", "local", "--workers", "1"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with Path("serve.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "PATH": path}, start_new_session=True
        )
    try:
        for _ in range(240):
            try:
                if requests.get(f"http://127.0.0.1:{port}/ping", timeout=2).ok:
                    break
            except requests.RequestException:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


def measure(url: str, size: int) -> None:
    """Sends requests of pairs of new sequences, 300 to 600 residues long, for some seconds."""
    rng = random.Random(size)
    sequences = ["".join(rng.choices(AMINO_ACIDS, k=rng.randint(300, 600))) for _ in range(2000)]
    endless = itertools.cycle(sequences)
    started, requested = time.perf_counter(), 0
    with requests.Session() as session:
        while time.perf_counter() - started < SECONDS:
            rows = [[next(endless), next(endless)] for _ in range(size)]
            body: Any = {"dataframe_split": {"columns": ["sequence_a", "sequence_b"], "data": rows}}
            answer = session.post(url, json=body, timeout=60)
            answer.raise_for_status()
            requested += 1
    seconds = time.perf_counter() - started
    rate, latency = requested * size / seconds, 1000 * seconds / requested
    print(f"| {size:,} | {requested} | {rate:,.0f} | {latency:.1f} |", flush=True)


if __name__ == "__main__":
    main()
