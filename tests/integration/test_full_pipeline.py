"""Tests of `full_pipeline`: nested stage runs and their reuse."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest

from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.errors import ConfigError, UserError
from ppi_train.modes import PipelineResult, execute_pipeline


@pytest.fixture(scope="module")
def at_server(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[mlflow.MlflowClient]:
    """A client of the real server, which the code under test uses as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPI_TRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MLFLOW_TRACKING_URI", server)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
        yield mlflow.MlflowClient(server)


@pytest.fixture
def client(at_server: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """The client, with an experiment of this test's own."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", at_server.create_experiment(f"pipeline-{time.time_ns()}"))
    return at_server


@pytest.fixture
def given(data_dir: Path, tmp_path: Path) -> dict[str, Any]:
    return settings(data_dir, tmp_path / "runs")


def settings(data_dir: Path, runs: Path) -> dict[str, Any]:
    places = {"data_dir": str(data_dir), "output_dir": str(runs)}
    return places | {"epochs": 2, "bootstrap_resamples": 100}


@dataclass(frozen=True)
class Earlier:
    """A pipeline that has run in an experiment of its own."""

    client: mlflow.MlflowClient
    experiment: str
    config: dict[str, Any]
    result: PipelineResult


@pytest.fixture(scope="module")
def earlier(
    at_server: mlflow.MlflowClient, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Earlier:
    config = settings(data_dir, tmp_path_factory.mktemp("runs")) | {"epochs": 1}
    own = at_server.create_experiment(f"pipeline-{time.time_ns()}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_EXPERIMENT_ID", own)
        return Earlier(at_server, own, config, execute_pipeline("full_pipeline", config))


def nested(client: mlflow.MlflowClient, parent: str) -> list[mlflow.entities.Run]:
    experiment = client.get_run(parent).info.experiment_id
    return list(client.search_runs([experiment], filter_string=f"tags.`mlflow.parentRunId` = '{parent}'"))


def test_every_stage_is_a_nested_run_that_can_be_used_by_its_id(
    client: mlflow.MlflowClient, given: dict[str, Any]
) -> None:
    result = execute_pipeline("main", given | {"finetune_dataset": "example", "registered_model": "whole"})
    modes = {run.info.run_id: run.data.tags["ppi.mode"] for run in nested(client, result.run_id)}
    stages = ("prepare", "embed", "pretrain", "finetune", "evaluate", "promote")
    assert tuple(result.outputs) == stages
    assert {name: modes[result.outputs[name]] for name in stages} == {
        "prepare": "prepare_data",
        "embed": "embed",
        "pretrain": "train_only",
        "finetune": "finetune_from_pretrain",
        "evaluate": "eval_only",
        "promote": "promote",
    }
    parent = client.get_run(result.run_id)
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == "full_pipeline-pooled_mlp-example"
    assert {f"ppi.stage.{name}" for name in stages} <= set(parent.data.tags)
    assert {"val/auroc_best", "test/auroc", "promotion/auprc_candidate"} <= set(parent.data.metrics)
    holder = client.get_model_version_by_alias("whole", "champion")
    assert holder.tags["ppi.run_id"] == result.outputs["finetune"]
    scored = execute_pipeline(
        "eval_only", {"run_id": result.outputs["pretrain"], "split": "validation"} | _places(given)
    )
    assert (
        scored.metrics["val/auroc"]
        == client.get_run(result.outputs["pretrain"]).data.metrics["val/auroc_best"]
    )


def _places(given: dict[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in ("data_dir", "output_dir")}


@pytest.mark.slow
def test_after_a_failure_the_finished_stages_are_taken_over(
    client: mlflow.MlflowClient,
    given: dict[str, Any],
    example: Dataset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    test = tmp_path / "mine.tsv"
    own = given | {"test_pairs": str(test), "fasta": str(example.splits["test"].fasta)}
    own |= {
        "train_pairs": str(example.splits["train"].pairs),
        "val_pairs": str(example.splits["validation"].pairs),
    }
    with pytest.raises(UserError, match=r"mine\.tsv"):
        execute_pipeline("full_pipeline", own)
    (failed,) = client.search_runs([experiment()], filter_string="tags.`ppi.mode` = 'full_pipeline'")
    assert failed.info.status == "FAILED"
    test.write_text(example.splits["test"].pairs.read_text())
    with caplog.at_level("INFO"):
        result = execute_pipeline("full_pipeline", own)
    assert result.outputs["pretrain"] == failed.data.tags["ppi.stage.pretrain"]
    assert result.outputs["embed"] == failed.data.tags["ppi.stage.embed"]
    assert f"stage pretrain: reuses run {result.outputs['pretrain']}" in caplog.text
    assert [run.data.tags["ppi.mode"] for run in nested(client, result.run_id)] == ["eval_only"]
    assert "test/auroc" in client.get_run(result.run_id).data.metrics


def experiment() -> str:
    return os.environ["MLFLOW_EXPERIMENT_ID"]


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ({"learning_rate": 0.002}, {"pretrain", "evaluate"}),
        pytest.param({"data_seed": 3}, {"prepare", "embed", "pretrain", "evaluate"}, marks=pytest.mark.slow),
        ({"bootstrap_resamples": 120}, {"evaluate"}),
        ({"checkpoint_every": "1000 steps"}, set()),
        pytest.param({"reuse": False}, {"prepare", "embed", "pretrain", "evaluate"}, marks=pytest.mark.slow),
    ],
)
def test_only_what_a_change_touches_is_done_again(
    earlier: Earlier, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], again: set[str]
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", earlier.experiment)
    second = execute_pipeline("full_pipeline", earlier.config | changed)
    first = earlier.result
    assert {name for name in first.outputs if first.outputs[name] != second.outputs[name]} == again
    for name in again:  # or the next test would find these in place of the first ones
        earlier.client.delete_run(second.outputs[name])


@pytest.mark.slow
def test_an_interrupted_training_is_continued(
    client: mlflow.MlflowClient, given: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    first = execute_pipeline("full_pipeline", given)
    client.set_terminated(first.outputs["pretrain"], "KILLED")
    with caplog.at_level("INFO"):
        second = execute_pipeline("full_pipeline", given)
    assert second.outputs["pretrain"] == first.outputs["pretrain"]
    assert "continuing at step" in caplog.text
    assert client.get_run(first.outputs["pretrain"]).info.status == "FINISHED"


def test_a_stage_that_cannot_be_run_is_told_before_the_first_one_starts(
    client: mlflow.MlflowClient, given: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as caught:
        execute_pipeline(
            "full_pipeline", given | {"finetune_train_pairs": "a.tsv", "finetune_val_pairs": "b.tsv"}
        )
    assert "finetune_fasta or finetune_embeddings: one is required" in str(caught.value)
    assert not client.search_runs([experiment()])
