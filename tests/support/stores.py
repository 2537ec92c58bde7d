"""Tracking stores whose tables are there: MLflow takes seconds to make them."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

import mlflow


def make_store(path: Path) -> str:
    """Makes a SQLite store as MLflow leaves it before its first use; gives its URI."""
    path.write_bytes(_tables())
    return f"sqlite:///{path}"


@cache
def _tables() -> bytes:
    """The file of a store, made once in a process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        mlflow.MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)
        with closing(sqlite3.connect(path)) as store:
            # Its artifacts would lie where this process would have put them, not where a server does.
            store.execute("DELETE FROM experiments")
            store.commit()
        return path.read_bytes()
