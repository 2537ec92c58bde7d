"""Data that cannot answer the question are refused or warned of when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ppi_train.errors import DataError
from ppi_train.modes import execute_pipeline
from tests.support.small_data import (
    TRAIN,
    VALIDATION,
    Rows,
    as_string,
    plain,
    write_sequences,
    write_table,
)

pytestmark = pytest.mark.usefixtures("store")


def tables(folder: Path, train: Rows, validation: Rows) -> dict[str, Any]:
    return {
        "train_pairs": write_table(folder / "train.tsv", train),
        "val_pairs": write_table(folder / "val.tsv", validation),
        "fasta": write_sequences(folder / "plain.fasta", plain, as_string),
        "data_dir": str(folder / "data"),
        "output_dir": str(folder / "runs"),
        "epochs": 1,
    }


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("side", ["train", "validation"])
def test_one_class_is_refused_before_anything_is_embedded(tmp_path: Path, side: str, label: int) -> None:
    rows = {"train": TRAIN, "validation": VALIDATION}
    rows[side] = [(a, b, label) for a, b, _ in rows[side]]
    with pytest.raises(DataError, match=f"the {side} pairs have one class only") as caught:
        execute_pipeline("train_only", tables(tmp_path, rows["train"], rows["validation"]))
    count = len(rows[side])
    assert f"{count * label} pairs of label 1, {count * (1 - label)} of label 0" in str(caught.value)
    assert {"train": "train.tsv", "validation": "val.tsv"}[side] in str(caught.value)
    assert "-e split" in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_validation_pairs_that_are_all_trained_on_are_refused_under_any_name(tmp_path: Path) -> None:
    given = tables(tmp_path, TRAIN, TRAIN[:10])
    with pytest.raises(DataError, match="every validation pair is a training pair") as caught:
        execute_pipeline("train_only", given)
    assert "10 of 10 pairs" in str(caught.value)
    renamed = {"val_pairs": write_table(tmp_path / "string.tsv", TRAIN[:10], as_string)}
    with pytest.raises(DataError, match="every validation pair is a training pair"):
        execute_pipeline("train_only", given | renamed)


def test_some_validation_pairs_that_are_trained_on_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    execute_pipeline("train_only", tables(tmp_path, TRAIN, [*VALIDATION, *TRAIN[:3]]))
    assert "3 of 23 validation pairs" in caplog.text


def test_a_split_says_that_few_edges_are_left_and_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edges = "".join(f"{plain(a)}\t{plain((a + step) % 100)}\n" for a in range(100) for step in (1, 2, 3))
    (tmp_path / "edges.tsv").write_text(edges)
    execute_pipeline("split", {"pairs": str(tmp_path / "edges.tsv"), "output": str(tmp_path / "few")})
    assert "validation has only" in caplog.text
    assert "of the 300 edges (split by c3, val_fraction=0.1" in caplog.text
    assert "a larger val_fraction, or take the method random" in caplog.text
    caplog.clear()
    given = {"pairs": str(tmp_path / "edges.tsv"), "output": str(tmp_path / "random"), "method": "random"}
    execute_pipeline("split", given)
    assert "give a larger val_fraction\n" in caplog.text  # and no advice to take what was taken
