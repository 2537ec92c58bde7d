"""Tests of the README's claims on the real benchmarks, from a mirror."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest

from ppi_train.modes import execute_pipeline

pytestmark = pytest.mark.slow


@pytest.fixture
def folders(tmp_path: Path, mirror: str) -> dict[str, Any]:
    return {"data_dir": str(tmp_path / "data"), "output_dir": str(tmp_path / "runs"), "mirror": mirror}


def test_bernett_with_the_defaults_reaches_the_known_accuracy_and_evaluates_by_run_id(
    store: mlflow.MlflowClient, folders: dict[str, Any]
) -> None:
    trained = execute_pipeline("train_only", folders | {"dataset": "bernett"})
    assert trained.metrics["val/auroc_best"] >= 0.590
    assert store.get_run(trained.run_id).info.run_name == "train_only-pooled_mlp-bernett"
    # The mirror has no test files: `auto` says so and names the metrics after what was scored.
    evaluated = execute_pipeline("eval_only", folders | {"run_id": trained.run_id})
    # The division by the temperature makes a few float32 logits equal: a tie is half of one of 9e8 orders.
    assert evaluated.metrics["val/auroc"] == pytest.approx(trained.metrics["val/auroc_best"], abs=1e-8)
    assert store.get_run(evaluated.run_id).data.tags["ppi.split"] == "validation"


@pytest.mark.usefixtures("store")
def test_arabidopsis_trains_and_has_its_own_test_set(folders: dict[str, Any]) -> None:
    trained = execute_pipeline("train_only", folders | {"dataset": "pring_arath"})
    assert trained.metrics["val/auroc_best"] > 0.6
    evaluated = execute_pipeline("eval_only", folders | {"run_id": trained.run_id})
    assert evaluated.metrics["test/auroc"] > 0.5
