"""What runs in a worker: a task, and questions about the worker.

A worker imports this module by its name, so that it needs the same version of the project as the process that
gives it work.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from ppi_train import __version__
from ppi_train.errors import ClusterError

J = TypeVar("J")
T = TypeVar("T")

SAME_VERSION = "install the same version of ppi_train there as here, and start the workers again"


@lru_cache(maxsize=1)
def build() -> str:
    """The version of the project, and the start of the sha256 of its code."""
    package = Path(__file__).parents[1]
    hasher = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        hasher.update(f"{path.relative_to(package).as_posix()}\n".encode())
        hasher.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{__version__} ({hasher.hexdigest()[:12]})"


def check_build(expected: str) -> None:
    """Refuses to work for a process that runs other code.

    Raises:
        ClusterError: this worker has another version of the project.
    """
    if build() != expected:
        raise ClusterError(
            "a worker has another version of ppi_train",
            where=socket.gethostname(),
            got=build(),
            expected=expected,
            remedy=SAME_VERSION,
        )


def perform(expected: str, function: Callable[[J, int], T], job: J, number: int) -> T:
    """Does one task of a job."""
    check_build(expected)
    return function(job, number)


def missing_files(paths: Sequence[str]) -> tuple[str, list[str]]:
    """The name of this host, and which of the paths are not there."""
    return socket.gethostname(), [path for path in paths if not Path(path).exists()]
