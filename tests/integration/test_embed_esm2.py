"""Tests of `esm2` from a FASTA to a served model.

Also the message when the model's folder has moved.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.data.fasta import read_fasta
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.errors import ConfigError
from ppi_train.modes import execute_pipeline
from ppi_train.runs.embedder import EmbeddingSettings

HALF = {"embedding_dtype": "float16", "max_length": 60}


@pytest.fixture
def places(store: mlflow.MlflowClient, tmp_path: Path) -> dict[str, Any]:
    """Folders of this test; the runs go to a store of their own."""
    del store
    return {"data_dir": str(tmp_path / "data"), "output_dir": str(tmp_path / "runs"), "device": "cpu"}


@pytest.mark.slow
def test_residues_of_a_fasta_are_trained_on_and_served(
    places: dict[str, Any], example: Dataset, tiny_esm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(shutil.copytree(tiny_esm, tmp_path / "model"))
    output = str(tmp_path / "cache.parquet")
    asked = {"embedder": "esm2", "embedder_model": str(model), "granularity": "residue", "output": output}
    fasta = example.splits["train"].fasta
    execute_pipeline("embed", {"fasta": str(fasta), "device": "cpu", **asked, **HALF})
    sequences = read_fasta(fasta).sequences
    for protein, states in EmbeddingCache(output).residues(sorted(sequences)):
        assert states.shape == (min(60, len(sequences[protein])), 16)

    trained = execute_pipeline("train_only", places | {"embeddings": output, "epochs": 1})
    given = places | {"run_id": trained.run_id, "bootstrap_resamples": 0}
    result = execute_pipeline("eval_only", given)
    scored = pd.read_parquet(Path(result.outputs["predictions"]) / "predictions/test.parquet")[:50]

    (logged,) = mlflow.MlflowClient().search_logged_models(
        [mlflow.get_run(trained.run_id).info.experiment_id]
    )
    requirements = mlflow.pyfunc.get_model_dependencies(logged.model_uri)
    assert f"transformers=={importlib.metadata.version('transformers')}" in Path(requirements).read_text()
    sequences = read_fasta(example.splits["test"].fasta).sequences
    pairs = pd.DataFrame(
        {f"sequence_{side}": [sequences[protein] for protein in scored[f"protein_{side}"]] for side in "ab"}
    )
    served = mlflow.pyfunc.load_model(logged.model_uri)
    np.testing.assert_allclose(served.predict(pairs)["probability"], scored["probability"], atol=1e-5)

    model.rename(tmp_path / "moved")
    elsewhere = mlflow.pyfunc.load_model(logged.model_uri)
    with pytest.raises(MlflowException, match="the model's folder is not there") as caught:
        elsewhere.predict(pairs)
    assert f"where: {model}" in str(caught.value)
    assert "PPI_TRAIN_EMBEDDER_MODEL=FOLDER" in str(caught.value)
    monkeypatch.setenv("PPI_TRAIN_EMBEDDER_MODEL", str(tmp_path / "moved"))
    pd.testing.assert_frame_equal(elsewhere.predict(pairs), served.predict(pairs))
    again = execute_pipeline("eval_only", given)
    assert again.metrics == result.metrics


def test_a_cache_is_found_again_when_the_models_folder_has_moved(
    example: Dataset, tiny_esm: Path, tmp_path: Path
) -> None:
    sequences = read_fasta(example.splits["train"].fasta)
    moved = Path(shutil.copytree(tiny_esm, tmp_path / "moved"))
    specs = []
    for folder in (tiny_esm, moved):
        settings = EmbeddingSettings(embedder="esm2", model=str(folder))
        specs.append(settings.spec(settings.make(), sequences))
    assert specs[0] != specs[1]
    assert specs[0].digest == specs[1].digest


def test_other_weights_under_the_same_name_are_refused(
    places: dict[str, Any], make_esm: Any, tiny_esm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"embedder": "esm2", "embedder_model": str(tiny_esm), "epochs": 1, **HALF}
    trained = execute_pipeline("train_only", places | asked)
    monkeypatch.setenv("PPI_TRAIN_EMBEDDER_MODEL", str(make_esm(tmp_path / "other", seed=1)))
    given = places | {"run_id": trained.run_id, "bootstrap_resamples": 0}
    with pytest.raises(ValueError, match="has another embedder than asked for"):
        execute_pipeline("eval_only", given)


def test_a_model_that_is_not_there_fails_before_anything_is_read(places: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="did you mean t30_150M"):
        execute_pipeline("train_only", places | {"embedder": "esm2", "embedder_model": "t30_150m"})
