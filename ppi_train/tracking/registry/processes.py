"""Processes that others can know to be dead: named by boot, PID namespace, PID and start."""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")
_ENDED = ("Z", "X")  # killed, and not yet waited for by the parent


def this_process() -> str:
    """Names this process; "" where the system does not tell what is needed."""
    place, started = _place(), _start_of(os.getpid())
    return f"{place}:{os.getpid()}:{started}" if place and started else ""


def is_dead(process: str) -> bool:
    """Whether a process is known to have ended.

    That can be known only of one of the same boot and PID namespace: a container has PIDs of its own.
    """
    place, _, rest = process.partition(":")
    pid, _, started = rest.partition(":")
    if not (pid.isdecimal() and started) or place != _place():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass  # another user's
    # Other users' processes may be hidden; what does not show is not taken for dead.
    return _start_of(int(pid)) not in (started, None)


def _place() -> str:
    """The boot of this machine and the namespace of its PIDs."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{(_PROC / 'self/ns/pid').readlink().name}".replace(":", "")
    except OSError:
        return ""


def _start_of(pid: int) -> str | None:
    """When a process started, in clock ticks since the boot; None if that does not show."""
    try:
        # The name before the last bracket may contain anything.
        state, *fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return "ended" if state in _ENDED else fields[18]
