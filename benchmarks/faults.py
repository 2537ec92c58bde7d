"""Cost of faults during training: lost and doubled metrics, and delays.

    python benchmarks/faults.py [--seconds 60] [--only "SIGKILL and resume"]

Each row trains the built-in example at a real tracking server on loopback, which is reached through a proxy
that fails for so many seconds in the middle of training; in the last rows the server or the training
itself is killed. Prints a table; everything is written to a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.support.faults import (  # noqa: E402
    CUT,
    HANG,
    LOSE,
    PASS,
    REFUSE,
    FaultyProxy,
    faulty_proxy,
    free_port,
    kill_server,
    running_server,
    start_server,
    wait_until_healthy,
)

# Logged once an epoch.
NAMES = (
    "train/loss", "train/learning_rate", "system/pairs_per_second", "val/auroc", "val/auprc", "val/loss",
)  # fmt: skip
CHECKPOINT_STEPS = 20
RUN = r"run ([0-9a-f]{32}) at "
EPOCH = r"epoch (\d+)/"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A row of the table."""

    fault: str
    seconds: float
    wall: float
    run_id: str
    computed: int
    note: str = ""


class Training:
    """A training run as a process, read line by line."""

    def __init__(self, mode: str, **parameters: object) -> None:
        arguments = [text for name, value in parameters.items() for text in (f"--{name}", str(value))]
        command = [sys.executable, "-m", f"entry_points.{mode}", *arguments]
        self.shown = ""
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.shown += line

    @property
    def epoch(self) -> int:
        """The last epoch that has ended."""
        return max([0, *map(int, re.findall(EPOCH, self.shown))])

    @property
    def run_id(self) -> str:
        return str(re.findall(RUN, self.shown)[0])

    def wait_for_epoch(self, epoch: int) -> None:
        while self.epoch < epoch and self.process.poll() is None:
            time.sleep(0.05)
        if self.epoch < epoch:
            sys.exit(self.shown)

    def end(self) -> None:
        if self.process.wait(timeout=900):
            sys.exit(self.shown)
        self._thread.join()


def epochs_for(seconds: float, epoch_seconds: float) -> int:
    """So many that an outage lies in the middle."""
    return int((1.5 * seconds + 10) / epoch_seconds) + 10


def outage(name: str, fault: str, seconds: float, proxy: FaultyProxy, settings: dict[str, object]) -> Outcome:
    """The way to the server fails for a while."""
    started = time.perf_counter()
    training = Training("train_only", **settings)
    training.wait_for_epoch(3)
    if fault != PASS:
        proxy.set(fault)
        time.sleep(seconds)
        proxy.set(PASS)
        if training.process.poll() is not None or "best epoch" in training.shown:
            sys.exit(f"the training was over before the outage: more epochs are needed\n{training.shown}")
    training.end()
    wall = time.perf_counter() - started
    return Outcome(
        fault=name,
        seconds=seconds if fault != PASS else 0,
        wall=wall,
        run_id=training.run_id,
        computed=training.epoch,
    )


def server_killed(
    seconds: float, folder: Path, port: int, settings: dict[str, object], server: subprocess.Popen[bytes]
) -> Outcome:
    """SIGKILL to the server; another is started on what it has kept."""
    started = time.perf_counter()
    training = Training("train_only", **settings)
    training.wait_for_epoch(3)
    kill_server(server)
    time.sleep(seconds)
    with running_server(folder, port):
        training.end()
    wall = time.perf_counter() - started
    return Outcome(
        fault="server killed (SIGKILL) and started again",
        seconds=seconds,
        wall=wall,
        run_id=training.run_id,
        computed=training.epoch,
    )


