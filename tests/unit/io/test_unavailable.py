"""Tests that a file that cannot be read is not called damaged."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ppi_train.checkpoints import read_checkpoint, write_checkpoint
from ppi_train.data.pairs import read_pairs
from ppi_train.data.protein_sets import read_node_sets
from ppi_train.embeddings.cache import CacheSpec
from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.io.unavailable import UnavailableError, out_of_memory, unavailable_error
from tests.support.unreadable import no_file_to_spare, nobody

Read = Callable[[Path], object]


def _cache(folder: Path, granularity: str) -> Path:
    spec = CacheSpec(
        embedder={"name": "descriptors", "parameters": {}, "digest": "ab" * 32},
        dimension=4,
        granularity=granularity,
        dtype="float32",
        max_length=None,
        truncation="head",
        fasta_digest="cd" * 32,
    )
    shape = (4,) if granularity == "protein" else (3, 4)
    with CacheWriter(folder / f"{granularity}.parquet", spec) as writer:
        writer.add("P1", "ef" * 32, 3, np.ones(shape, np.float32))
    return folder / f"{granularity}.parquet"


def _vectors(folder: Path) -> Path:
    return _cache(folder, "protein")


def _residues(folder: Path) -> Path:
    return _cache(folder, "residue")


def _text_pairs(folder: Path) -> Path:
    (folder / "pairs.tsv").write_text("P1\tP2\t1\nP3\tP4\t0\n")
    return folder / "pairs.tsv"


def _parquet_pairs(folder: Path) -> Path:
    table = pa.table({"protein_a": ["P1", "P3"], "protein_b": ["P2", "P4"], "label": [1, 0]})
    pq.write_table(table, folder / "pairs.parquet")
    return folder / "pairs.parquet"


def _node_sets(folder: Path) -> Path:
    (folder / "nodes.json").write_text(json.dumps({"2": [["P1", "P2"]]}))
    return folder / "nodes.json"


def _checkpoint(folder: Path) -> Path:
    state = {"step": 1}
    weights = {"w": torch.ones(2)}
    write_checkpoint(folder / "last", weights=weights, description={"counters": state}, training_state=state)
    return folder / "last"


def _read_cache(path: Path) -> object:
    return EmbeddingCache(path).protein_matrix(["P1"])


def _read_checkpoint(path: Path) -> object:
    return read_checkpoint(path, with_training_state=True)


READERS: list[tuple[Callable[[Path], Path], Read]] = [
    (_vectors, _read_cache),
    (_residues, _read_cache),
    (_text_pairs, read_pairs),
    (_parquet_pairs, read_pairs),
    (_node_sets, read_node_sets),
    (_checkpoint, _read_checkpoint),
]


def _assert_not_called_damaged(message: str) -> None:
    assert not any(word in message for word in ("corrupt", "damaged", "delete", "again with", "one of ours"))


@pytest.mark.parametrize(("make", "read"), READERS)
def test_too_many_open_files(make: Callable[[Path], Path], read: Read, tmp_path: Path) -> None:
    path = make(tmp_path)
    read(path)
    with pytest.raises(UnavailableError) as caught, no_file_to_spare():
        read(path)
    assert "got: Too many open files" in str(caught.value)
    assert "ulimit -n" in str(caught.value)
    _assert_not_called_damaged(str(caught.value))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read a file")
@pytest.mark.parametrize(("make", "read"), READERS)
def test_a_file_that_may_not_be_read(make: Callable[[Path], Path], read: Read) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        Path(name).chmod(0o755)
        path = make(Path(name))
        for file in path.iterdir() if path.is_dir() else [path]:
            file.chmod(0)
        with pytest.raises(UnavailableError) as caught, nobody():
            read(path)
        folder = path if path.is_dir() else path.parent
        folder.chmod(0)
        with pytest.raises(UnavailableError) as behind, nobody():
            read(path)
        folder.chmod(0o755)
    for message in (str(caught.value), str(behind.value)):
        assert "got: Permission denied" in message
        assert "get permission to read it" in message
        _assert_not_called_damaged(message)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read a file")
def test_a_folder_of_caches_that_may_not_be_listed_is_not_called_empty() -> None:
    with tempfile.TemporaryDirectory() as name:
        _vectors(Path(name))
        Path(name).chmod(0o111)
        with pytest.raises(UnavailableError, match="Permission denied"), nobody():
            EmbeddingCache(name)


@pytest.mark.parametrize(
    ("error", "got"),
    [
        (OSError(errno.EIO, "x"), "Input/output error"),
        (MemoryError(), "memory ran out"),
        (pa.ArrowMemoryError("malloc of size 1024 failed"), "memory ran out"),
    ],
)
@pytest.mark.parametrize(
    ("make", "read", "function"),
    [
        (_vectors, _read_cache, "ppi_train.embeddings.cache.file.open_parquet"),
        (_parquet_pairs, read_pairs, "ppi_train.data.pair_files.open_parquet"),
        (_text_pairs, read_pairs, "ppi_train.io.files._at_most"),
        (_node_sets, read_node_sets, "ppi_train.data.protein_sets._load_json"),
        (_checkpoint, _read_checkpoint, "ppi_train.checkpoints.load_file"),
        (_checkpoint, _read_checkpoint, "ppi_train.checkpoints.file_digest"),
        (_checkpoint, _read_checkpoint, "torch.load"),
    ],
)
def test_a_disk_that_fails_and_memory_that_runs_out(
    make: Callable[[Path], Path], read: Read, function: str, error: Exception, got: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    path = make(tmp_path)
    monkeypatch.setattr(function, fail)
    with pytest.raises(UnavailableError) as caught:
        read(path)
    assert f"got: {got}" in str(caught.value)
    _assert_not_called_damaged(str(caught.value))


def test_memory_that_only_damaged_bytes_ask_for_is_not_memory_that_ran_out(tmp_path: Path) -> None:
    path = _vectors(tmp_path)
    assert unavailable_error(pa.ArrowMemoryError("malloc of size 9223372036854775807 failed"), path) is None
    assert unavailable_error(pa.ArrowMemoryError("malloc of size 1000000 failed"), path) is not None


def test_memory_of_a_gpu_is_memory_too() -> None:
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.73 GiB"))
    assert out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not out_of_memory(RuntimeError("shapes cannot be multiplied"))
