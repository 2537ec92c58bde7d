"""Tests of inputs that are standardised by the proteins that are asked about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.data.fasta import read_fasta, write_fasta
from ppi_train.data.pairs import read_pairs
from ppi_train.errors import DataError
from ppi_train.modes import execute_pipeline


def test_evaluation_and_prediction_standardise_alike_and_refuse_few_proteins(
    store: mlflow.MlflowClient, data_dir: Path, example: Dataset, tmp_path: Path
) -> None:
    del store
    folders = {"data_dir": str(data_dir), "output_dir": str(tmp_path / "runs")}
    trained = execute_pipeline("train_only", folders | {"epochs": 2})
    asked = {"run_id": trained.run_id, "input_statistics": "asked"}
    quick = {"bootstrap_resamples": 0, "audit": "off", "node_sets": "draw"}
    as_trained = execute_pipeline("eval_only", folders | quick | {"run_id": trained.run_id})
    evaluated = execute_pipeline("eval_only", folders | quick | asked)
    # The test proteins are of the same kind as those of training: other numbers, the same quality.
    assert evaluated.metrics["test/auroc"] == pytest.approx(as_trained.metrics["test/auroc"], abs=0.05)
    scores = pd.read_parquet(Path(evaluated.outputs["predictions"]) / "predictions/test.parquet")
    others = pd.read_parquet(Path(as_trained.outputs["predictions"]) / "predictions/test.parquet")
    assert np.abs(scores["logit"] - others["logit"]).max() > 0.01

    # `predict` on all pairs of the same proteins, also by another process, gives the same network.
    table = read_pairs(example.splits["test"].pairs)
    sequences = read_fasta(example.splits["test"].fasta).sequences
    fasta = tmp_path / "test.fasta"
    write_fasta(fasta, {name: sequences[name] for name in table.proteins})
    written = {}
    for workers in (None, 1):
        path = tmp_path / f"scores-{workers}.parquet"
        wanted: dict[str, Any] = {"fasta": str(fasta), "all_pairs": True, "output": str(path)}
        if workers:
            wanted["workers"] = workers
        execute_pipeline("predict", {"data_dir": str(data_dir)} | asked | wanted)
        written[workers] = pd.read_parquet(path)
    assert written[None].equals(written[1])
    assert evaluated.metrics["network/edges"] == np.count_nonzero(written[None]["probability"] >= 0.5)

    write_fasta(fasta, {name: sequences[name] for name in table.proteins[:99]})
    few: dict[str, Any] = {"fasta": str(fasta), "all_pairs": True, "output": str(tmp_path / "few.parquet")}
    with pytest.raises(DataError, match="too few proteins to standardise the embeddings by") as caught:
        execute_pipeline("predict", {"data_dir": str(data_dir)} | asked | few)
    assert "99 proteins" in str(caught.value)
