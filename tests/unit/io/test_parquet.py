"""Tests that pickles inside Parquet files are never run.

A Parquet file can carry a pickle for a Python-specific column type.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ppi_train.data.pairs import read_pairs
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.errors import UserError


class WritesAFile:
    """Unpickling one writes a file."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Callable[..., int], tuple[Path, str]]:
        return Path.write_text, (self._target, "this ran")


def carrier(path: Path, content: bytes) -> None:
    """Pairs whose columns claim to be of an extension type that a pickle describes."""
    claim = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": content}
    columns = {"protein_a": ["A", "C"], "protein_b": ["B", "D"], "label": [1, 0]}
    types = {"protein_a": pa.string(), "protein_b": pa.string(), "label": pa.int64()}
    schema = pa.schema([pa.field(name, kind, metadata=claim) for name, kind in types.items()])
    pq.write_table(pa.table(columns, schema=schema), path)


@pytest.mark.parametrize("read", [read_pairs, EmbeddingCache])
def test_a_pickle_in_the_schema_does_not_run(read: Callable[[Path], object], tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "pairs.parquet"
    content = pickle.dumps(WritesAFile(target))
    carrier(path, content)
    with contextlib.suppress(UserError):  # whether it is read or refused, nothing runs
        read(path)
    assert not target.exists()
    pickle.loads(content)
    assert target.exists(), "the pickle is a dud"
