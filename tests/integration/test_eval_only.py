"""Tests of `eval_only` with a run ID, and of unsuitable inputs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ppi_train.checkpoints import read_checkpoint
from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.data.fasta import read_fasta, sequence_digest
from ppi_train.embeddings.cache import CacheSpec
from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.errors import CacheError, CheckpointError, ConfigError, TrackingError
from ppi_train.evaluation.pair_metrics import BOUNDS, pair_metrics, sigmoid
from ppi_train.evaluation.uncertainty import fitted_temperature
from ppi_train.modes import PipelineResult, execute_pipeline
from tests.support.changed_cache import write_scaled


@pytest.fixture(autouse=True)
def _own_checkpoint_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPI_TRAIN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folders(data_dir: Path, tmp_path: Path) -> dict[str, Any]:
    return {"data_dir": str(data_dir), "output_dir": str(tmp_path / "runs")}


@pytest.fixture
def trained(store: mlflow.MlflowClient, folders: dict[str, Any]) -> PipelineResult:
    del store
    return execute_pipeline("train_only", folders | {"epochs": 2})


def test_the_test_set_is_scored_with_intervals_around_each_metric(
    store: mlflow.MlflowClient, folders: dict[str, Any], trained: PipelineResult
) -> None:
    result = execute_pipeline("eval_only", folders | {"run_id": trained.run_id})
    run = store.get_run(result.run_id)
    metrics = run.data.metrics
    for name in ("auroc", "auprc", "auprc_1to100", "accuracy", "f1", "mcc", "brier"):
        low, high = metrics[f"test/{name}_ci_low"], metrics[f"test/{name}_ci_high"]
        assert low < metrics[f"test/{name}"] < high
    assert {f"test/{name}" for name in BOUNDS} <= set(metrics)
    assert {f"test/{name}_ci_low" for name in BOUNDS} <= set(metrics)
    assert run.info.run_name == "eval_only-pooled_mlp-example"
    assert run.data.tags["ppi.evaluated_run_id"] == trained.run_id
    predictions = pd.read_parquet(Path(result.outputs["predictions"]) / "predictions/test.parquet")
    again = pair_metrics(
        predictions["logit"].to_numpy(), predictions["label"].to_numpy(dtype=np.int8), are_logits=True
    )
    assert again["auroc"] == pytest.approx(metrics["test/auroc"], abs=1e-12)
    # Half of the validation pairs interact, so that the prior odds fall to 1:100.
    assert store.get_run(trained.run_id).data.metrics["val/prevalence"] == 0.5
    best = predictions["probability"].nlargest(100).to_numpy(np.float64)
    odds = best / (1 - best) / 100
    assert metrics["expected/precision_at_100_1to100"] == pytest.approx(np.mean(odds / (1 + odds)), rel=1e-4)
    assert "expected at 1:1000" in (Path(result.outputs["predictions"]) / "report.html").read_text()


def test_the_model_of_the_run_shows_the_test_metrics(
    store: mlflow.MlflowClient, folders: dict[str, Any], trained: PipelineResult
) -> None:
    execute_pipeline("eval_only", folders | {"run_id": trained.run_id})
    (model,) = store.search_logged_models(["1"], filter_string=f"source_run_id = '{trained.run_id}'")
    assert "test/auroc" in {metric.key for metric in model.metrics or ()}


def test_validation_by_eval_only_equals_what_training_measured(
    store: mlflow.MlflowClient, folders: dict[str, Any], trained: PipelineResult
) -> None:
    result = execute_pipeline("eval_only", folders | {"run_id": trained.run_id, "split": "validation"})
    metrics = store.get_run(result.run_id).data.metrics
    # But for logits that the division by the temperature makes equal.
    assert metrics["val/auroc"] == pytest.approx(trained.metrics["val/auroc_best"], abs=1e-5)
    assert metrics["val/auprc_1to100"] == pytest.approx(trained.metrics["val/auprc_1to100_best"], abs=1e-4)
    assert metrics["val/ece"] == trained.metrics["val/ece"]
    assert not any(name.startswith("test/") for name in metrics)


def test_probabilities_are_those_of_the_temperature_that_training_fitted(
    store: mlflow.MlflowClient, folders: dict[str, Any], trained: PipelineResult
) -> None:
    metrics = store.get_run(trained.run_id).data.metrics
    temperature = metrics["val/temperature_best"]
    best = Path(trained.outputs["checkpoints"]) / "checkpoints" / "best"
    assert read_checkpoint(best).temperature == temperature != 1.0
    history = {
        point.step: point.value for point in store.get_metric_history(trained.run_id, "val/temperature")
    }
    assert history[int(metrics["best_epoch"])] == temperature
    result = execute_pipeline("eval_only", folders | {"run_id": trained.run_id, "split": "validation"})
    scored = pd.read_parquet(Path(result.outputs["predictions"]) / "predictions/validation.parquet")
    labels = scored["label"].to_numpy(dtype=np.int8)
    np.testing.assert_allclose(scored["probability"], sigmoid(scored["logit"].to_numpy()), atol=1e-6)
    # Nothing is left to be fitted, and without the temperature it is what training has seen.
    assert fitted_temperature(scored["logit"].to_numpy(), labels) == pytest.approx(1.0, abs=1e-3)
    as_trained = pair_metrics(scored["logit"].to_numpy() * temperature, labels, are_logits=True)
    assert as_trained["ece"] == pytest.approx(metrics["val/ece_uncalibrated"], abs=1e-6)
    assert as_trained["log_loss"] == pytest.approx(trained.metrics["val/loss_best"], abs=1e-5)
    assert result.metrics["val/log_loss"] < as_trained["log_loss"]


def test_the_strata_are_logged_and_make_a_table(
    store: mlflow.MlflowClient, folders: dict[str, Any], trained: PipelineResult, tmp_path: Path
) -> None:
    result = execute_pipeline("eval_only", folders | {"run_id": trained.run_id, "bootstrap_resamples": 20})
    metrics = store.get_run(result.run_id).data.metrics
    table = pd.read_csv(store.download_artifacts(result.run_id, "strata.tsv", str(tmp_path)), sep="\t")
    predictions = pd.read_parquet(Path(result.outputs["predictions"]) / "predictions/test.parquet")
    assert set(table["by"]) == {"proteins_seen", "length", "degree"}
    for by, group in table.groupby("by"):
        assert group["pairs"].sum() == len(predictions), by
    ranked = table.dropna()
    assert len(ranked) >= 4
    for row in ranked.itertuples():
        assert row.auroc_low < row.auroc < row.auroc_high
        assert metrics[f"test/auroc_{row.name}"] == pytest.approx(row.auroc)


def test_a_test_set_of_one_class_has_the_metrics_that_need_no_other(
    store: mlflow.MlflowClient,
    folders: dict[str, Any],
    trained: PipelineResult,
    example: Dataset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines = example.splits["test"].pairs.read_text().splitlines()
    pairs = tmp_path / "positives.tsv"
    pairs.write_text("\n".join(line for line in lines if not line.endswith("0")) + "\n")
    own = {"test_pairs": str(pairs), "fasta": str(example.splits["test"].fasta)}
    result = execute_pipeline("eval_only", folders | {"run_id": trained.run_id} | own)
    run = store.get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert {name for name in run.data.metrics if name.startswith("test/")} == {
        "test/accuracy", "test/brier", "test/log_loss", "test/ece", "test/ece_adaptive"
    }  # fmt: skip
    assert "0 non-interacting pairs: one class has no auroc, auprc" in caplog.text
    files = {artifact.path for artifact in store.list_artifacts(result.run_id, "figures")}
    assert files == {"figures/reliability.png"}
    assert store.list_artifacts(result.run_id, "predictions")


def test_own_test_pairs_need_no_more_than_a_fasta(
    folders: dict[str, Any], trained: PipelineResult, example: Dataset
) -> None:
    test = example.splits["test"]
    own = {"test_pairs": str(test.pairs), "fasta": str(test.fasta)}
    named = execute_pipeline("eval_only", folders | {"run_id": trained.run_id})
    mine = execute_pipeline("eval_only", folders | {"run_id": trained.run_id} | own)
    assert mine.metrics == named.metrics


@pytest.mark.parametrize("mode", ["eval_only", "promote", "compare"])
def test_own_test_pairs_of_a_run_on_a_data_set_need_a_fasta(
    folders: dict[str, Any], trained: PipelineResult, example: Dataset, mode: str
) -> None:
    run_id = trained.run_id
    of_mode: dict[str, Any] = {
        "eval_only": {"run_id": run_id},
        "promote": {"run_id": run_id, "registered_model": "mine"},
        "compare": {"run_ids": f"{run_id},{execute_pipeline('train_only', folders | {'epochs': 1}).run_id}"},
    }
    with pytest.raises(ConfigError, match="neither sequences nor embeddings") as caught:
        execute_pipeline(mode, folders | of_mode[mode] | {"test_pairs": str(example.splits["test"].pairs)})
    assert str(example.splits["test"].pairs) in str(caught.value)
    assert "give fasta=FILE" in str(caught.value)


def embedded(example: Dataset, path: Path, *, dimension: int) -> Path:
    """A cache of the example's proteins by an embedder of a lab's own."""
    sequences = read_fasta(example.splits["test"].fasta)
    spec = CacheSpec(
        embedder={"name": "other", "parameters": {}, "digest": "1"},
        dimension=dimension,
        granularity="protein",
        dtype="float32",
        max_length=None,
        truncation="head",
        fasta_digest=sequences.digest,
    )
    rng = np.random.default_rng(0)
    with CacheWriter(path, spec) as writer:
        for name, sequence in sequences.sequences.items():
            writer.add(name, sequence_digest(sequence), len(sequence), rng.normal(size=dimension))
    return path


def test_a_cache_of_another_dimension_is_refused(
    store: mlflow.MlflowClient,
    folders: dict[str, Any],
    trained: PipelineResult,
    example: Dataset,
    tmp_path: Path,
) -> None:
    cache = embedded(example, tmp_path / "other.parquet", dimension=7)
    with pytest.raises(CacheError, match="another dimension and embedder than asked for") as caught:
        execute_pipeline("eval_only", folders | {"run_id": trained.run_id, "embeddings": str(cache)})
    assert "dimension=7" in str(caught.value)
    assert "dimension=804" in str(caught.value)
    (run,) = store.search_runs(["1"], filter_string="tags.`ppi.mode` = 'eval_only'")
    assert run.info.status == "FAILED"
    assert run.data.tags["ppi.error"] == str(caught.value)


def test_a_lab_can_train_and_evaluate_on_a_cache_of_its_own(
    folders: dict[str, Any], store: mlflow.MlflowClient, example: Dataset, tmp_path: Path
) -> None:
    cache = embedded(example, tmp_path / "other.parquet", dimension=7)
    trained = execute_pipeline("train_only", folders | {"embeddings": str(cache), "epochs": 1})
    assert store.get_run(trained.run_id).data.tags["ppi.embedder"] == "other"
    result = execute_pipeline("eval_only", folders | {"run_id": trained.run_id, "embeddings": str(cache)})
    assert 0 < result.metrics["test/auroc"] < 1


@pytest.mark.usefixtures("store")
def test_a_run_id_that_does_not_exist(folders: dict[str, Any]) -> None:
    with pytest.raises(TrackingError, match="there is no such run") as caught:
        execute_pipeline("eval_only", folders | {"run_id": "0" * 32})
    assert "0" * 32 in str(caught.value)
    assert "MLFLOW_TRACKING_URI" in str(caught.value)


def test_a_deleted_run(store: mlflow.MlflowClient, folders: dict[str, Any], trained: PipelineResult) -> None:
    store.delete_run(trained.run_id)
    with pytest.raises(TrackingError, match="the run was deleted") as caught:
        execute_pipeline("eval_only", folders | {"run_id": trained.run_id})
    assert f"mlflow runs restore --run-id {trained.run_id}" in str(caught.value)


@pytest.mark.usefixtures("store")
def test_a_run_without_a_checkpoint(folders: dict[str, Any]) -> None:
    prepared = execute_pipeline("prepare_data", {"data_dir": folders["data_dir"]})
    with pytest.raises(CheckpointError, match="this is not a training run") as caught:
        execute_pipeline("eval_only", folders | {"run_id": prepared.run_id})
    assert "mode prepare_data" in str(caught.value)


def test_a_checkpoint_that_was_altered_in_the_store(
    store: mlflow.MlflowClient, folders: dict[str, Any], trained: PipelineResult
) -> None:
    root = Path(store.get_run(trained.run_id).info.artifact_uri.removeprefix("file://"))
    weights = root / "checkpoints/best/weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="was altered after it was written"):
        execute_pipeline("eval_only", folders | {"run_id": trained.run_id})


def test_a_checkpoint_whose_marker_never_came(
    store: mlflow.MlflowClient, folders: dict[str, Any], trained: PipelineResult
) -> None:
    root = Path(store.get_run(trained.run_id).info.artifact_uri.removeprefix("file://"))
    (root / "checkpoints/best/COMPLETE.json").unlink()
    with pytest.raises(CheckpointError, match="there is no finished checkpoint"):
        execute_pipeline("eval_only", folders | {"run_id": trained.run_id})


def test_everything_works_against_a_server_that_proxies_artifacts(
    server: str, folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    trained = execute_pipeline("train_only", folders | {"epochs": 2})
    shutil.rmtree(folders["output_dir"])  # the server alone must be enough
    result = execute_pipeline("eval_only", folders | {"run_id": trained.run_id, "split": "validation"})
    assert result.metrics["val/auroc"] == pytest.approx(trained.metrics["val/auroc_best"], abs=1e-5)


@pytest.mark.usefixtures("store")
def test_embed_writes_a_cache_that_training_takes(
    folders: dict[str, Any], example: Dataset, tmp_path: Path
) -> None:
    output = tmp_path / "mine.parquet"
    made = {"fasta": str(example.splits["train"].fasta), "output": str(output), "max_length": 100}
    execute_pipeline("embed", {"data_dir": folders["data_dir"]} | made)
    assert pq.read_metadata(output).num_rows == 1100
    result = execute_pipeline("train_only", folders | {"embeddings": str(output), "epochs": 1})
    assert result.metrics["best_epoch"] == 1
    with pytest.raises(CacheError, match="another max_length than asked for"):
        execute_pipeline("train_only", folders | {"embeddings": str(output), "max_length": 200})


def test_a_cache_with_other_numbers_than_in_training_is_said(
    store: mlflow.MlflowClient, folders: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = execute_pipeline("embed", {"data_dir": folders["data_dir"]}).outputs["embeddings"]
    run_id = execute_pipeline("train_only", folders | {"epochs": 1, "embeddings": made}).run_id
    scaled = tmp_path / "scaled.parquet"
    write_scaled(Path(made), scaled, 1.5)
    tags = []
    for embeddings, warned in ((made, False), (str(scaled), True)):
        caplog.clear()
        again = execute_pipeline("eval_only", folders | {"run_id": run_id, "embeddings": embeddings})
        assert ("THE EMBEDDINGS ARE NOT THOSE" in caplog.text) is warned
        tags.append(store.get_run(again.run_id).data.tags)
    assert tags[0]["ppi.embedding_cache_digest"] == tags[1]["ppi.embedding_cache_digest"]
    assert tags[0]["ppi.embedding_content_digest"] != tags[1]["ppi.embedding_content_digest"]
