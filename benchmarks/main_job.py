"""Time, accuracy and tracking overhead of the main job.

The job is `mlflow run` as a user starts it; pairs per second are measured as well.

    python benchmarks/main_job.py [--mirror FOLDER]

Prints a table: the built-in example; Bernett from nothing; Bernett again, with its cache found;
Bernett against a tracking server on loopback. Everything is written to a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import requests

ROOT = Path(__file__).parents[1]
COLUMNS = (
    ("val AUROC", "val/auroc_best", "{:.4f}"),
    ("val AUPRC", "val/auprc_best", "{:.4f}"),
    ("pairs/s", "system/training_pairs_per_second", "{:,.0f}"),
    ("to 1st step, s", "system/seconds_to_first_step", "{:.2f}"),
    ("tracking, s", "system/tracking_seconds", "{:.2f}"),
)


@contextmanager
def tracking_server(folder: Path, port: int) -> Iterator[str]:
    """A real MLflow server on loopback, with its own SQLite store and proxied artifacts."""
    uri = f"http://127.0.0.1:{port}"
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(120):
            try:
                if requests.get(f"{uri}/health", timeout=1).ok:
                    break
            except requests.RequestException:
                time.sleep(0.5)
        yield uri
    finally:
        server.terminate()
        server.wait()


def run_once(tracking_uri: str, data_dir: Path, parameters: dict[str, str]) -> tuple[float, dict[str, float]]:
    """Wall seconds of one `mlflow run`, and the metrics of its run."""
    command = ["mlflow", "run", str(ROOT), "-e", "train_only", "--env-manager", "local"]
    values = parameters | {"data_dir": str(data_dir), "output_dir": str(data_dir / "runs")}
    for name, value in values.items():
        command += ["-P", f"{name}={value}"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri}
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stderr)
    client = mlflow.MlflowClient(tracking_uri)
    (run,) = client.search_runs(["0"], order_by=["attributes.start_time DESC"], max_results=1)
    return seconds, run.data.metrics


def report(name: str, seconds: float, metrics: dict[str, float]) -> None:
    cells = [text.format(metrics[key]) for _, key, text in COLUMNS]
    share = 100 * metrics["system/tracking_seconds"] / seconds
    print(f"| {name} | {seconds:.1f} | {' | '.join(cells)} | {share:.1f}% |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mirror", default=os.environ.get("PPI_TRAIN_MIRROR"))
    parser.add_argument("--port", type=int, default=5971)
    options = parser.parse_args()
    print(f"| job | mlflow run, s | {' | '.join(name for name, _, _ in COLUMNS)} | tracking share |")
    print("|" + " --- |" * (len(COLUMNS) + 3))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store = f"sqlite:///{folder}/mlflow.db"
        os.chdir(folder)  # the SQLite store puts its artifacts beside the working folder
        report("example, SQLite", *run_once(store, folder / "a", {}))
        if options.mirror:
            bernett = {"dataset": "bernett", "mirror": options.mirror}
            report("bernett, from nothing", *run_once(store, folder / "b", bernett))
            report("bernett, cache found", *run_once(store, folder / "b", bernett))
            with tracking_server(folder, options.port) as uri:
                report("bernett, server on loopback", *run_once(uri, folder / "b", bernett))


if __name__ == "__main__":
    main()
