"""Helpers of the tests: servers, faults, damaged files, plain versions to check against."""

import signal
from pathlib import Path

ROOT = Path(__file__).parents[2]


def default_signals() -> None:
    """Ends what a background shell or nohup has signals ignored for; runs in a started process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
