"""How long a request to the tracking server may take.

MLflow reads this from the environment for each request, so that it holds for all threads of the process.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
# With MLflow's defaults (7 retries, 120 s each) it takes minutes to notice a dead server.
_PROBE = {_TIMEOUT: "4", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0"}
_WORK = {_TIMEOUT: "30", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}

BYTES_PER_SECOND = 1_000_000
"""What the slowest store is expected to take; the server is silent while its store takes a file."""
MOST_DOUBLINGS = 3

_lock = threading.Lock()


@contextmanager
def probing() -> Iterator[None]:
    """Has requests fail within seconds in the block, and after it in what the user set, or half a minute."""
    with _lock:
        chosen = {name: os.environ.get(name, default) for name, default in _WORK.items()}
        os.environ.update(_PROBE)
        try:
            yield
        finally:
            os.environ.update(chosen)


@contextmanager
def time_for(size: int, *, failures: int = 0) -> Iterator[None]:
    """Gives requests in the block the time that a file takes.

    Args:
        size: The bytes of the largest file that one request moves.
        failures: How often this was tried in vain: each doubles the time.
    """
    with _lock:
        usual = int(os.environ.get(_TIMEOUT, _WORK[_TIMEOUT]))
        more = (usual + math.ceil(size / BYTES_PER_SECOND)) * 2 ** min(failures, MOST_DOUBLINGS) - usual
        _lengthen(more)
    try:
        yield
    finally:
        with _lock:
            _lengthen(-more)


def _lengthen(seconds: int) -> None:
    # Added and taken off again, since several threads may move files at once.
    os.environ[_TIMEOUT] = str(max(1, int(os.environ.get(_TIMEOUT, _WORK[_TIMEOUT])) + seconds))
