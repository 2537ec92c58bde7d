"""Only the proteins of the pairs are embedded where a FASTA has many more."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from ppi_train.data.fasta import AMINO_ACIDS, read_fasta, write_fasta
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.errors import CacheError
from ppi_train.modes import PipelineResult, execute_pipeline
from ppi_train.runs.embedder import sequences_to_embed
from tests.support.small_data import SEQUENCES, TRAIN, VALIDATION, Named, plain, write_table

OTHERS = 40
OF_PAIRS = {plain(number) for a, b, _ in (*TRAIN, *VALIDATION) for number in (a, b)}


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A FASTA of which the pairs need a few proteins, and where runs write."""
    monkeypatch.setenv("PPI_TRAIN_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(1)
    others = {f"Q{number}": "".join(random.choice(list(AMINO_ACIDS), 50)) for number in range(OTHERS)}
    write_fasta(
        tmp_path / "all.fasta", others | {plain(number): text for number, text in enumerate(SEQUENCES)}
    )
    folders = {"data_dir": str(tmp_path / "data"), "output_dir": str(tmp_path / "runs")}
    return folders | {"fasta": str(tmp_path / "all.fasta")}


@pytest.fixture
def trained(store: mlflow.MlflowClient, given: dict[str, Any], tmp_path: Path) -> PipelineResult:
    del store
    tables = {
        "train_pairs": write_table(tmp_path / "train.tsv", TRAIN),
        "val_pairs": write_table(tmp_path / "val.tsv", VALIDATION),
    }
    return execute_pipeline("train_only", given | tables | {"epochs": 1})


def caches(given: dict[str, Any]) -> list[set[str]]:
    """The proteins of each cache, the smallest first."""
    paths = (Path(given["data_dir"]) / "embeddings").glob("*.parquet")
    return sorted((set(EmbeddingCache(path).proteins) for path in paths), key=len)


def test_training_and_evaluation_embed_the_proteins_of_their_pairs(
    given: dict[str, Any], trained: PipelineResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert caches(given) == [OF_PAIRS]
    test_pairs = write_table(tmp_path / "test.tsv", [(0, 1, 1), (1, 2, 0)])
    asked = {"run_id": trained.run_id, "test_pairs": test_pairs, "bootstrap_resamples": 0}
    with caplog.at_level(logging.INFO):
        execute_pipeline("eval_only", given | asked)
    assert caches(given) == [{plain(0), plain(1), plain(2)}, OF_PAIRS]
    total = OTHERS + len(SEQUENCES)
    assert f"all.fasta: 3 of {total} sequences are needed, and only these are embedded" in caplog.text
    assert ", 0 sequences embedded, 3 taken over: " in caplog.text


def test_predictions_embed_what_they_score(
    given: dict[str, Any], trained: PipelineResult, tmp_path: Path
) -> None:
    scoring = {"data_dir": given["data_dir"], "fasta": given["fasta"], "run_id": trained.run_id}
    lists = {name: tmp_path / f"{name}.txt" for name in ("proteins_a", "proteins_b")}
    lists["proteins_a"].write_text("Q1\nQ2\n")
    lists["proteins_b"].write_text("Q3\n")
    pairs = write_table(tmp_path / "pairs.tsv", [(0, 1, 1), (2, 3, 1)])
    tables = {}
    asked_for: dict[str, dict[str, Any]] = {
        "pairs": {"pairs": pairs},
        "lists": {name: str(path) for name, path in lists.items()},
        "all": {"all_pairs": True},
    }
    for name, asked in asked_for.items():
        output = tmp_path / f"{name}.parquet"
        execute_pipeline("predict", scoring | asked | {"output": str(output)})
        tables[name] = pd.read_parquet(output).set_index(["protein_a", "protein_b"])["probability"]
    whole = set(read_fasta(given["fasta"]).sequences)
    assert caches(given) == [{"Q1", "Q2", "Q3"}, {plain(number) for number in range(4)}, OF_PAIRS, whole]
    pairs_of_all = {frozenset(pair): score for pair, score in tables["all"].items()}
    assert len(pairs_of_all) == len(whole) * (len(whole) - 1) // 2
    for name in ("pairs", "lists"):
        for pair, score in tables[name].items():
            assert score == pytest.approx(pairs_of_all[frozenset(pair)], abs=1e-5)


def isoform(number: int) -> str:
    return f"{plain(number)}-2"


def test_predict_names_the_rule_before_it_embeds(
    given: dict[str, Any], trained: PipelineResult, tmp_path: Path
) -> None:
    scoring = {"data_dir": given["data_dir"], "fasta": given["fasta"], "run_id": trained.run_id}
    scoring |= {"output": str(tmp_path / "out.parquet"), "data_dir": str(tmp_path / "new_data")}
    named: Named = isoform
    (tmp_path / "list.txt").write_text("P10000-2\n")
    for asked in (
        {"pairs": write_table(tmp_path / "pairs.tsv", [(0, 0, 1)], named)},
        {"proteins_a": str(tmp_path / "list.txt"), "proteins_b": str(tmp_path / "list.txt")},
    ):
        with pytest.raises(CacheError, match="without the isoform number, 1 of the 1 names fit: P10000-2 as"):
            execute_pipeline("predict", scoring | asked)
    assert not (tmp_path / "new_data").exists()


def test_from_half_of_a_fasta_on_all_of_it_is_embedded(tmp_path: Path) -> None:
    write_fasta(tmp_path / "four.fasta", dict.fromkeys("ABCD", "ACDE"))
    table = read_fasta(tmp_path / "four.fasta")
    assert sequences_to_embed(table, {"A", "B", "ghost"}) is table
    chosen = sequences_to_embed(table, {"B"})
    assert chosen.sequences == {"B": "ACDE"}
    assert chosen.digest != table.digest
