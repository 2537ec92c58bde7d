"""Tests of the mode that prepares a data set."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from ppi_train.data.benchmarks import NotInMirrorError
from ppi_train.modes import execute_pipeline


@pytest.mark.slow
def test_bernett_where_the_mirror_lacks_the_test_files(
    store: mlflow.MlflowClient, mirror: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = {"dataset": "bernett", "mirror": mirror, "data_dir": str(tmp_path)}
    result = execute_pipeline("prepare_data", given)
    assert set(result.outputs) == {"train", "validation"}
    assert result.metrics["data/train_pairs"] == 163_192
    assert "NOT PREPARED: test: the mirror does not hold the file" in caplog.text
    run = store.get_run(result.run_id)
    assert run.data.params["data.splits"] == "train,validation"
    assert "Intra2_interaction.tsv" in run.data.tags["ppi.left_out"]
    with pytest.raises(NotInMirrorError, match="Intra2_interaction"):
        execute_pipeline("prepare_data", {**given, "splits": "train,test"})


def test_a_mirror_that_lacks_every_file(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del store
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotInMirrorError, match="Intra1_interaction"):
        execute_pipeline("prepare_data", {"dataset": "bernett", "mirror": str(tmp_path)})


def test_all_splits_of_the_example(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = execute_pipeline("prepare_data", {})
    assert list(result.outputs) == ["train", "validation", "test"]
    run = store.get_run(result.run_id)
    assert run.data.params["data.splits"] == "train,validation,test"
    assert "ppi.left_out" not in run.data.tags
