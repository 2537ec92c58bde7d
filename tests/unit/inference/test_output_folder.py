"""Tests of tables that are folders of parts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from ppi_train.errors import ConfigError
from ppi_train.inference.output import Annotations, PredictionWriter, batches_of, read_about
from ppi_train.inference.output_folder import FolderWriter, check_folder, put_in_place
from ppi_train.io.outputs import MANIFEST

JOB: dict[str, object] = {"checkpoint": "c1", "top_k": 3}
NAMES = [f"P{number:02}" for number in range(30)]


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppi_train.inference.output_folder.PART_ROWS", 10)


def new_writer(path: Path) -> PredictionWriter:
    return PredictionWriter(path, NAMES, JOB, uncertainty=False, annotations=Annotations())


def write(folder: Path, rows: int) -> FolderWriter:
    a = np.arange(rows, dtype=np.int32)
    scores = np.linspace(0, 1, rows, dtype=np.float32)
    columns = {"a": a, "b": a + 1, "probability": scores, "logit": scores}
    with FolderWriter(folder, JOB, new_writer) as table:
        for start in range(0, rows, 7):
            table.add({name: column[start : start + 7] for name, column in columns.items()})
    return table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert write(tmp_path / "scores", 25).rows == 25
    return tmp_path / "scores"


def test_readers_of_data_sets_read_it_in_order(folder: Path) -> None:
    names = NAMES[:25]
    assert pyarrow.dataset.dataset(folder).to_table()["protein_a"].to_pylist() == names
    assert [name for batch in batches_of(folder) for name in batch["protein_a"].to_pylist()] == names
    query = f"select protein_a from '{folder}/*.parquet' order by logit"
    assert [name for (name,) in duckdb.execute(query).fetchall()] == names
    assert read_about(folder) == JOB


def test_the_manifest_has_rows_and_digests_of_the_parts(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    assert (manifest["job"], manifest["rows"]) == (JOB, 25)
    assert [part["rows"] for part in manifest["parts"]] == [10, 10, 5]
    for part in manifest["parts"]:
        content = (folder / part["name"]).read_bytes()
        assert part["bytes"] == len(content)
        assert part["sha256"] == hashlib.sha256(content).hexdigest()
    assert len(list(folder.iterdir())) == 4


def test_a_table_without_rows_has_a_part(tmp_path: Path) -> None:
    write(tmp_path / "empty", 0)
    assert pq.read_table(tmp_path / "empty" / "part-00000000.parquet").num_rows == 0
    assert pyarrow.dataset.dataset(tmp_path / "empty").schema.names[0] == "protein_a"


def test_an_error_leaves_no_manifest(tmp_path: Path) -> None:
    def fail() -> None:
        with FolderWriter(tmp_path / "half", JOB, new_writer):
            raise ValueError("scores")

    with pytest.raises(ValueError, match="scores"):
        fail()
    assert not (tmp_path / "half" / MANIFEST).exists()


def test_another_prediction_is_refused_with_what_differs(folder: Path) -> None:
    with pytest.raises(ConfigError, match="the output folder has another prediction") as caught:
        check_folder(folder, {"top_k": 4, "checkpoint": "c1"}, overwrite=False)
    assert "got: top_k=3\n  expected: top_k=4" in str(caught.value)
    with pytest.raises(ConfigError, match="the output exists"):
        check_folder(folder, {"top_k": 3}, overwrite=False)
    check_folder(folder, {"top_k": 4}, overwrite=True)
    (folder / MANIFEST).write_text("[")
    with pytest.raises(ConfigError, match="the manifest of the output folder cannot be read"):
        check_folder(folder, {"top_k": 3}, overwrite=False)


@pytest.mark.parametrize("name", ["part-00000000.parquet", "notes.txt"])
def test_a_folder_with_other_files_is_never_replaced(name: str, tmp_path: Path) -> None:
    check_folder(tmp_path, JOB, overwrite=False)
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=f"other files than a finished prediction\n.*\n  got: {name}"):
        check_folder(tmp_path, JOB, overwrite=True)


def test_it_takes_the_place_of_an_earlier_one(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    whole = tmp_path / "parts" / "whole"
    write(whole, 3)
    put_in_place(whole, folder)
    assert sum(batch.num_rows for batch in batches_of(folder)) == 3
    assert not whole.exists()
