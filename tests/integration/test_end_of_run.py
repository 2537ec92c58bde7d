"""Tests of where a run points at its end, and of what the MLflow UI is given to show."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import mlflow
import pytest

from ppi_train.modes import PipelineResult, execute_pipeline
from ppi_train.tracking.ui import experiment_link, run_link


@pytest.fixture(scope="module")
def trained(places: dict[str, Any]) -> PipelineResult:
    asked = {"epochs": 40, "learning_rate": 0.02, "early_stopping_patience": 1}
    return execute_pipeline("train_only", places | asked)


def tail(records: list[logging.LogRecord]) -> list[str]:
    messages = [record.getMessage() for record in records]
    at = next(place for place, text in enumerate(messages) if text.startswith("this run: "))
    return messages[at:]


def note(client: mlflow.MlflowClient, run_id: str) -> str:
    return str(client.get_run(run_id).data.tags["mlflow.note.content"])


def test_a_training_points_to_its_page_and_to_what_may_come_next(
    client: mlflow.MlflowClient, places: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        result = execute_pipeline("train_only", places | {"epochs": 1})
    run = client.get_run(result.run_id)
    this_run, all_runs, report, *following = tail(caplog.records)
    page = f"{mlflow.get_tracking_uri()}/#/experiments/{run.info.experiment_id}/runs"
    assert this_run == f"this run: {page}/{result.run_id}?workflowType=machine_learning"
    assert all_runs == f"all runs: {page}?workflowType=machine_learning&viewStateShareKey=ppi_train"
    assert Path(report.removeprefix("its report: ")).read_text().startswith("<!DOCTYPE html>")
    assert [line.split()[:8] for line in following] == [
        ["next:", "mlflow", "run", ".", "--env-manager", "local", "-e", mode]
        for mode in ("eval_only", "predict", "promote")
    ]
    assert all(f"-P run_id={result.run_id}" in line for line in following)


def test_a_training_leaves_a_page_and_a_description(
    client: mlflow.MlflowClient, trained: PipelineResult, tmp_path: Path
) -> None:
    text = note(client, trained.run_id)
    assert f"AUPRC {trained.metrics['val/auprc_best']:.4f}**, epoch " in text
    assert f"/runs/{trained.run_id}/artifacts/report.html)" in text
    page = Path(client.download_artifacts(trained.run_id, "report.html", str(tmp_path))).read_text()
    for title in ("Training", "All metrics", "Ranking", "Probabilities", "Lineage"):
        assert f">{title}</h2>" in page
    assert "-e train_only" in page


def test_an_early_stop_is_said_in_the_log_the_description_and_the_page(
    client: mlflow.MlflowClient, places: dict[str, Any], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    asked = {"epochs": 40, "learning_rate": 0.05, "early_stopping_patience": 1, "hidden_dim": 8}
    with caplog.at_level("INFO"):
        result = execute_pipeline("train_only", places | asked)
    best = int(result.metrics["best_epoch"])
    last = max(point.step for point in client.get_metric_history(result.run_id, "val/auroc"))
    assert (last, last < 40) == (best + 1, True)
    said = f"stopped early: val/auroc has not improved for 1 epochs, the best was {best}"
    assert said in caplog.text
    course = f"epoch {best} of {last}, where it stopped early: val/auroc had not improved for 1 epochs"
    assert course in note(client, result.run_id)
    page = Path(client.download_artifacts(result.run_id, "report.html", str(tmp_path))).read_text()
    assert course in page


def test_only_the_parent_of_a_pipeline_points_on(
    places: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        result = execute_pipeline("full_pipeline", places | {"epochs": 1, "bootstrap_resamples": 0})
    lines = tail(caplog.records)
    assert f"/runs/{result.run_id}?" in lines[0]
    assert [line for line in lines[2:] if not line.startswith("next: ")] == []
    assert f"predict -P run_id={result.outputs['pretrain']}" in lines[2]
    assert caplog.text.count("this run: ") == 1


def test_an_offline_run_points_to_its_outbox_only(
    places: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        execute_pipeline("prepare_data", {"data_dir": places["data_dir"], "offline": True})
    assert "to send it to a tracking server" in caplog.text
    assert "this run: " not in caplog.text
    assert "next: " not in caplog.text


def test_the_experiment_has_a_view_with_results_first(
    client: mlflow.MlflowClient, trained: PipelineResult
) -> None:
    experiment = client.get_experiment(client.get_run(trained.run_id).info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(experiment.tags["mlflow.sharedViewState.ppi_train"])
    state = json.loads(view["state"])
    metrics, tags = client.get_run(trained.run_id).data.metrics, client.get_run(trained.run_id).data.tags
    assert state["selectedColumns"][:2] == ["metrics.`val/auroc_best`", "metrics.`val/auprc_best`"]
    for column in state["selectedColumns"]:
        kind, _, name = column.partition(".")
        known = metrics if kind == "metrics" else tags
        assert name.strip("`") in known or "test/" in name
    assert [chart["metricKey"] for chart in state["compareRunCharts"]][:2] == ["val/auroc", "val/auprc"]
    assert all(chart["metricKey"] in metrics for chart in state["compareRunCharts"])


def test_a_view_that_was_changed_stays(client: mlflow.MlflowClient, places: dict[str, Any]) -> None:
    result = execute_pipeline("prepare_data", {"data_dir": places["data_dir"]}, experiment="changed-view")
    experiment_id = client.get_run(result.run_id).info.experiment_id
    client.set_experiment_tag(experiment_id, "mlflow.sharedViewState.ppi_train", "mine")
    execute_pipeline("prepare_data", {"data_dir": places["data_dir"]}, experiment="changed-view")
    assert client.get_experiment(experiment_id).tags["mlflow.sharedViewState.ppi_train"] == "mine"


def test_timings_are_among_the_system_metrics(client: mlflow.MlflowClient, trained: PipelineResult) -> None:
    names = client.get_run(trained.run_id).data.metrics
    assert {name.partition("/")[0] for name in names} == {"best_epoch", "system", "train", "val"}
    assert {"system/pairs_per_second", "system/training_pairs_per_second", "system/tracking_seconds"} <= set(
        names
    )


def test_metrics_of_a_model_carry_their_data_set(
    client: mlflow.MlflowClient, places: dict[str, Any], trained: PipelineResult
) -> None:
    execute_pipeline("eval_only", places | {"run_id": trained.run_id, "bootstrap_resamples": 0})
    run = client.get_run(trained.run_id)
    (model,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{trained.run_id}'")
    found = {metric.key: (metric.dataset_name, metric.dataset_digest) for metric in model.metrics or []}
    assert run.inputs is not None
    digests = {item.dataset.name: item.dataset.digest for item in run.inputs.dataset_inputs}
    assert found["val/auprc_best"] == ("example/validation", digests["example/validation"])
    assert found["test/auprc"][0] == "example/test"
    assert not [name for name in found if name.startswith("system/")]


def test_without_a_server_the_command_that_starts_a_ui_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the place of the store written out, so that it works in any folder."""
    uri = mlflow.get_tracking_uri()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mine.db")
    mlflow.set_tracking_uri("sqlite:///mine.db")
    try:
        with caplog.at_level("INFO"):
            result = execute_pipeline("prepare_data", {"data_dir": str(tmp_path)})
    finally:
        mlflow.set_tracking_uri(uri)
    command = f"mlflow ui --backend-store-uri sqlite:///{tmp_path / 'mine.db'}"
    assert f"to see it in a browser: {command}" in caplog.text
    assert f"this run: http://127.0.0.1:5000/#/experiments/0/runs/{result.run_id}?" in caplog.text
    assert "next: mlflow run . --env-manager local -e train_only -P dataset=example" in caplog.text
    assert result.url == command


def test_links_open_the_pages_of_model_training() -> None:
    assert run_link("http://lab", "3", "f00") == (
        "http://lab/#/experiments/3/runs/f00?workflowType=machine_learning"
    )
    assert experiment_link("http://lab", "3") == (
        "http://lab/#/experiments/3/runs?workflowType=machine_learning&viewStateShareKey=ppi_train"
    )
