"""Tests of `v3` on a residue cache, from training to explanation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.data.fasta import AMINO_ACIDS, read_fasta, sequence_digest
from ppi_train.embeddings.cache import CacheSpec
from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.errors import ConfigError
from ppi_train.modes import PipelineResult, execute_pipeline


@pytest.fixture(scope="module")
def cache(example: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each residue of the example's proteins as which of the twenty it and the two before it are."""
    spec = CacheSpec(
        embedder={"name": "letters", "parameters": {}, "digest": "00"}, dimension=60, granularity="residue",
        dtype="float16", max_length=None, truncation="head", fasta_digest="00",
    )  # fmt: skip
    place = {letter: number for number, letter in enumerate(AMINO_ACIDS)}
    sequences: dict[str, str] = {}
    for split in example.splits.values():
        sequences |= read_fasta(split.fasta).sequences
    path = tmp_path_factory.mktemp("residues") / "letters.parquet"
    with CacheWriter(path, spec) as writer:
        for protein, sequence in sequences.items():
            one_hot = np.zeros((len(sequence), 20), dtype=np.float16)
            one_hot[np.arange(len(sequence)), [place.get(letter, 0) for letter in sequence]] = 1
            shifted = [np.roll(one_hot, steps, axis=0) for steps in range(3)]
            writer.add(protein, sequence_digest(sequence), len(sequence), np.concatenate(shifted, axis=1))
    return path


@pytest.fixture(scope="module")
def shared(places: dict[str, str], cache: Path) -> dict[str, Any]:
    return dict(places) | {"embeddings": str(cache)}


@pytest.fixture(scope="module")
def trained(shared: dict[str, Any]) -> PipelineResult:
    return execute_pipeline(
        "train_only", shared | {"model": "v3", "slots": 4, "epochs": 4, "batch_size": 512}
    )


def test_it_learns_and_is_evaluated_as_any_other(
    client: mlflow.MlflowClient, shared: dict[str, Any], trained: PipelineResult
) -> None:
    assert trained.metrics["val/auroc_best"] > 0.75
    parameters = client.get_run(trained.run_id).data.params
    assert (parameters["model.slots"], parameters["model.members"]) == ("4", "4")
    assert (parameters["model.num_layers"], parameters["training.batch_size"]) == ("", "512")
    validation = execute_pipeline(
        "eval_only", shared | {"run_id": trained.run_id, "split": "validation", "bootstrap_resamples": 0}
    )
    assert validation.metrics["val/auroc"] == pytest.approx(trained.metrics["val/auroc_best"], abs=1e-6)


def test_all_pairs_are_scored_as_one_by_one(
    shared: dict[str, Any], trained: PipelineResult, tmp_path: Path
) -> None:
    common = {
        "run_id": trained.run_id, "data_dir": shared["data_dir"], "embeddings": shared["embeddings"],
    }  # fmt: skip
    best = tmp_path / "best.parquet"
    execute_pipeline("predict", common | {"all_pairs": True, "top_k": 3, "output": str(best)})
    scanned = pd.read_parquet(best)
    assert (scanned["uncertainty"] > 0).all()
    sample = scanned.sample(200, random_state=0)
    sample[["protein_a", "protein_b"]].to_csv(tmp_path / "some.tsv", sep="\t", index=False)
    again = tmp_path / "again.parquet"
    execute_pipeline("predict", common | {"pairs": str(tmp_path / "some.tsv"), "output": str(again)})
    columns = ["protein_a", "protein_b"]
    merged = pd.read_parquet(again).merge(sample, on=columns, suffixes=("", "_scan"))
    assert len(merged) == 200
    np.testing.assert_allclose(merged["probability"], merged["probability_scan"], atol=1e-5)


def test_an_explanation_is_a_table_and_a_figure_of_the_run(
    client: mlflow.MlflowClient, shared: dict[str, Any], trained: PipelineResult, example: Dataset
) -> None:
    sequences = read_fasta(example.splits["validation"].fasta).sequences
    scored = pd.read_parquet(Path(trained.outputs["checkpoints"]) / "predictions/validation.parquet").iloc[0]
    a, b = scored["protein_a"], scored["protein_b"]
    result = execute_pipeline(
        "explain", shared | {"run_id": trained.run_id, "dataset": "example", "protein_a": a, "protein_b": b}
    )
    assert result.metrics["explain/probability"] == pytest.approx(scored["probability"], abs=1e-5)
    names = {artifact.path for artifact in client.list_artifacts(result.run_id, "explanation")}
    assert names == {"explanation/residue_weights.tsv", "explanation/residue_weights.png"}
    table = pd.read_csv(
        mlflow.artifacts.download_artifacts(
            run_id=result.run_id, artifact_path="explanation/residue_weights.tsv"
        ),
        sep="\t",
    )
    assert "".join(table[table["side"] == "a"]["residue"]) == sequences[a]
    assert (table["weight"] >= 0).all()
    assert table.groupby("side")["weight"].max().min() > 0


def test_a_model_of_vectors_cannot_explain(shared: dict[str, Any], example: Dataset) -> None:
    a, b = list(read_fasta(example.splits["train"].fasta).sequences)[:2]
    pooled = execute_pipeline("train_only", shared | {"epochs": 1})
    with pytest.raises(ConfigError, match="cannot explain a score by residues"):
        execute_pipeline("explain", shared | {"run_id": pooled.run_id, "protein_a": a, "protein_b": b})
