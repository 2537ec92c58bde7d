"""Commands of modes, run in this process: a new one takes seconds to import torch and MLflow."""

from __future__ import annotations

import gc
import importlib
import io
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import NamedTuple

from ppi_train.io.terminal import ShownFormatter, ending_signals


class Ended(NamedTuple):
    """What is left of a command."""

    returncode: int
    stdout: str
    stderr: str


def run_command(mode: str, *words: str) -> Ended:
    """Runs `python -m entry_points.MODE`, in the folder and with the variables of this process."""
    code: object = 0
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr), _settings_of_a_process(stderr):
        try:
            importlib.import_module(f"entry_points.{mode}").main(args=list(words))
        except SystemExit as end:
            code = end.code or 0
    assert isinstance(code, int)
    return Ended(code, stdout.getvalue(), stderr.getvalue())


@contextmanager
def _settings_of_a_process(stderr: io.StringIO) -> Iterator[None]:
    """Shows the log as a command does, and puts back what it sets for all of its process."""
    root, handler = logging.getLogger(), logging.StreamHandler(stderr)
    handler.setFormatter(ShownFormatter())
    level, threshold = root.level, gc.get_threshold()
    handlers = {number: signal.getsignal(number) for number in ending_signals()}
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        gc.set_threshold(*threshold)
        for number, action in handlers.items():
            signal.signal(number, action)
