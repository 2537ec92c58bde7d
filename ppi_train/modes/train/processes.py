"""The processes that train together: how many, how they are started, and how they find one another.

The first rank is the process of the mode, with its tracked run. It starts the others when it has read its
inputs, unless a launcher such as torchrun has started all. They are told what to train, read the same inputs,
and end with the training; see `follower`.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch._C._distributed_c10d import FileStore, Store
from torch.distributed.rendezvous import rendezvous

from ppi_train.config.options import ProcessOptions
from ppi_train.config.places import with_addresses
from ppi_train.errors import RankError, first_line
from ppi_train.io.terminal import ending_signals
from ppi_train.runs.config import Resumable
from ppi_train.tracking.connection import server_address
from ppi_train.tracking.run import TrackedRun
from ppi_train.training.ranks import JOINING, ProcessGroup, Ranks, SingleProcess

logger = logging.getLogger(__name__)

LOGS = "logs"
SHARED = "shared"
# Seconds for the other ranks to end after the training.
_ENDING = 30.0
_launched: list[ProcessGroup] = []  # the group of this process, if a launcher has started it


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training, as the first rank describes it to the others.

    Attributes:
        config: The complete config.
        digests: Digests of all inputs, by name.
        runs: The MLflow runs of the first rank: that of the training, and those around it.
        output: The folder of the run.
        server: The tracking server; empty if the run is offline.
        shared: A folder of this attempt, in which the ranks on a machine share what they draw.
    """

    config: Resumable
    digests: Mapping[str, str]
    runs: tuple[str, ...]
    output: Path
    server: str
    shared: Path

    def log_of(self, rank: int) -> Path:
        """The log file of a rank."""
        return _log_of(self.output, rank)


def number_of_processes(options: ProcessOptions) -> int:
    """How many processes train together; at least 1."""
    return options.known or max(1, torch.cuda.device_count())


