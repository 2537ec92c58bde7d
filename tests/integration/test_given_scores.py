"""Tests of scores that other tools gave, in `eval_only` and `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

import ppi_train
from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.errors import CheckpointError, ConfigError, DataError
from ppi_train.modes import PipelineResult, execute_pipeline

pytestmark = pytest.mark.slow  # evaluations or a server for most of them: a minute in all


@pytest.fixture(scope="module")
def trained(client: mlflow.MlflowClient, places: dict[str, Any]) -> PipelineResult:
    del client
    return execute_pipeline("train_only", places | {"epochs": 2})


@pytest.fixture(scope="module")
def predicted(
    trained: PipelineResult,
    places: dict[str, Any],
    example: Dataset,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The run's own scores of the test pairs, as a table."""
    output = tmp_path_factory.mktemp("scores") / "own.tsv"
    pairs = {"pairs": str(example.splits["test"].pairs), "fasta": str(example.splits["test"].fasta)}
    own = {"data_dir": places["data_dir"], "run_id": trained.run_id, "output": str(output)}
    execute_pipeline("predict", own | pairs)
    return output


def evaluated(places: dict[str, Any], scores: object, **others: object) -> PipelineResult:
    given = {"scores": str(scores), "dataset": "example", "bootstrap_resamples": 100}
    return execute_pipeline("eval_only", places | given | others)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_runs_own_scores_give_its_own_figures(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    trained: PipelineResult,
    predicted: Path,
    example: Dataset,
) -> None:
    own = execute_pipeline("eval_only", places | {"run_id": trained.run_id, "bootstrap_resamples": 100})
    given = evaluated(places, predicted, trained_on=str(example.splits["train"].pairs))
    shared = {name for name in own.metrics if name.startswith(("test/", "audit/"))}
    left_out = {name for name in shared if name not in given.metrics}
    assert {name.split("/")[0] for name in left_out} <= {"audit"}
    for name in shared - left_out:
        assert given.metrics[name] == pytest.approx(own.metrics[name], abs=1e-9), name
    run = client.get_run(given.run_id)
    assert run.data.tags["ppi.model"] == "external"
    assert run.data.tags["ppi.score_name"] == "own"
    artifacts = {item.path for item in client.list_artifacts(given.run_id)}
    assert {"report.html", "strata.tsv", "figures", "predictions"} <= artifacts


