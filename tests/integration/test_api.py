"""Tests of the Python interface, on real runs."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

import ppi_train
from ppi_train import api
from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.data.fasta import read_fasta
from ppi_train.data.pairs import read_pairs
from ppi_train.errors import ConfigError, DataError

SCRIPT = """
import ppi_train
run = ppi_train.train(fasta={fasta!r}, train_pairs={train!r}, val_pairs={val!r}, epochs=1, data_dir={data!r})
assert run.metrics["val/auroc_best"] > 0.5
"""


@pytest.fixture
def run(store: mlflow.MlflowClient, example: Dataset, data_dir: Path, tmp_path: Path) -> api.Run:
    del store  # the store of this test
    return ppi_train.train(
        fasta=example.splits["train"].fasta,
        train_pairs=example.splits["train"].pairs,
        val_pairs=example.splits["validation"].pairs,
        epochs=1,
        run_name="mine",
        experiment="of this test",
        data_dir=data_dir,
        output_dir=tmp_path / "runs",
        progress=False,
    )


def test_a_run_has_its_name_its_experiment_and_a_model_that_scores_as_evaluated(
    run: api.Run, store: mlflow.MlflowClient, example: Dataset, data_dir: Path, tmp_path: Path
) -> None:
    tracked = store.get_run(run.run_id)
    assert tracked.info.run_name == "mine"
    assert store.get_experiment(tracked.info.experiment_id).name == "of this test"
    assert run.url.startswith("mlflow ui --backend-store-uri sqlite:///")
    assert "metrics" not in repr(run)  # which a notebook shows; they are up to a hundred

    table = read_pairs(example.splits["validation"].pairs)
    named = {name: column.to_pylist()[:50] for name, column in table.named().items()}
    pairs = pd.DataFrame(named | {"note": "mine"}, index=range(100, 150))
    scores = run.model.predict(pairs)
    assert list(scores.columns) == ["protein_a", "protein_b", "note", "probability", "logit", "uncertainty"]
    assert list(scores.index) == list(pairs.index)

    sequences = read_fasta(example.splits["validation"].fasta).sequences
    by_sequence = pd.DataFrame(
        {f"sequence_{side}": [sequences[name] for name in named[f"protein_{side}"]] for side in "ab"}
    )
    loaded = ppi_train.load_model(run.run_id)
    np.testing.assert_array_equal(loaded.predict(by_sequence)["logit"], scores["logit"])

    result = ppi_train.predict(
        run.run_id,
        pairs=example.splits["validation"].pairs,
        fasta=example.splits["validation"].fasta,
        output=tmp_path / "scores.parquet",
        data_dir=data_dir,
        progress=False,
    )
    assert result.mode == "predict"
    table = pd.read_parquet(tmp_path / "scores.parquet")
    written = table.set_index(["protein_a", "protein_b"])["probability"]
    keys = list(zip(scores["protein_a"], scores["protein_b"], strict=True))
    np.testing.assert_allclose(written.loc[keys], scores["probability"], atol=1e-5)

    with pytest.raises(DataError, match=r"no sequence for 1 protein of the pairs"):
        run.model.predict(pd.DataFrame({"protein_a": ["nobody"], "protein_b": [named["protein_a"][0]]}))
    with pytest.raises(DataError, match="these columns do not make pairs"):
        run.model.predict(pairs[["protein_a", "note"]])


@pytest.mark.slow
def test_a_script_sees_what_happens_on_the_standard_error_only(
    store: mlflow.MlflowClient, example: Dataset, data_dir: Path, tmp_path: Path
) -> None:
    script = SCRIPT.format(
        fasta=str(example.splits["train"].fasta),
        train=str(example.splits["train"].pairs),
        val=str(example.splits["validation"].pairs),
        data=str(data_dir),
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert "epoch 1/1" in done.stderr
    (tracked,) = store.search_runs(["1"])
    assert tracked.info.status == "FINISHED"


def test_wrong_calls_say_what_is_right(store: mlflow.MlflowClient) -> None:
    with pytest.raises(TypeError, match=r"mode train_only has no parameter 'epoch': did you mean epochs\?"):
        ppi_train.train(epoch=1)
    with pytest.raises(ConfigError, match="epochs: expected a value at least 1; got 0"):
        ppi_train.train(epochs=0, progress=False)
    with pytest.raises(ConfigError, match="there is no such run mode"):
        ppi_train.run("train_onyl")
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        ppi_train.trian  # noqa: B018
    assert not store.search_runs([item.experiment_id for item in store.search_experiments()])


def test_the_examples_of_the_docstrings_run(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del store
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(api)
    assert (result.failed, result.attempted) == (0, 2)


def test_the_package_shows_its_functions_and_imports_nothing_slow() -> None:
    assert {"train", "finetune", "evaluate", "compare", "predict", "embed", "promote"} <= set(dir(ppi_train))
    slow = "import ppi_train, sys; print([m for m in ('torch', 'mlflow', 'pandas') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", slow], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
