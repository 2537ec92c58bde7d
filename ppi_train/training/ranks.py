"""The processes that train one model together, and what they exchange.

Whole batches of an optimiser step are dealt to the ranks in contiguous blocks. What they sum is added in a
binary tree that the number of batches alone determines, so that 1, 2 and 4 ranks get the same digits.
"""

from __future__ import annotations

import contextlib
import copy
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol, TypeVar, cast

import psutil
import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import Store

from ppi_train.errors import RankError, UserError
from ppi_train.training.shared_rows import make_rows, open_rows

T = TypeVar("T")
R = TypeVar("R")

# A dead process closes its connections, which is noticed at once. A living one may take its time: the first
# rank embeds sequences before training, and measures and uploads between epochs.
PATIENCE = timedelta(days=7)
# All processes begin at nearly the same time. One that ends before it is connected is not noticed.
JOINING = timedelta(minutes=10)
# Seconds in which the other ranks say that they have noticed a lost one.
_NOTICE = 5.0


class Ranks(Protocol):
    """What a trainer needs of the processes that share its work.

    Attributes:
        is_first: Whether this process writes the checkpoints and measures.
        size: Number of processes.
        folder: Where the ranks on a machine share what they draw; None if there is one rank only.
    """

    is_first: bool
    size: int
    folder: Path | None

    def block(self, count: int) -> range:
        """The positions of this rank among `count` batches of an optimiser step."""

    def total(self, values: list[Tensor | None], like: list[Tensor]) -> list[Tensor | None]:
        """The sum over the ranks of each value; None where no rank has one.

        Args:
            values: One tensor or None for each of `like`.
            like: Tensors of the same shapes and types.

        Raises:
            RankError: another process has ended; as in all functions below.
        """

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Whether a flag is set on any rank, for each flag."""

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first rank makes, on every rank.

        Raises:
            UserError: the first rank's error, on every rank.
        """

    def share(self, work: Callable[[Sequence[T]], Iterable[R]], items: Sequence[T]) -> list[R]:
        """The results of all items in order, on every rank; each rank works on a block of them."""

    def joined(self, own: list[T]) -> list[T]:
        """The lists of all ranks, one after the other."""

    def loads(self) -> dict[str, float]:
        """Use of processor and memory of the other ranks, by metric."""


class SingleProcess:
    """The only process of a training."""

    is_first, size = True, 1
    folder: Path | None = None

    def block(self, count: int) -> range:
        return range(count)

    def total(self, values: list[Tensor | None], like: list[Tensor]) -> list[Tensor | None]:
        del like
        return values

    def any(self, *flags: bool) -> tuple[bool, ...]:
        return flags

    def from_first(self, make: Callable[[], T]) -> T:
        return make()

    def share(self, work: Callable[[Sequence[T]], Iterable[R]], items: Sequence[T]) -> list[R]:
        return list(work(items))

    def joined(self, own: list[T]) -> list[T]:
        return own

    def loads(self) -> dict[str, float]:
        return {}


