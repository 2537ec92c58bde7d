"""End-to-end tests of `train_only` on the built-in example."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import psutil
import pytest
import yaml

from ppi_train.config.loading import load_config
from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.data.fasta import read_fasta
from ppi_train.errors import CacheError
from ppi_train.modes import PipelineResult, execute_pipeline
from ppi_train.modes.train.training_run import validation_metrics
from ppi_train.runs.configs import TrainConfig


@pytest.fixture
def folders(data_dir: Path, tmp_path: Path) -> dict[str, Any]:
    return {"data_dir": str(data_dir), "output_dir": str(tmp_path / "runs")}


def trained(folders: dict[str, Any], mode: str = "train_only", **parameters: object) -> PipelineResult:
    return execute_pipeline(mode, folders | parameters)


def artifacts(client: mlflow.MlflowClient, run_id: str, path: str | None = None) -> set[str]:
    found: set[str] = set()
    for item in client.list_artifacts(run_id, path):
        found |= artifacts(client, run_id, item.path) if item.is_dir else {item.path}
    return found


def test_defaults_learn_the_example(store: mlflow.MlflowClient, folders: dict[str, Any]) -> None:
    result = trained(folders)
    run = store.get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["val/auroc_best"] >= 0.85


def test_a_run_imports_no_large_library_that_it_does_not_need(
    store: mlflow.MlflowClient, folders: dict[str, Any]
) -> None:
    # torch.compile, which optimisers of torch import, and others.
    names = ("torch._dynamo", "torch._inductor", "sympy", "sklearn", "scipy.optimize", "scipy.stats")
    code = (
        "import sys; from ppi_train.modes import execute_pipeline; "
        f"run = execute_pipeline('train_only', {folders | {'epochs': 1}!r}); "
        f"print(run.run_id, *(name for name in {names} if name in sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    run_id, *imported = shown.splitlines()[-1].split()
    assert not imported
    assert store.get_run(run_id).info.status == "FINISHED"


def test_only_the_first_run_of_a_process_waits_for_its_start(
    store: mlflow.MlflowClient, folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppi_train.tracking.run.TrackedRun._any_ended", False)
    age = time.time() - psutil.Process().create_time()
    first, second = (store.get_run(trained(folders, epochs=1).run_id).data.metrics for _ in range(2))
    assert first["system/startup_seconds"] > age + first["system/seconds_to_first_step"]
    assert second["system/startup_seconds"] == second["system/seconds_to_first_step"]


def test_shuffled_labels_stay_at_chance(
    store: mlflow.MlflowClient, folders: dict[str, Any], shuffled_example: Path
) -> None:
    result = trained(
        folders,
        train_pairs=str(shuffled_example / "train.tsv"),
        val_pairs=str(shuffled_example / "validation.tsv"),
        fasta=str(shuffled_example / "sequences.fasta"),
        early_stopping_patience=0,
    )
    last = store.get_run(result.run_id).data.metrics["val/auroc"]
    assert 0.45 <= last <= 0.55


def test_the_run_holds_what_the_contract_promises(
    store: mlflow.MlflowClient, folders: dict[str, Any]
) -> None:
    result = trained(folders, epochs=2)
    run = store.get_run(result.run_id)
    assert run.info.run_name == "train_only-pooled_mlp-example"
    tags = {key: run.data.tags[f"ppi.{key}"] for key in ("mode", "model", "dataset", "embedder")}
    expected = {"mode": "train_only", "model": "pooled_mlp", "dataset": "example", "embedder": "descriptors"}
    assert tags == expected
    assert len(run.data.tags["ppi.embedding_cache_digest"]) == 64
    assert run.data.params["training.epochs"] == "2"
    assert run.data.params["data.dataset"] == "example"
    for name in ("train/loss", "val/loss", "val/auroc", "val/auprc", "val/auprc_1to100"):
        steps = [point.step for point in store.get_metric_history(result.run_id, name)]
        assert steps == [1, 2], name
    assert run.inputs is not None
    names = {
        dataset_input.dataset.name: dataset_input.dataset.digest
        for dataset_input in run.inputs.dataset_inputs
    }
    assert set(names) == {"example/train", "example/validation"}
    assert all(len(digest) == 36 for digest in names.values())
    files = artifacts(store, result.run_id)
    for name in ("weights.safetensors", "checkpoint.json", "COMPLETE.json"):
        assert {f"checkpoints/best/{name}", f"checkpoints/last/{name}"} <= files
    figures = {"curves", "roc", "precision_recall", "score_histogram", "reliability"}
    assert {f"figures/{name}.png" for name in figures} <= files
    assert {"config.yaml", "predictions/validation.parquet"} <= files


def test_the_best_epoch_is_chosen_by_the_precision_in_networks(
    store: mlflow.MlflowClient, folders: dict[str, Any]
) -> None:
    chosen: dict[str, Any] = {
        "early_stopping_metric": "val/auprc_1to100",
        "early_stopping_patience": 0,
        "epochs": 5,
    }
    result = trained(folders, **chosen, learning_rate=0.03)
    history = store.get_metric_history(result.run_id, "val/auprc_1to100")
    best = max(history, key=lambda point: point.value)
    assert 0.01 < best.value < 1
    assert result.metrics["val/auprc_1to100_best"] == best.value
    assert result.metrics["best_epoch"] == best.step
    others = {point.step: point.value for point in store.get_metric_history(result.run_id, "val/auprc")}
    assert result.metrics["val/auprc_best"] == others[best.step]


def test_epochs_of_an_older_version_lack_the_precision_in_networks(
    store: mlflow.MlflowClient, folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        found = validation_metrics(logits, labels)
        return {name: value for name, value in found.items() if name != "auprc_1to100"}

    whole = trained(folders, epochs=2)
    monkeypatch.setattr("ppi_train.modes.train.training_run.validation_metrics", older)
    result = trained(folders, epochs=2)
    assert not store.get_metric_history(result.run_id, "val/auprc_1to100")
    assert result.metrics["val/auprc_1to100_best"] == pytest.approx(
        whole.metrics["val/auprc_1to100_best"], abs=1e-4
    )


def test_the_logged_config_makes_the_same_run_again(
    store: mlflow.MlflowClient, folders: dict[str, Any], tmp_path: Path
) -> None:
    first = trained(folders, epochs=2, hidden_dim=32)
    path = store.download_artifacts(first.run_id, "config.yaml", str(tmp_path))
    config, _ = load_config(TrainConfig, {}, config_file=path)
    again = execute_pipeline("train_only", config)
    assert config.model.hyperparameters["hidden_dim"] == 32
    assert metrics_of(store, again.run_id) == metrics_of(store, first.run_id)
    assert yaml.safe_load(Path(path).read_text())["embedder"] == "descriptors"


def metrics_of(client: mlflow.MlflowClient, run_id: str) -> dict[str, float]:
    """All but what depends on the clock."""
    found = client.get_run(run_id).data.metrics
    return {key: value for key, value in found.items() if not key.startswith("system/")}


def test_the_same_seed_gives_the_same_digits_and_another_does_not(
    store: mlflow.MlflowClient, folders: dict[str, Any]
) -> None:
    first, second, other = (trained(folders, epochs=2, seed=seed) for seed in (3, 3, 4))
    assert metrics_of(store, first.run_id) == metrics_of(store, second.run_id)
    assert metrics_of(store, first.run_id) != metrics_of(store, other.run_id)
    weights = [
        Path(result.outputs["checkpoints"]) / "checkpoints/best/COMPLETE.json" for result in (first, second)
    ]
    digests = [json.loads(path.read_text())["weights.safetensors"] for path in weights]
    assert digests[0] == digests[1]


def test_pretrain_only_is_another_name_of_train_only(
    store: mlflow.MlflowClient, folders: dict[str, Any]
) -> None:
    runs = [trained(folders, mode, epochs=1) for mode in ("train_only", "pretrain_only")]
    assert metrics_of(store, runs[0].run_id) == metrics_of(store, runs[1].run_id)
    assert {store.get_run(run.run_id).data.tags["ppi.mode"] for run in runs} == {"train_only"}


def test_the_logged_model_scores_sequences_as_the_run_did(
    store: mlflow.MlflowClient, folders: dict[str, Any], example: Dataset, tmp_path: Path
) -> None:
    # Names of downloads have dots, which MLflow refuses in the name of a logged model.
    result = trained(folders, epochs=1, **own_tables(tmp_path, example, name="9606.links.v12.0.tsv"))
    (model,) = store.search_logged_models(["1"], filter_string=f"source_run_id = '{result.run_id}'")
    assert model.name == "pooled_mlp-9606_links_v12_0"
    assert {metric.key for metric in model.metrics or ()} >= {"val/auroc_best", "val/ece"}
    predictions = pd.read_parquet(Path(result.outputs["checkpoints"]) / "predictions/validation.parquet")[:50]
    sequences = read_fasta(example.splits["validation"].fasta).sequences
    table = pd.DataFrame(
        {
            f"sequence_{side}": [sequences[protein] for protein in predictions[f"protein_{side}"]]
            for side in "ab"
        }
    )
    served = mlflow.pyfunc.load_model(f"models:/{model.model_id}").predict(table)
    np.testing.assert_allclose(served["logit"], predictions["logit"], atol=1e-5)
    np.testing.assert_allclose(served["probability"], predictions["probability"], atol=1e-6)


def own_tables(folder: Path, example: Dataset, extra: str = "", *, name: str = "mine.tsv") -> dict[str, str]:
    """The example as a user's own tables, with more rows of training pairs."""
    train = folder / name
    train.write_text(example.splits["train"].pairs.read_text() + extra)
    return {
        "train_pairs": str(train),
        "val_pairs": str(example.splits["validation"].pairs),
        "fasta": str(example.splits["train"].fasta),
    }


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("model", "count"), [("v3", 1), ("pooled_mlp", 0)])
def test_a_model_of_residues_warns_that_it_gets_single_vectors(
    model: str, count: int, folders: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    trained(folders, model=model, members=1, epochs=1)
    assert caplog.text.count(f"{model} reads residues, and these embeddings have one vector") == count


def test_missing_proteins_are_refused_by_name_before_training(
    folders: dict[str, Any], example: Dataset, tmp_path: Path
) -> None:
    tables = own_tables(tmp_path, example, "GHOST1\tGHOST2\t1\n")
    with pytest.raises(CacheError, match="no embedding for 2 proteins") as caught:
        trained(folders, **tables)
    assert "GHOST1, GHOST2" in str(caught.value)
    assert f"mlflow run . --env-manager local -e embed -P fasta={tables['fasta']}" in str(caught.value)


def test_missing_proteins_can_be_dropped_and_are_counted(
    store: mlflow.MlflowClient, folders: dict[str, Any], example: Dataset, tmp_path: Path
) -> None:
    known = next(iter(read_fasta(example.splits["train"].fasta).sequences))
    tables = own_tables(tmp_path, example, f"GHOST1\tGHOST2\t1\nGHOST1\t{known}\t0\n")
    result = trained(folders, epochs=1, missing="drop", **tables)
    assert store.get_run(result.run_id).data.metrics["data/train_dropped"] == 2
    dropped = Path(store.download_artifacts(result.run_id, "dropped/train.tsv", str(tmp_path)))
    assert "GHOST2" in dropped.read_text()


def test_system_metrics_are_on(store: mlflow.MlflowClient, folders: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ppi_train.tracking.run.SYSTEM_METRICS_SECONDS", 0.2)
        result = trained(folders, epochs=3)
    assert any(name.startswith("system/cpu") for name in store.get_run(result.run_id).data.metrics)
