"""End-to-end tests of `compare` and of the report page.

`eval_only` writes the same kind of page.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.data.pairs import pairs_from_ids, read_pairs, write_pairs
from ppi_train.errors import CheckpointError, ConfigError, DataError, TrackingError
from ppi_train.evaluation.pair_metrics import sigmoid
from ppi_train.evaluation.paired import paired_differences
from ppi_train.modes import PipelineResult, execute_pipeline


@pytest.fixture(scope="module")
def strong(places: dict[str, Any]) -> PipelineResult:
    return execute_pipeline("train_only", places | {"epochs": 6, "hidden_dim": 32, "members": 2})


@pytest.fixture(scope="module")
def weak(places: dict[str, Any]) -> PipelineResult:
    return execute_pipeline("train_only", places | {"epochs": 1, "hidden_dim": 8, "members": 1, "seed": 1})


def compared(places: dict[str, Any], *run_ids: str, **given: object) -> PipelineResult:
    asked = {"run_ids": ",".join(run_ids), "bootstrap_resamples": 100}
    return execute_pipeline("compare", places | asked | given)


def logits(places: dict[str, Any], run: PipelineResult) -> tuple[PipelineResult, pd.DataFrame]:
    scored = execute_pipeline("eval_only", places | {"run_id": run.run_id, "bootstrap_resamples": 0})
    return scored, pd.read_parquet(Path(scored.outputs["predictions"]) / "predictions/test.parquet")


def numbered(scored: pd.DataFrame) -> np.ndarray:
    """The proteins of each pair as numbers, (n, 2)."""
    names = scored[["protein_a", "protein_b"]].to_numpy(dtype=str)
    return np.unique(names, return_inverse=True)[1].reshape(-1, 2)


def test_two_runs_are_compared_on_the_same_pairs(
    client: mlflow.MlflowClient, places: dict[str, Any], strong: PipelineResult, weak: PipelineResult,
    tmp_path: Path,
) -> None:  # fmt: skip
    evaluated, of_strong = logits(places, strong)
    _, of_weak = logits(places, weak)
    # The ID of an evaluation stands for the run that it scored.
    result = compared(places, evaluated.run_id, weak.run_id)
    run = client.get_run(result.run_id)
    assert run.info.run_name == "compare-example"
    assert run.data.tags["ppi.compared_run_ids"] == f"{strong.run_id},{weak.run_id}"
    differing = ("epochs_6 hidden_dim_32 members_2 seed_0", "epochs_1 hidden_dim_8 members_1 seed_1")
    first, second = (f"compare/{label}" for label in differing)
    metrics = run.data.metrics
    assert metrics[f"{first}/auprc"] == evaluated.metrics["test/auprc"]
    assert metrics[f"{first}/auprc_ci_low"] < metrics[f"{first}/auprc"] < metrics[f"{first}/auprc_ci_high"]
    # The difference is that of the run minus the reference: the weak one loses.
    difference = metrics[f"{second}/auprc_difference"]
    assert difference == pytest.approx(metrics[f"{second}/auprc"] - metrics[f"{first}/auprc"], abs=1e-12)
    assert metrics[f"{second}/auprc_difference_ci_high"] < 0
    assert f"{first}/auprc_difference" not in metrics
    expected = paired_differences(
        sigmoid(of_weak["logit"].to_numpy()), sigmoid(of_strong["logit"].to_numpy()),
        of_weak["label"].to_numpy(dtype=np.int8), numbered(of_weak), resamples=100, seed=0,
    )  # fmt: skip
    assert metrics[f"{second}/auroc_difference_ci_low"] == expected["auroc"].low

    turned = compared(places, weak.run_id, strong.run_id)
    assert turned.metrics[f"{first}/auprc_difference_ci_low"] > 0

    page = Path(client.download_artifacts(result.run_id, "report.html", str(tmp_path))).read_text()
    assert "✗ worse" in page
    assert "Parameters that differ between the trainings" in page
    assert (
        f"[epochs=6 hidden_dim=32 members=2 seed=0](#/experiments/{run.info.experiment_id}/runs/"
        in (run.data.tags["mlflow.note.content"])
    )
    assert weak.run_id in page
    assert "run_ids=" in page


def test_the_page_of_an_evaluation_is_an_artifact_of_its_run(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    weak: PipelineResult,
    example: Dataset,
    tmp_path: Path,
) -> None:
    """Under a name that a browser, a figure and a shell would each take for something else."""
    test = example.splits["test"]
    named = tmp_path / "<img src=x onerror=alert(1)>$\\x$.tsv"
    named.write_bytes(test.pairs.read_bytes())
    result = execute_pipeline(
        "eval_only",
        places | {"run_id": weak.run_id, "test_pairs": str(named), "fasta": str(test.fasta)},
    )
    page = Path(client.download_artifacts(result.run_id, "report.html", str(tmp_path / "got"))).read_text()
    assert "&lt;img src=x onerror=alert(1)&gt;$\\x$" in page
    assert "<img src=x" not in page
    assert len(page) < 2_000_000
    inputs = client.get_run(weak.run_id).inputs
    assert inputs
    for dataset_input in inputs.dataset_inputs:
        assert dataset_input.dataset.digest in page
    assert weak.run_id in page
    assert "-e train_only" in page
    assert f"{result.metrics['test/auprc']:.3f}" in page
    assert (
        "nearest training pairs, has an AUPRC of" in page or "degree in training alone, has an AUPRC" in page
    )
    assert "no protein in training (C3)" in page
    assert "test pairs that are training pairs" in page


def test_the_page_shows_the_networks_that_were_compared(
    client: mlflow.MlflowClient, places: dict[str, Any], weak: PipelineResult, tmp_path: Path
) -> None:
    given = {"node_sets": "draw", "audit": "off", "bootstrap_resamples": 0}
    result = execute_pipeline("eval_only", places | {"run_id": weak.run_id} | given)
    page = Path(client.download_artifacts(result.run_id, "report.html", str(tmp_path))).read_text()
    assert "graph similarity" in page
    assert "All pairs were scored" in page
    assert "audit=off" in page


def test_pairs_of_one_class_have_a_page_that_says_so(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    weak: PipelineResult,
    example: Dataset,
    tmp_path: Path,
) -> None:
    table = read_pairs(example.splits["test"].pairs)
    assert table.labels is not None
    write_pairs(tmp_path / "positives.tsv", table.select(table.labels == 1))
    given = {"test_pairs": str(tmp_path / "positives.tsv"), "fasta": str(example.splits["test"].fasta)}
    result = execute_pipeline("eval_only", places | {"run_id": weak.run_id} | given)
    page = Path(client.download_artifacts(result.run_id, "report.html", str(tmp_path))).read_text()
    assert "All pairs interact" in page
    assert "one class only" in page


@pytest.mark.parametrize(
    ("run_ids", "message"),
    [("", "got none"), ("a", "got 1"), (",".join("abcdefghijk"), "got 11"), ("a,b,a", "a is given twice")],
)
def test_too_few_too_many_or_the_same_run_twice(places: dict[str, Any], run_ids: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        execute_pipeline("compare", places | {"run_ids": run_ids})


def test_a_run_and_its_own_evaluation_are_one_model(places: dict[str, Any], weak: PipelineResult) -> None:
    evaluated, _ = logits(places, weak)
    with pytest.raises(ConfigError, match="two of the run IDs belong to one model") as caught:
        compared(places, weak.run_id, evaluated.run_id)
    assert evaluated.run_id in str(caught.value)


def test_an_unknown_run_is_refused_before_anything_is_scored(
    client: mlflow.MlflowClient, places: dict[str, Any], weak: PipelineResult
) -> None:
    with pytest.raises(TrackingError, match="there is no such run"):
        compared(places, weak.run_id, "0" * 32)
    (run, *_) = client.search_runs([client.get_run(weak.run_id).info.experiment_id])
    assert (run.data.tags["ppi.mode"], run.info.status) == ("compare", "FAILED")
    assert not run.data.metrics.keys() - {name for name in run.data.metrics if name.startswith("system/")}


def test_a_run_that_has_no_model_is_refused(places: dict[str, Any], weak: PipelineResult) -> None:
    prepared = execute_pipeline("prepare_data", {"data_dir": places["data_dir"]})
    with pytest.raises(CheckpointError, match="not a training run"):
        compared(places, weak.run_id, prepared.run_id)


def test_pairs_of_one_class_are_refused(
    places: dict[str, Any], strong: PipelineResult, weak: PipelineResult, example: Dataset, tmp_path: Path
) -> None:
    test = example.splits["test"]
    table = read_pairs(test.pairs)
    assert table.labels is not None
    write_pairs(tmp_path / "positives.tsv", table.select(table.labels == 1))
    given = {"test_pairs": str(tmp_path / "positives.tsv"), "fasta": str(test.fasta)}
    with pytest.raises(DataError, match="one class only"):
        compared(places, strong.run_id, weak.run_id, **given)


def test_what_a_model_was_trained_on_is_marked_in_red(
    client: mlflow.MlflowClient, places: dict[str, Any], strong: PipelineResult, weak: PipelineResult,
    example: Dataset, tmp_path: Path,
) -> None:  # fmt: skip
    """The training pairs themselves, one of them with a name that no FASTA has."""
    train = example.splits["train"]
    table = read_pairs(train.pairs)
    assert table.labels is not None
    subset = table.select(np.arange(len(table)) < 400)
    assert subset.labels is not None
    a, b = ([subset.proteins[position] for position in column] for column in subset.index.T)
    whole = pairs_from_ids([*a, "NOWHERE"], [*b, a[0]], [*subset.labels.tolist(), 1], "own")
    write_pairs(tmp_path / "own.tsv", whole)
    given = {"test_pairs": str(tmp_path / "own.tsv"), "fasta": str(train.fasta), "missing": "drop"}
    result = compared(places, strong.run_id, weak.run_id, **given)
    page = Path(client.download_artifacts(result.run_id, "report.html", str(tmp_path))).read_text()
    assert page.count("✗ leak") == 2
    assert ">400</td>" in page