class ProcessGroup:
    """A rank of several; starts the default process group of `torch.distributed`.

    Gradients on a GPU travel by NCCL; all else by Gloo, which notices when a process has ended.

    Args:
        store: Where the ranks find one another.
        rank, size: Which of them this process is.

    Raises:
        RankError: another rank is not there in time.
    """

    def __init__(self, store: Store, rank: int, size: int) -> None:
        self._store, self.rank, self.size, self.is_first = store, rank, size, rank == 0
        self._device = torch.device("cpu")
        self.folder: Path | None = None
        self._shared: Tensor | None = None
        self._row_length = 0
        self._process = psutil.Process()
        self._process.cpu_percent()
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        self.names = [f"rank {other}" for other in range(size)]
        try:
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=JOINING)
        except RuntimeError as error:
            raise RankError(
                "the processes of the training have not found one another", where=self.names[rank], got=error
            ) from None
        dist.distributed_c10d._set_pg_timeout(PATIENCE)
        self.names = self._gather(f"rank {rank} (process {os.getpid()} on {socket.gethostname()})")

    def on(self, device: torch.device) -> ProcessGroup:
        """The same rank, with its model on that device."""
        bound = copy.copy(self)
        bound._device = device
        return bound

    def block(self, count: int) -> range:
        return _block(range(count), self.rank, self.size)

    def total(self, values: list[Tensor | None], like: list[Tensor]) -> list[Tensor | None]:
        parts = [torch.tensor([float(value is not None) for value in values], device=self._device)] + [
            (torch.zeros_like(shape) if value is None else value).reshape(-1).float()
            for value, shape in zip(values, like, strict=True)
        ]
        present, *sums = self._sum(parts).split([part.numel() for part in parts])
        return [
            summed.view_as(shape).to(shape.dtype) if count else None
            for summed, shape, count in zip(sums, like, present.tolist(), strict=True)
        ]

    def _sum(self, parts: list[Tensor]) -> Tensor:
        """The sum over the ranks of the joined parts, through memory if they are on one machine."""
        rows = self._rows(sum(part.numel() for part in parts))
        if rows is None:
            flat = torch.cat(parts)
            gathered = [torch.empty_like(flat) for _ in range(self.size)]
            self._together(lambda: dist.all_gather(gathered, flat))
            return tree_sum(gathered)
        torch.cat(parts, out=rows[self.rank])
        self.any(False)  # all have written
        total = tree_sum(list(rows))
        self.any(False)  # all have read
        return total

    def _rows(self, numbers: int) -> Tensor | None:
        """A row of so many numbers for each rank, in common memory; None if there is none."""
        if self.size == 1 or self._device.type != "cpu":
            return None
        if self._row_length != numbers:
            path = self.from_first(lambda: make_rows(self.size, numbers))
            rows = open_rows(path, self.size, numbers) if path else None
            (is_missing,) = self.any(rows is None)
            if path and self.is_first:
                path.unlink(missing_ok=True)
            self._shared, self._row_length = None if is_missing else rows, numbers
        return self._shared

    def any(self, *flags: bool) -> tuple[bool, ...]:
        shared = torch.tensor(flags, dtype=torch.int32)
        self._together(lambda: dist.all_reduce(shared, op=dist.ReduceOp.MAX))
        return tuple(bool(flag) for flag in shared.tolist())

    def from_first(self, make: Callable[[], T]) -> T:
        made: list[object] = [None]
        if self.is_first:
            try:
                made = [make()]
            except UserError as error:
                made = [error]
        self._together(lambda: dist.broadcast_object_list(made, src=0, device=torch.device("cpu")))
        if isinstance(made[0], UserError):
            raise made[0]
        return cast(T, made[0])

    def share(self, work: Callable[[Sequence[T]], Iterable[R]], items: Sequence[T]) -> list[R]:
        if self._device.type == "cuda":  # moving states between GPUs would take longer than making them
            return list(work(items))
        own = self.block(len(items))
        return self.joined(list(work(items[own.start : own.stop])))

    def joined(self, own: list[T]) -> list[T]:
        return [item for part in self._gather(own) for item in part]

    def loads(self) -> dict[str, float]:
        own = {
            "cpu_utilization_percentage": self._process.cpu_percent(),
            "memory_usage_megabytes": self._process.memory_info().rss / 1e6,
        }
        if self._device.type == "cuda":
            own["gpu_memory_megabytes"] = torch.cuda.max_memory_allocated(self._device) / 1e6
        return {
            f"system/rank_{rank}/{name}": value
            for rank, load in enumerate(self._gather(own))
            for name, value in load.items()
            if rank
        }

    def agree(self, problem: UserError | None) -> None:
        """Ends all ranks if one has a problem.

        Raises:
            UserError: that of the first rank that has one; of another rank, with its name.
        """
        for name, found in zip(self.names, self._gather(problem), strict=True):
            if found is not None:
                raise found if name == self.names[self.rank] else found.at(f"{name}: {found.where or ''}")

    def leave(self, error: BaseException | None) -> None:
        """Ends the group on this rank, and says to the others why."""
        why = "" if error is None or isinstance(error, RankError) else str(error) or type(error).__name__
        with contextlib.suppress(RuntimeError):  # the process that has the store may have ended
            self._store.set(f"left/{self.rank}", why)
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()

    def first_has_left(self) -> bool:
        """Whether the first rank has said that it leaves; False if it was lost."""
        return 0 in self._left([0])

    def _gather(self, own: T) -> list[T]:
        gathered: list[T | None] = [None] * self.size
        self._together(lambda: dist.all_gather_object(gathered, own))
        return cast(list[T], gathered)

    def _together(self, exchange: Callable[[], object]) -> None:
        try:
            exchange()
        except RuntimeError as error:
            raise self._rank_error(error) from None

    def _rank_error(self, error: RuntimeError) -> RankError:
        with contextlib.suppress(RuntimeError):
            self._store.set(f"left/{self.rank}", "")
        left = self._left([rank for rank in range(self.size) if rank != self.rank])
        for rank, why in left.items():
            if why:
                return RankError("a process of the training has failed", where=self.names[rank], got=why)
        lost = [name for rank, name in enumerate(self.names) if rank not in (*left, self.rank)]
        if not lost:
            return RankError("the processes of the training have lost one another", got=error)
        return RankError(
            "a process of the training was lost",
            where=", ".join(lost),
            got="it has ended without a message: killed, out of memory, or its machine is gone",
            remedy="continue the run with any number of processes: "
            "mlflow run . --env-manager local -e resume -P run_id=RUN_ID "
            "-P processes=N",
        )

    def _left(self, ranks: Iterable[int]) -> dict[int, str]:
        """Why each of these ranks has left, of those that say so within some seconds."""
        found: dict[int, str] = {}
        until = time.monotonic() + _NOTICE
        waiting = set(ranks)
        while waiting and time.monotonic() < until:
            for rank in sorted(waiting):
                with contextlib.suppress(RuntimeError):
                    if self._store.check([f"left/{rank}"]):
                        found[rank] = self._store.get(f"left/{rank}").decode()
            waiting -= found.keys()
            if waiting:
                time.sleep(0.1)
        return found


def halves(positions: range) -> tuple[range, range]:
    """The two branches of the tree over these positions; the first is the larger one."""
    middle = positions.start + (len(positions) + 1) // 2
    return range(positions.start, middle), range(middle, positions.stop)


def tree_sum(values: list[Tensor]) -> Tensor:
    """Adds tensors in the order of the tree."""
    if len(values) == 1:
        return values[0]
    first, second = halves(range(len(values)))
    return tree_sum(values[: first.stop]) + tree_sum(values[second.start :])


def _block(positions: range, rank: int, size: int) -> range:
    """The share of a rank: a branch of the tree, if the number of ranks is a power of two."""
    if size == 1:
        return positions
    if size % 2:
        cuts = [positions.start + -(-len(positions) * number // size) for number in (rank, rank + 1)]
        return range(*cuts)
    branch = halves(positions)[rank >= size // 2]
    return _block(branch, rank % (size // 2), size // 2)