def batches_of(config: Resumable, batch_size: int) -> dict[str, int]:
    """`batch_size` and `accumulation_steps`, by which each process has work in each optimiser step.

    Args:
        config: The config as given.
        batch_size: The batch size, given or the model's own; divided, if `accumulation_steps` is not given.
    """
    count, given = number_of_processes(config.processes), config.training.accumulation_steps
    if given is None:
        return {"batch_size": -(-batch_size // count), "accumulation_steps": count}
    if given % count:
        logger.warning(
            "%d processes share the %d batches of an optimiser step: some wait for the others", count, given
        )
    return {"batch_size": batch_size, "accumulation_steps": given}


@contextmanager
def training_ranks(
    tracked: TrackedRun, output: Path, config: Resumable, digests: Mapping[str, str], device: torch.device
) -> Iterator[Ranks]:
    """The processes that train together, as the first of them uses them.

    Raises:
        RankError: a process has ended before the training did.
        UserError: another process cannot read the same inputs.
    """
    count = number_of_processes(config.processes)
    if count == 1:
        yield SingleProcess()
        return
    plan = Plan(
        config=with_addresses(config),  # a rank on another machine has copies of its own
        digests=dict(digests),
        runs=TrackedRun.running(),
        output=output.absolute(),
        server="" if tracked.offline else server_address(),
        # Of this attempt alone: an interrupted one may have left a file that is not whole.
        shared=output.absolute() / SHARED / secrets.token_hex(6),
    )
    try:
        if _launched:
            yield _joined(_launched[0], plan, device)
        else:
            with _started(count, output) as group:
                yield _joined(group, plan, device)
                group.from_first(lambda: None)  # nothing more to train
    finally:
        shutil.rmtree(output / SHARED, ignore_errors=True)
        if (output / LOGS).exists():
            tracked.log_folder(output / LOGS, LOGS)


def _joined(group: ProcessGroup, plan: Plan, device: torch.device) -> ProcessGroup:
    group.from_first(lambda: plan)
    group.agree(None)
    logger.info(
        "training on %d processes of %d threads: %s",
        group.size, torch.get_num_threads(), ", ".join(group.names),
    )  # fmt: skip
    bound = group.on(device)
    bound.folder = plan.shared
    return bound


@contextmanager
def launched_ranks() -> Iterator[ProcessGroup]:
    """The group of this process, which a launcher such as torchrun has started as one of several."""
    try:
        with _ending_at_once():
            group = ProcessGroup(*next(rendezvous("env://", timeout=JOINING)))
    except RankError:
        raise
    except (RuntimeError, ValueError) as error:
        raise RankError(
            "the processes of the training have not found one another",
            where="RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, which torchrun sets",
            got=first_line(error),
        ) from None
    with _member(group):
        _launched.append(group)
        try:
            yield group
        finally:
            _launched.remove(group)


@contextmanager
def _ending_at_once() -> Iterator[None]:
    """Has signals end this process, which waits for others in a function that Python cannot interrupt."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ending_signals()} if main else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def started_rank(store: str, rank: int, size: int, first: int) -> Iterator[ProcessGroup]:
    """The group of this process, which `training_ranks` has started from the process with the ID `first`."""
    joined = threading.Event()
    folder = Path(store).parent
    threading.Thread(target=_end_without, args=(first, folder, joined), daemon=True).start()
    shared = FileStore(store, size)
    shared.set(f"here/{rank}", "")
    try:
        with _member(ProcessGroup(shared, rank, size)) as group:
            joined.set()
            yield group
    finally:
        if os.getppid() != first:  # which would have removed it
            _remove_as_last(folder, shared, rank, size)


def _end_without(first: int, folder: Path, joined: threading.Event) -> None:
    """Ends this process if the first rank is lost before they are connected: nothing else would tell."""
    while not joined.wait(1.0):
        if os.getppid() != first:
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(RankError.exit_code)


def _remove_as_last(folder: Path, store: Store, rank: int, size: int) -> None:
    """Removes the folder of the store when all ranks but the first have ended with it."""
    store.set(f"ended/{rank}", "")
    if store.check([f"ended/{other}" for other in range(1, size)]):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _member(group: ProcessGroup) -> Iterator[ProcessGroup]:
    error: BaseException | None = None
    try:
        yield group
    except BaseException as raised:
        error = raised
        raise
    finally:
        group.leave(error)


@contextmanager
def _started(count: int, output: Path) -> Iterator[ProcessGroup]:
    """Starts the other ranks on this machine; they find one another by a file, and talk by loopback."""
    threads = torch.get_num_threads()
    own = _threads_of_each(count)
    shared = {"OMP_NUM_THREADS": str(own), "GLOO_SOCKET_IFNAME": _loopback()}
    before = {name: os.environ.get(name) for name in shared}
    (output / LOGS).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ppi_train_") as folder:
        path = f"{folder}/store"
        os.environ |= shared
        torch.set_num_threads(own)
        others = [_start(path, rank, count, output) for rank in range(1, count)]
        patience = 0.0  # not connected yet, they would not notice that this process ends
        try:
            store = FileStore(path, count)
            _wait_for(others, store, output)
            patience = _ENDING
            with _member(ProcessGroup(store, 0, count)) as group:
                yield group
        except RankError:
            _report(others, output)
            raise
        finally:
            _end(others, patience)
            torch.set_num_threads(threads)
            for name, value in before.items():
                os.environ.pop(name)
                os.environ |= {} if value is None else {name: value}


def _threads_of_each(count: int) -> int:
    """OMP_NUM_THREADS, of whose nested numbers the first counts; unset: a part of the processors."""
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if given.isdecimal() and int(given):
        return int(given)
    # macOS binds no process to some of its processors.
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable // count)


def _loopback() -> str:
    """The name of the network interface that only this machine can reach."""
    return next(
        str(name)
        for name, addresses in psutil.net_if_addrs().items()
        if any(address.address == "127.0.0.1" for address in addresses)
    )


def _start(store: str, rank: int, count: int, output: Path) -> subprocess.Popen[bytes]:
    numbers = (str(number) for number in (rank, count, os.getpid()))
    command = [sys.executable, "-m", "ppi_train.modes.train.follower", store, *numbers]
    with _log_of(output, rank).open("ab") as log:
        return subprocess.Popen(
            command,
            env={**os.environ, "LOCAL_RANK": str(rank)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches the first rank, which stops all after the same step
        )


def _wait_for(others: list[subprocess.Popen[bytes]], store: Store, output: Path) -> None:
    """Waits until all other ranks are there.

    Raises:
        RankError: one has ended.
    """
    keys = [f"here/{rank}" for rank in range(1, len(others) + 1)]
    while not store.check(keys):
        for rank, process in enumerate(others, start=1):
            if process.poll() is not None:
                raise RankError("a process of the training could not start", where=_log_of(output, rank))
        time.sleep(0.05)


def _report(others: list[subprocess.Popen[bytes]], output: Path) -> None:
    for rank, process in enumerate(others, start=1):
        if process.poll():
            logger.error(
                "rank %d ended with exit code %s; its log: %s",
                rank,
                process.returncode,
                _log_of(output, rank),
            )


def _end(others: list[subprocess.Popen[bytes]], patience: float) -> None:
    """Waits for the other ranks to end by themselves, and ends those that do not."""
    until = time.monotonic() + patience
    for process in others:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _log_of(output: Path, rank: int) -> Path:
    return output / LOGS / f"rank-{rank}.log"