def training_killed(proxy: FaultyProxy, settings: dict[str, object], *, away: bool) -> Outcome:
    """SIGKILL to the training, with the server there or away; then `resume`."""
    started = time.perf_counter()
    training = Training("train_only", **settings)
    training.wait_for_epoch(3)
    if away:
        proxy.set(REFUSE)
        time.sleep(5)
    epoch = training.epoch
    training.process.kill()
    training.process.wait()
    proxy.set(PASS)
    resumed = Training("resume", run_id=training.run_id)
    resumed.end()
    step = int(re.findall(r"continuing at step (\d+)", resumed.shown)[0])
    return Outcome(
        fault=f"training killed (SIGKILL), server {'away' if away else 'there'}; resume",
        seconds=0,
        wall=time.perf_counter() - started,
        run_id=training.run_id,
        computed=resumed.epoch,
        note=f"killed in epoch {epoch + 1}, went on at step {step}: it had not come to the next checkpoint, "
        f"{CHECKPOINT_STEPS} steps later",
    )


def report(outcome: Outcome, client: mlflow.MlflowClient) -> None:
    """Compares the points at the server with those computed."""
    kept = doubled = 0
    for name in NAMES:
        steps = [point.step for point in client.get_metric_history(outcome.run_id, name)]
        kept += len(set(steps))
        doubled += len(steps) - len(set(steps))
    run = client.get_run(outcome.run_id)
    blocked = run.data.metrics["system/tracking_blocked_seconds"]
    trained = (run.info.end_time - run.info.start_time) / 1000
    cells = [
        outcome.fault, f"{outcome.seconds:.0f}", f"{outcome.computed * len(NAMES):,}", f"{kept:,}",
        f"{doubled}", f"{blocked:.3f}", f"{100 * blocked / trained:.2f}%", f"{outcome.wall:.0f}",
        run.info.status, outcome.note,
    ]  # fmt: skip
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each outage")
    parser.add_argument("--epoch-seconds", type=float, default=0.5, help="at least what an epoch takes here")
    parser.add_argument("--only", default="", help="rows whose name has this")
    options = parser.parse_args()
    head = [
        "fault",
        "s",
        "points computed",
        "kept",
        "doubled",
        "training held up, s",
        "of the run",
        "wall, s",
    ]
    head += ["status", ""]
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    with tempfile.TemporaryDirectory() as temporary:
        run_rows(Path(temporary), options)


def run_rows(folder: Path, options: argparse.Namespace) -> None:
    port, uri = (port := free_port()), f"http://127.0.0.1:{port}"
    client = mlflow.MlflowClient(uri)
    settings: dict[str, object] = {
        "data_dir": folder / "data", "output_dir": folder / "runs", "batch_size": 128,
        "epochs": epochs_for(options.seconds, options.epoch_seconds), "early_stopping_patience": 0,
        "checkpoint_every": f"{10 * CHECKPOINT_STEPS} steps", "tracking_flush_seconds": 120,
    }  # fmt: skip
    outages = {
        "none": PASS, "connection closed": CUT, "answers 500": REFUSE, "accepts, never answers": HANG,
        "does it, then closes the connection": LOSE,
    }  # fmt: skip
    short = settings | {"epochs": 12, "checkpoint_every": f"{CHECKPOINT_STEPS} steps"}
    (folder / "server").mkdir()
    with (folder / "server" / "log").open("a") as log, faulty_proxy(uri) as proxy:
        server = start_server(folder / "server", port, log)
        try:
            wait_until_healthy(uri, server, folder / "server" / "log")
            os.environ["MLFLOW_TRACKING_URI"] = proxy.uri
            rows: dict[str, Callable[[], Outcome]] = {
                name: lambda name=name, fault=fault: outage(name, fault, options.seconds, proxy, settings)  # type: ignore[misc]
                for name, fault in outages.items()
            }
            rows["SIGKILL and resume, server there"] = lambda: training_killed(proxy, short, away=False)
            rows["SIGKILL and resume, server away"] = lambda: training_killed(proxy, short, away=True)
            for name, row in rows.items():
                if options.only in name:
                    report(row(), client)
            if options.only in "server killed":
                outcome = server_killed(options.seconds, folder / "server", port, settings, server)
                with running_server(folder / "server", port):
                    report(outcome, client)
        finally:
            if server.poll() is None:
                kill_server(server)


if __name__ == "__main__":
    main()
