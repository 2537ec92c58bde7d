"""Tasks for the tests of pools; workers import them from here."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from ppi_train.errors import DataError


@dataclass(frozen=True)
class NamedJob:
    name: str


def square(job: NamedJob, number: int) -> str:
    return f"{job.name}{number * number}"


def half_second(job: NamedJob, number: int) -> str:
    time.sleep(0.5)
    return square(job, number)


def refused(job: NamedJob, number: int) -> None:
    raise DataError("a line is wrong", where=f"line {number}", got=Path(job.name), remedy="mend it")


def broken(job: NamedJob, number: int) -> None:
    raise RuntimeError(f"{job.name} {number}")


def deadly(job: NamedJob, number: int) -> None:  # noqa: ARG001
    os.kill(os.getpid(), signal.SIGKILL)


def math_threads(job: NamedJob, number: int) -> int:  # noqa: ARG001
    import torch

    return torch.get_num_threads()
