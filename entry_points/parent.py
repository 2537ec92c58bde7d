"""Ending a command together with the `mlflow run` that started it.

`mlflow run` does not pass SIGTERM on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

_SET_SIGNAL_AT_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG of Linux


def end_with_mlflow_run() -> None:
    """Makes Linux end this process when its parent `mlflow run` dies.

    The process gets a SIGTERM. Otherwise `kill` on `mlflow run` would leave a training process behind
    unnoticed. Only Linux can do this, and only for a direct child, which a command is with
    `--env-manager local`.
    """
    if sys.platform == "linux" and b"mlflow" in _command_of_parent():
        ctypes.CDLL(None).prctl(_SET_SIGNAL_AT_PARENTS_DEATH, signal.SIGTERM)


def _command_of_parent() -> bytes:
    try:
        return Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    except OSError:
        return b""
