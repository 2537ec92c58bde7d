"""Calls a reader on hostile input, with limits on time and memory.

The reader must return a result or raise one of our errors.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ppi_train.errors import UserError

SECONDS = 20
MEMORY_MB = 256
# A message is read by a person, printed to a terminal and logged as a tag.
MESSAGE_LETTERS = 50_000


def outcome(read: Callable[[], object]) -> str | None:
    """The message of the error of ours that a reader raised; None if it gave a result.

    Raises:
        AssertionError: it took too long or too much memory, or its message cannot be shown; what else it
            raised comes through.
    """
    before = reset_peak()
    signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    message = None
    try:
        read()
    except UserError as error:
        message = str(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    taken = peak_mb(before)
    assert taken < MEMORY_MB, f"{taken} MiB were taken"
    if message is not None:
        message.encode()
        assert 0 < len(message) < MESSAGE_LETTERS, f"a message of {len(message):,} letters"
        assert "\0" not in message
    return message


def _too_long(*_: object) -> NoReturn:
    raise AssertionError(f"no end after {SECONDS} s")


def reset_peak() -> int:
    """Makes the peak of memory that Linux remembers the present use, which is returned, in KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_mb(before: int) -> int:
    """MiB by which memory has risen at most since `reset_peak`, which gave `before`."""
    return (_status("VmHWM") - before) >> 10


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise AssertionError(f"no {name}")
