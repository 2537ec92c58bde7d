"""What a terminal shows, its signals, and one that is gone, as after a lost ssh connection."""

from __future__ import annotations

import errno
import logging
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ppi_train.errors import shown

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class ShownFormatter(logging.Formatter):
    """Formats log lines without passwords and control characters."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname).1s %(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


def ending_signals() -> list[signal.Signals]:
    """The signals that end a run: SIGTERM, and SIGINT and SIGHUP unless they are ignored.

    A process starts with SIGINT ignored in the background of a script (`sh -c 'command &'`), so that the
    Ctrl-C of another command in the same terminal does not end it, and with SIGHUP ignored under `nohup`.
    """
    return [
        number for number in _ENDING if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN
    ]


@contextmanager
def signals_kept() -> Iterator[None]:
    """Gives the signals that end a run back to their handlers after a block, such as an import."""
    before = {number: signal.getsignal(number) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Has the signals that end a run take effect at the end of a block, which they would leave half done.

    Outside the main thread, where Python raises for no signal, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, _: noted.append(number)) for number in ending_signals()
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if noted:
            signal.raise_signal(noted[0])


@contextmanager
def terminal_may_be_lost() -> Iterator[None]:
    """Writes to a terminal in a block, or discards what is written if the terminal is gone.

    Linux fails writes to a lost terminal before it sends the SIGHUP, and to a job that its shell no longer
    knows (`disown`) it sends none.
    """
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        leave_lost_terminal()


def open_closed_streams() -> None:
    """Discards what is written to a standard stream that is closed, as after `2>&-`.

    Python has None in its place, which libraries do not expect, and the next file that is opened would take
    its number, to which C libraries and child processes write.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode)  # noqa: SIM115 - it stays open
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def leave_lost_terminal() -> None:
    """Discards further output to a terminal that is gone."""
    for descriptor in (0, 1, 2):
        try:
            is_device = stat.S_ISCHR(os.fstat(descriptor).st_mode)
        except OSError:
            continue  # closed
        if is_device and not os.isatty(descriptor):
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, descriptor)
            os.close(null)
