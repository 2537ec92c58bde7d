"""Tests of the names of data sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ppi_train.runs.labels import data_label
from ppi_train.runs.prepared_tables import RECORD


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("yeast/HuRI.tsv", "HuRI"),
        ("yeast/my_train.csv.gz", "my_train"),
        ("9606.protein.links.v12.0.txt.gz", "9606.protein.links.v12.0"),
        ("yeast/train.tsv", "yeast"),
        ("yeast/Test_pairs.parquet", "yeast"),
        ("yeast/validation.csv.bz2", "yeast"),
        ("yeast/val-pairs.tsv", "yeast"),
        ("yeast/pairs.tsv", "yeast"),
        ("/train.tsv", "train"),
        ("", ""),
    ],
)
def test_a_table_called_after_its_side_is_named_after_its_folder(path: str, label: str) -> None:
    assert data_label(path) == label


def test_a_table_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plasmodium").mkdir()
    monkeypatch.chdir(tmp_path / "plasmodium")
    assert data_label("train.tsv") == "plasmodium"


@pytest.mark.parametrize(
    ("record", "label"),
    [
        ({"network": "downloads/9606.links.txt.gz"}, "9606.links"),
        ({"network": "mouse/pairs.tsv"}, "mouse"),
        ({"drawn_from": {"train": "mouse/train.tsv", "test": "rat/test.tsv"}}, "mouse"),
        ({"drawn_from": {"test": "rat/test.tsv"}}, "0a1b"),
        ({"network": 3}, "0a1b"),
        ([], "0a1b"),
    ],
)
def test_a_prepared_table_is_named_after_what_it_was_made_from(
    tmp_path: Path, record: object, label: str
) -> None:
    folder = tmp_path / "0a1b"
    folder.mkdir()
    (folder / RECORD).write_text(json.dumps(record))
    assert data_label(folder / "train.tsv") == label