def test_the_layout_of_dscript_in_either_order_of_the_proteins(
    places: dict[str, Any], predicted: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(predicted, sep="\t")
    swapped = table[["protein_b", "protein_a", "probability"]]
    swapped.to_csv(tmp_path / "dscript.tsv", sep="\t", header=False, index=False)
    found = evaluated(places, tmp_path / "dscript.tsv", audit="off")
    own = evaluated(places, predicted, audit="off")
    for name in ("test/auroc", "test/auprc", "test/brier"):
        assert found.metrics[name] == pytest.approx(own.metrics[name], abs=1e-6)


def test_scores_that_only_order_have_metrics_of_the_order_alone(
    client: mlflow.MlflowClient, places: dict[str, Any], predicted: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(predicted, sep="\t")
    table.assign(score=1000 * table["logit"] - 5)[["protein_a", "protein_b", "score"]].to_csv(
        tmp_path / "ranks.csv", index=False
    )
    with pytest.raises(DataError, match=r"no probabilities(?s:.*)score_type=ranking"):
        evaluated(places, tmp_path / "ranks.csv")
    found = evaluated(places, tmp_path / "ranks.csv", score_type="ranking", audit="off")
    own = evaluated(places, predicted, audit="off")
    assert found.metrics["test/auroc"] == pytest.approx(own.metrics["test/auroc"], abs=1e-12)
    assert not {"test/accuracy", "test/brier", "test/ece"} & found.metrics.keys()
    figures = {item.path for item in client.list_artifacts(found.run_id, "figures")}
    assert "figures/roc.png" in figures
    assert "figures/reliability.png" not in figures


def test_pairs_without_a_score_are_refused_or_counted(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    predicted: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines = predicted.read_text().splitlines(keepends=True)
    part = written(tmp_path / "part.tsv", "".join(lines[:501]))
    with pytest.raises(DataError, match=r"1,500 of 2,000 pairs have no score(?s:.*)missing=drop"):
        evaluated(places, part)
    with caplog.at_level("WARNING"):
        found = evaluated(places, part, missing="drop", audit="off")
    assert "1,500 of 2,000 pairs have no score and are left out" in caplog.text
    assert 0.5 < found.metrics["test/auroc"] <= 1
    run = client.get_run(found.run_id).data
    assert run.metrics["data/test_unscored"] == 1500
    assert "not comparable with those of all pairs" in run.tags["ppi.left_out"]
    assert "1,500 without a score" in Path(found.outputs["report"]).read_text()
    other = written(tmp_path / "other.tsv", "X1\tX2\t0.5\n")
    with pytest.raises(DataError, match="2,000 of 2,000 pairs have no score"):
        evaluated(places, other, missing="drop")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A\tB\t0.5\nB\tA\t0.6\n", "two different scores"),
        ("A\tB\t0.5\nC\tD\tnan\n", r"1 score is no finite number\n(?s:.*)line 2"),
        ("A\tB\t0.5\nC\tD\tinf\n", "no finite number"),
        ("A\tB\t0.5\nC\tD\tx\n", "no finite number"),
        ("protein_a\tprotein_b\tlabel2\nA\tB\t1\n", "no column of scores"),
        ("A\tB\t-0.5\n", "1 score is no probability\n"),
        ("A\tB\t-0.5\nB\tC\t-0.5\n", "2 scores are no probabilities"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(
    places: dict[str, Any], tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        evaluated(places, written(tmp_path / "wrong.tsv", text))


def test_labels_of_the_file_that_differ_are_counted(
    places: dict[str, Any],
    predicted: Path,
    example: Dataset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    truth = pd.read_csv(example.splits["test"].pairs, sep="\t")
    scores = pd.read_csv(predicted, sep="\t").merge(truth, on=["protein_a", "protein_b"])
    assert len(scores) == len(truth)
    scores.loc[:2, "label"] = 1 - scores.loc[:2, "label"]
    scores[["protein_a", "protein_b", "label", "probability"]].to_csv(
        tmp_path / "labelled.tsv", sep="\t", index=False
    )
    with caplog.at_level("WARNING"):
        evaluated(places, tmp_path / "labelled.tsv", audit="off")
    assert "3 pairs have another label there" in caplog.text


def test_what_goes_with_scores_is_required() -> None:
    for given, expected in (
        ({"scores": "a.tsv"}, "dataset or test_pairs: one is required"),
        ({"scores": "a.tsv", "test_pairs": "t.tsv"}, "fasta: required, since scores is given"),
        ({"scores": "a.tsv", "dataset": "example", "run_id": "0" * 32}, "give one of them, not both"),
        ({}, "run_id: required"),
    ):
        with pytest.raises(ConfigError, match=expected):
            execute_pipeline("eval_only", given)


def test_compare_puts_them_beside_runs_on_the_same_pairs(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    trained: PipelineResult,
    predicted: Path,
    tmp_path: Path,
) -> None:
    table = pd.read_csv(predicted, sep="\t")
    worse = table.assign(score=0.5 * table["probability"] + 0.5 * (table.index % 100) / 100)
    worse[["protein_a", "protein_b", "score"]].to_csv(tmp_path / "worse.csv", index=False)
    scores = [str(predicted), str(tmp_path / "worse.csv")]
    result = ppi_train.compare(
        trained.run_id, scores=scores, bootstrap_resamples=100, progress=False, **places
    )
    found = result.metrics
    assert found["compare/own/auprc_difference"] == pytest.approx(0, abs=1e-9)
    assert found["compare/worse/auprc_difference_ci_high"] < 0
    assert "report.html" in {item.path for item in client.list_artifacts(result.run_id)}
    with pytest.raises(ConfigError, match="one or more are required"):
        execute_pipeline("compare", places | {"scores": [str(predicted)]})
    with pytest.raises(ConfigError, match="two tables have one name"):
        execute_pipeline(
            "compare", places | {"run_ids": [trained.run_id], "scores": [str(predicted), str(predicted)]}
        )


def test_a_run_of_given_scores_is_no_model(places: dict[str, Any], predicted: Path) -> None:
    run = evaluated(places, predicted, audit="off")
    with pytest.raises(CheckpointError, match=r"not a training run(?s:.*)the scores that own gave"):
        execute_pipeline("promote", places | {"run_id": run.run_id, "registered_model": "external"})


def test_the_labelled_pairs_themselves_are_no_scores(places: dict[str, Any], example: Dataset) -> None:
    with pytest.raises(DataError, match="no column of scores"):
        evaluated(places, example.splits["test"].pairs)


def test_options_of_models_have_no_effect_on_given_scores(
    places: dict[str, Any], predicted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING"):
        evaluated(places, predicted, audit="off", node_sets="draw", batch_size=8)
    assert "node_sets has no effect: the scores are given" in caplog.text
    assert "batch_size has no effect" in caplog.text
