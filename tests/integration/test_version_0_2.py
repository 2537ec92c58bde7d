"""Tests that what version 0.2.0 left behind loads and predicts the same.

`tests/data/model_0_2` has a small run of that version: the logged model without the zip of its package, so
that it is served by the present code; the checkpoint `last`; the tables and the FASTA; and what the code of
0.2.0 computed from them (`expected.json`): the scores of the validation pairs, and two epochs more.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException

from ppi_train.checkpoints import model_from_checkpoint, read_checkpoint
from ppi_train.config.loading import load_config
from ppi_train.data.fasta import read_fasta
from ppi_train.data.pairs import read_pairs
from ppi_train.embeddings.embedders.descriptors import Descriptors
from ppi_train.features import PairData, VectorFeatures
from ppi_train.inference.scoring import score_pairs
from ppi_train.models.base import PairModel
from ppi_train.modes.train.training_run import validation_metrics
from ppi_train.runs.configs import TrainConfig
from ppi_train.training.pair_task import PairTask
from ppi_train.training.trainer import Trainer
from tests.support import ROOT

FOLDER = ROOT / "tests/data/model_0_2"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return dict(json.loads((FOLDER / "expected.json").read_text()))


def pair_data(split: str) -> PairData:
    table, sequences = read_pairs(FOLDER / f"{split}.tsv"), read_fasta(FOLDER / "plain.fasta").sequences
    assert table.labels is not None
    vectors = Descriptors().embed([sequences[protein] for protein in table.proteins])
    return PairData(
        features=VectorFeatures(torch.from_numpy(vectors)),
        pairs=torch.from_numpy(table.index.astype(np.int64)),
        labels=torch.from_numpy(table.labels.astype(np.float32)),
    )


def test_a_logged_model_loads_and_predicts_the_same(
    expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))  # the model adds the zip of its package
    model = mlflow.pyfunc.load_model(str(FOLDER / "model"))
    sequences = read_fasta(FOLDER / "plain.fasta").sequences
    pairs = pd.read_csv(FOLDER / "val.tsv", sep="\t")
    columns = {f"sequence_{side}": pairs[f"protein_{side}"].map(sequences) for side in "ab"}
    served = model.predict(pd.DataFrame(columns))
    np.testing.assert_allclose(served["logit"], expected["logits"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(served["probability"], expected["probabilities"], atol=1e-6, rtol=0)
    assert (served["uncertainty"] == 0).all()
    with pytest.raises(MlflowException, match="this is not a protein sequence"):
        model.predict(pd.DataFrame({"sequence_a": ["MK1V"], "sequence_b": ["MKV"]}))


@pytest.mark.parametrize("name", ["model/artifacts/best", "checkpoints/last"])
def test_checkpoints_score_the_same(name: str, expected: dict[str, Any]) -> None:
    model = model_from_checkpoint(read_checkpoint(FOLDER / name), CPU)
    logits = score_pairs(model, pair_data("val"))
    np.testing.assert_allclose(logits, expected["logits"], atol=1e-6, rtol=0)


def test_an_interrupted_training_continues_the_same(expected: dict[str, Any], tmp_path: Path) -> None:
    checkpoint = read_checkpoint(FOLDER / "checkpoints/last", with_training_state=True)
    given = checkpoint.description["config"] | {"epochs": 4, "device": "cpu"}
    config, _ = load_config(TrainConfig, given)
    trainer = Trainer(
        model_from_checkpoint(checkpoint, CPU),
        config.training,
        scheduler=config.scheduler,
        amp=config.compute.amp,
        task=PairTask(
            config.loss,
            seed=config.compute.seed,
            train=pair_data("train"),
            validation=pair_data("val"),
            ranking_metrics=validation_metrics,
            batch_size=config.sampling.batch_size or 1024,
            share_proteins=config.sampling.sampling == "shared",
        ),
        checkpoints=tmp_path,
        description={},
    )
    assert checkpoint.training_state is not None
    trainer.continue_from(checkpoint.weights, checkpoint.training_state)
    history = trainer.run().history
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4]
    for entry, before in zip(history[2:], expected["epochs_3_and_4"], strict=True):
        trained = {name: value for name, value in before.items() if not name.startswith("val/")}
        assert {name: entry[name] for name in trained} == pytest.approx(trained, rel=1e-5)
    # That version took nothing off for what is said of single proteins.
    model = cast(PairModel, trainer.model.eval())
    model.set_reference_share(0.0)
    validation = pair_data("val")
    metrics = validation_metrics(score_pairs(model, validation).numpy(), validation.labels.numpy())
    last = expected["epochs_3_and_4"][-1]
    for name in ("auroc", "auprc"):
        assert metrics[name] == pytest.approx(last[f"val/{name}"], rel=1e-5)
