"""Tests of the prediction table: written as a stream, with reproducible bytes, and read by pandas."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ppi_train.data.pairs import read_pairs
from ppi_train.inference import output as prediction_file
from ppi_train.inference.output import Annotations, PredictionWriter, read_about
from ppi_train.inference.pair_sets import PairSet

NO_ANNOTATIONS = Annotations()
NAMES = ("A1", 'B"<&>', "C'3", "D4", "Ünï")


def rows(count: int, *, uncertainty: bool = True) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(count)
    a, b = rng.integers(0, 4, (2, count)).astype(np.int32)  # the last is in no pair
    scores = {name: rng.random(count, np.float32) for name in ("probability", "logit")}
    columns = {"a": a, "b": b, **scores}
    return columns | ({"uncertainty": rng.random(count, np.float32)} if uncertainty else {})


def written(
    path: Path,
    columns: dict[str, np.ndarray],
    cuts: Sequence[int] = (),
    *,
    annotations: Annotations = NO_ANNOTATIONS,
    identities: np.ndarray | None = None,
) -> Path:
    with PredictionWriter(
        path,
        NAMES,
        {"model": "m"},
        uncertainty="uncertainty" in columns,
        annotations=annotations,
        identities=identities,
    ) as writer:
        edges = [0, *cuts, len(columns["a"])]
        for start, stop in pairwise(edges):
            writer.add({name: values[start:stop] for name, values in columns.items()})
    assert writer.rows == len(columns["a"])
    return path


def test_the_bytes_do_not_show_in_which_pieces_the_rows_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_file, "ROW_GROUP_ROWS", 100)
    columns = rows(730)
    whole = written(tmp_path / "whole.parquet", columns)
    pieces = written(tmp_path / "pieces.parquet", columns, cuts=(0, 1, 100, 100, 155, 560, 729))
    assert whole.read_bytes() == pieces.read_bytes()
    assert pq.ParquetFile(whole).metadata.num_row_groups == 8


@pytest.mark.parametrize("uncertainty", [True, False])
@pytest.mark.parametrize("count", [0, 1, 730])
def test_pandas_reads_what_was_written(
    count: int, uncertainty: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_file, "ROW_GROUP_ROWS", 100)
    columns = rows(count, uncertainty=uncertainty)
    table = pd.read_parquet(written(tmp_path / "table.parquet", columns))
    for side in "ab":
        assert list(table[f"protein_{side}"]) == [NAMES[index] for index in columns[side]]
    for name in list(columns)[2:]:
        np.testing.assert_array_equal(table[name], columns[name])
        assert table[name].dtype == np.float32
    assert list(table.columns) == ["protein_a", "protein_b", *list(columns)[2:]]


def test_a_table_says_what_its_scores_follow_from_and_can_be_scored_again(tmp_path: Path) -> None:
    path = written(tmp_path / "table.parquet", rows(20))
    assert read_about(path) == {"model": "m"}
    pq.write_table(pq.read_table(path).replace_schema_metadata(), tmp_path / "other.parquet")
    assert read_about(tmp_path / "other.parquet") == {}
    assert set(read_pairs(path, labels="optional").proteins) <= set(NAMES)


def test_what_is_known_of_proteins_and_pairs_is_in_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_file, "ROW_GROUP_ROWS", 100)
    columns = rows(730)
    # Two proteins have one gene, and one has none.
    genes, descriptions = ("G", "G", None, "H", None), (None, None, None, None, "never in a pair")
    identities = np.array([1, 0.5, np.nan, 0.25, 0], np.float32)
    known = PairSet.of_identities(np.arange(5), np.array([(0, 1), (3, 3)]))
    annotations = Annotations(texts={"gene": genes, "description": descriptions}, marks={"known": known})
    path = written(tmp_path / "table.parquet", columns, annotations=annotations, identities=identities)
    table = pd.read_parquet(path)
    assert list(table.columns) == [
        "protein_a", "protein_b", "probability", "logit", "uncertainty", "known",
        "nearest_training_identity", "gene_a", "gene_b", "description_a", "description_b",
    ]  # fmt: skip
    for side in "ab":
        found = [None if pd.isna(gene) else gene for gene in table[f"gene_{side}"]]
        assert found == [genes[number] for number in columns[side]]
        assert table[f"description_{side}"].isna().all()
    pairs = [set(pair) for pair in zip(columns["a"].tolist(), columns["b"].tolist(), strict=True)]
    assert list(table["known"]) == [pair in ({0, 1}, {3}) for pair in pairs]
    nearest = [identities[list(pair)].min() for pair in pairs]
    np.testing.assert_array_equal(table["nearest_training_identity"], np.array(nearest, np.float32))
    assert pq.read_table(path)["nearest_training_identity"].null_count == sum(2 in pair for pair in pairs)
