"""Tests of embeddings to import that are read by tasks: as if they were read in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch

from ppi_train.data.fasta import SequenceTable, read_fasta, write_fasta
from ppi_train.embeddings import import_reading
from ppi_train.embeddings.import_reading import read_by_workers
from ppi_train.embeddings.import_sources import EmbeddingSource, open_source
from ppi_train.embeddings.importing import ImportRules, survey, write_import
from ppi_train.errors import DataError
from ppi_train.parallel.pool import LocalPool

SEQUENCES = {f"P{number:02d}": "MKVLAG" * (1 + number) for number in range(40)}
J = TypeVar("J")
T = TypeVar("T")


class CountingPool(LocalPool):
    """Counts tasks, and ends after some."""

    def __init__(self, most: int = 1000) -> None:
        self.done, self._most = 0, most

    def run(
        self, function: Callable[[J, int], T], job: J, numbers: Iterable[int], *, ahead: int = 1
    ) -> Iterator[tuple[int, T]]:
        for finished in super().run(function, job, numbers, ahead=ahead):
            yield finished
            self.done += 1
            if self.done == self._most:
                raise KeyboardInterrupt


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SequenceTable:
    monkeypatch.setattr(import_reading, "FEWEST_PLACES", 7)
    write_fasta(tmp_path / "proteins.fasta", SEQUENCES)
    return read_fasta(tmp_path / "proteins.fasta")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Arrays in the formats that NumPy has for floating-point numbers."""
    rng = np.random.default_rng(0)
    path = tmp_path / "npy"
    path.mkdir()
    for number, (name, text) in enumerate(SEQUENCES.items()):
        rows = rng.normal(size=(len(text), 5)).astype(("<f4", ">f8", "<f2")[number % 3])
        np.save(path / f"{name}.npy", np.asfortranarray(rows) if number % 2 else rows)
    return path


def imported(path: Path, table: SequenceTable, output: Path, pool: LocalPool | None) -> bytes:
    source = open_source(path)
    rules = ImportRules(embedder_name="lab")
    if pool is None:
        write_import(survey(source, table, rules), output)
        return output.read_bytes()
    made = []

    def read_ahead(source: EmbeddingSource, places: list[str]) -> EmbeddingSource:
        parts = output.with_name("parts")
        made.append(read_by_workers(source, places, pool, parts, granularity="auto", layer=None))
        return made[0].__enter__()

    write_import(survey(source, table, rules, read_ahead=read_ahead), output)
    made[0].__exit__(None, None, None)
    return output.read_bytes()


def test_the_same_bytes_as_read_in_place(table: SequenceTable, folder: Path, tmp_path: Path) -> None:
    alone = imported(folder, table, tmp_path / "alone.parquet", None)
    pool = CountingPool()
    assert imported(folder, table, tmp_path / "tasks.parquet", pool) == alone
    assert pool.done == 6
    assert not (tmp_path / "parts").exists()


def test_the_same_problems_as_read_in_place(table: SequenceTable, folder: Path, tmp_path: Path) -> None:
    (folder / "P03.npy").write_bytes((folder / "P03.npy").read_bytes()[:-5])
    np.save(folder / "P09.npy", np.arange(9))
    np.save(folder / "P20.npy", np.full((126, 5), np.nan))
    messages = []
    for pool in (None, LocalPool()):
        with pytest.raises(DataError) as caught:
            imported(folder, table, tmp_path / "cache.parquet", pool)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert messages[0].count("\n  - ") == 3


def test_parts_of_an_interrupted_import_are_used(table: SequenceTable, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        imported(folder, table, tmp_path / "cache.parquet", CountingPool(most=4))
    damaged, *_ = sorted(tmp_path.glob("parts/*/000001-*.arrays"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    pool = CountingPool()
    found = imported(folder, table, tmp_path / "cache.parquet", pool)
    assert pool.done == 3
    assert found == imported(folder, table, tmp_path / "alone.parquet", None)


def test_parts_of_a_source_that_changed_are_not_used(
    table: SequenceTable, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        imported(folder, table, tmp_path / "cache.parquet", CountingPool(most=4))
    np.save(folder / "P00.npy", np.zeros((6, 5), np.float32))
    pool = CountingPool()
    found = imported(folder, table, tmp_path / "cache.parquet", pool)
    assert pool.done == 6
    assert found == imported(folder, table, tmp_path / "alone.parquet", None)


def test_files_of_different_last_layers_are_refused_across_tasks(
    table: SequenceTable, tmp_path: Path
) -> None:
    folder = tmp_path / "esm"
    folder.mkdir()
    for number, name in enumerate(SEQUENCES):
        layer = 33 if number < 7 else 6
        torch.save({"label": name, "mean_representations": {layer: torch.ones(5)}}, folder / f"{name}.pt")
    with pytest.raises(DataError, match="the last layer is 6, in other files 33: give layer=: 33"):
        imported(folder, table, tmp_path / "cache.parquet", LocalPool())
