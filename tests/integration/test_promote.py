"""Tests of `promote` and `rollback`.

A model is promoted only if it beats the current champion on the same pairs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest

from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.errors import CacheError, CheckpointError, DataError, TrackingError, UserError
from ppi_train.modes import PipelineResult, execute_pipeline, promote
from tests.support import ROOT
from tests.support.changed_cache import write_scaled
from tests.support.commands import run_command


@pytest.fixture(scope="module")
def weak(places: dict[str, Any]) -> PipelineResult:
    return execute_pipeline("train_only", places | {"epochs": 1})


@pytest.fixture(scope="module")
def strong(places: dict[str, Any]) -> PipelineResult:
    return execute_pipeline("train_only", places | {"epochs": 8, "seed": 1})


@pytest.fixture
def name() -> str:
    """A registered model of this test's own."""
    return f"ppi-{time.time_ns()}"


def promoted(places: dict[str, Any], run: PipelineResult, name: str, **given: object) -> PipelineResult:
    asked = {"run_id": run.run_id, "registered_model": name, "bootstrap_resamples": 200}
    return execute_pipeline("promote", places | asked | given)


def version(client: mlflow.MlflowClient, name: str, alias: str = "champion") -> str:
    return str(client.get_model_version_by_alias(name, alias).version)


def test_the_first_passes_the_better_takes_its_place_and_the_worse_is_refused(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    weak: PipelineResult,
    strong: PipelineResult,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = promoted(places, weak, name)
    assert (first.exit_code, version(client, name)) == (0, "1")
    with caplog.at_level("INFO"):
        second = promoted(places, strong, name)
    assert (second.exit_code, version(client, name), version(client, name, "previous_champion")) == (
        0,
        "2",
        "1",
    )
    figures = second.metrics
    assert figures["promotion/auprc_difference_ci_low"] > 0
    assert figures["promotion/auprc_candidate"] - figures["promotion/auprc_holder"] == pytest.approx(
        figures["promotion/auprc_difference"]
    )
    row = f"| AUPRC | {figures['promotion/auprc_candidate']:.4f} | {figures['promotion/auprc_holder']:.4f} |"
    assert row in caplog.text
    logged = client.get_run(second.run_id)
    assert row in logged.data.tags["mlflow.note.content"]
    assert logged.data.metrics["promotion/auprc_difference"] == figures["promotion/auprc_difference"]
    assert "promotion.md" in {item.path for item in client.list_artifacts(second.run_id)}

    refused = promoted(places, weak, name)
    assert refused.exit_code == 3
    assert "not above min_improvement=0.0" in refused.outputs["why"]
    assert (version(client, name), version(client, name, "previous_champion")) == ("2", "1")
    assert len(client.search_model_versions(f"name = '{name}'")) == 2
    run = client.get_run(refused.run_id)
    # The comparison has done its work: only the exit code tells a script that the alias stayed.
    assert (run.info.status, run.data.tags["ppi.verdict"]) == ("FINISHED", "not promoted")
    assert "ppi.error" not in run.data.tags
    target = f"models:/{name}@champion"
    text = run.data.tags["mlflow.note.content"]
    assert text.startswith(f"Not promoted to {target}: {refused.outputs['why']}.\n\n| metric |")


def test_the_version_tells_run_digests_and_figures(
    client: mlflow.MlflowClient, places: dict[str, Any], strong: PipelineResult, name: str
) -> None:
    result = promoted(places, strong, name)
    found = client.get_model_version_by_alias(name, "champion")
    run = client.get_run(strong.run_id)
    assert found.run_id == strong.run_id
    assert found.tags["ppi.run_id"] == strong.run_id
    assert found.tags["ppi.promotion_run_id"] == result.run_id
    assert run.inputs is not None
    digests = {
        dataset_input.dataset.name: dataset_input.dataset.digest
        for dataset_input in run.inputs.dataset_inputs
    }
    for split in ("example/train", "example/validation"):
        assert found.tags[f"ppi.digest.{split}"] == digests[split]
    assert len(found.tags["ppi.digest.example/test"]) == 36
    assert float(found.tags["ppi.test.auprc"]) == pytest.approx(
        result.metrics["promotion/auprc_candidate"], abs=1e-6
    )
    figure = f"| AUPRC | {result.metrics['promotion/auprc_candidate']:.4f} | none |"
    for text in (
        "Promoted to models:/",
        "the first model of this name",
        figure,
        strong.run_id,
        "example/train",
    ):
        assert text in str(found.description)
    assert f"`models:/{name}@previous_champion`" in client.get_registered_model(name).description
    (model,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{strong.run_id}'")
    assert {"name": name, "version": 1} in json.loads(model.tags["mlflow.modelVersions"])


def test_an_improvement_that_is_too_small(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    weak: PipelineResult,
    strong: PipelineResult,
    name: str,
) -> None:
    promoted(places, weak, name)
    assert promoted(places, strong, name, min_improvement=0.9).exit_code == 3
    assert version(client, name) == "1"


def test_a_floor_holds_for_the_first_model_too(
    client: mlflow.MlflowClient, places: dict[str, Any], weak: PipelineResult, name: str
) -> None:
    refused = promoted(places, weak, name, min_auprc=0.999)
    assert refused.exit_code == 3
    assert "is under min_auprc=0.999" in refused.outputs["why"]
    assert not client.search_registered_models(f"name = '{name}'")


def test_the_holder_itself_changes_nothing(
    client: mlflow.MlflowClient, places: dict[str, Any], weak: PipelineResult, name: str
) -> None:
    promoted(places, weak, name)
    again = promoted(places, weak, name)
    assert (again.exit_code, version(client, name)) == (0, "1")
    assert "holds the alias already" in again.outputs["why"]


def test_rollback_swaps_back_and_forth(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    weak: PipelineResult,
    strong: PipelineResult,
    name: str,
) -> None:
    promoted(places, weak, name)
    with pytest.raises(TrackingError, match="no version to roll back to"):
        execute_pipeline("rollback", {"registered_model": name})
    promoted(places, strong, name)
    assert execute_pipeline("rollback", {"registered_model": name}).outputs["version"] == "1"
    assert (version(client, name), version(client, name, "previous_champion")) == ("1", "2")
    execute_pipeline("rollback", {"registered_model": name})
    assert version(client, name) == "2"


def test_eval_only_takes_the_champion_by_its_uri(
    places: dict[str, Any], strong: PipelineResult, name: str
) -> None:
    promoted(places, strong, name)
    by_uri = execute_pipeline("eval_only", places | {"model_uri": f"models:/{name}@champion"})
    by_id = execute_pipeline("eval_only", places | {"run_id": strong.run_id})
    assert by_uri.metrics == by_id.metrics


def test_a_run_that_failed(client: mlflow.MlflowClient, places: dict[str, Any], name: str) -> None:
    exploding = {"learning_rate": 100, "weight_decay": 1, "batch_size": 32, "scheduler": "none"}
    with pytest.raises(UserError, match="training diverged") as diverged:
        execute_pipeline("train_only", places | exploding | {"epochs": 1})
    (failed,) = client.search_runs(
        [os.environ["MLFLOW_EXPERIMENT_ID"]],
        filter_string="attributes.status = 'FAILED' AND tags.`ppi.mode` = 'train_only'",
    )
    assert failed.data.tags["ppi.error"] == str(diverged.value)
    check_refusal(
        client, places, PipelineResult(run_id=failed.info.run_id), name, "FAILED", "to do: continue it"
    )


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        ("KILLED", "to do: continue it: mlflow run . --env-manager local -e resume"),
        ("RUNNING", "to do: wait until it ends; or, if its process is gone, continue it: mlflow run"),
    ],
)
def test_a_run_that_did_not_finish(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    weak: PipelineResult,
    name: str,
    status: str,
    remedy: str,
) -> None:
    client.update_run(weak.run_id, status=status)
    try:
        check_refusal(client, places, weak, name, status, remedy)
    finally:
        client.set_terminated(weak.run_id, "FINISHED")


def check_refusal(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    run: PipelineResult,
    name: str,
    status: str,
    remedy: str,
) -> None:
    with pytest.raises(CheckpointError, match="only a run that has finished can be promoted") as caught:
        promoted(places, run, name)
    assert f"got: {status}\n  expected: FINISHED" in str(caught.value)
    assert remedy in str(caught.value)
    assert not client.search_registered_models(f"name = '{name}'")


def leaking(example: Dataset, path: Path, count: int) -> dict[str, str]:
    """The example's test pairs with some of its training pairs among them, the other way round."""
    rows = example.splits["train"].pairs.read_text().splitlines()[1 : count + 1]
    turned = ["\t".join((b, a, label)) for a, b, label in (row.split("\t") for row in rows)]
    path.write_text(example.splits["test"].pairs.read_text() + "\n".join(turned) + "\n")
    return {"test_pairs": str(path), "fasta": str(example.splits["test"].fasta)}


def test_test_pairs_that_the_candidate_was_trained_on_are_refused_unless_allowed(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    weak: PipelineResult,
    example: Dataset,
    tmp_path: Path,
    name: str,
) -> None:
    leak = leaking(example, tmp_path / "leak.tsv", 7)
    with pytest.raises(
        DataError, match=r"^7 of 2,007 test pairs are among the training pairs of the candidate"
    ):
        promoted(places, weak, name, **leak)
    assert not client.search_registered_models(f"name = '{name}'")
    result = promoted(places, weak, name, allow_leakage=True, **leak)
    assert result.exit_code == 0
    assert client.get_model_version_by_alias(name, "champion").tags["ppi.leakage"].startswith("7 test pairs")
    assert client.get_run(result.run_id).data.tags["ppi.leakage"].startswith("7 test pairs")


def test_what_an_ancestor_was_trained_on_leaks_too(
    places: dict[str, Any], weak: PipelineResult, example: Dataset, tmp_path: Path, name: str
) -> None:
    other = tmp_path / "other.tsv"
    other.write_text("".join(example.splits["validation"].pairs.read_text().splitlines(keepends=True)[:400]))
    tables = {"train_pairs": str(other), "val_pairs": str(example.splits["validation"].pairs)}
    given = {"pretrain_run_id": weak.run_id, "fasta": str(example.splits["train"].fasta), "epochs": 1}
    child = execute_pipeline("finetune_from_pretrain", places | given | tables)
    with pytest.raises(DataError, match=r"^3 of 2,003 test pairs"):
        promoted(places, child, name, **leaking(example, tmp_path / "leak.tsv", 3))


def test_a_holder_of_another_embedding_is_compared_on_its_own(
    client: mlflow.MlflowClient, places: dict[str, Any], strong: PipelineResult, name: str
) -> None:
    short = execute_pipeline("train_only", places | {"epochs": 1, "max_length": 100})
    promoted(places, short, name)
    result = promoted(places, strong, name)
    held = execute_pipeline("eval_only", places | {"run_id": short.run_id, "bootstrap_resamples": 0})
    assert result.metrics["promotion/auprc_holder"] == pytest.approx(held.metrics["test/auprc"], abs=1e-12)
    assert version(client, name) == "2"


def test_the_command_ends_with_3_when_it_refuses(
    places: dict[str, Any], weak: PipelineResult, strong: PipelineResult, name: str
) -> None:
    promoted(places, strong, name)
    options = places | {"run_id": weak.run_id, "registered_model": name}
    arguments = [text for option, value in options.items() for text in (f"--{option}", str(value))]
    done = run_command("promote", *arguments)
    assert done.returncode == 3, done.stderr
    assert "| metric | candidate | holder | difference | 95% interval |" in done.stderr
    assert f"models:/{name}@champion: not promoted; the 95% interval of its gain" in done.stderr


@pytest.mark.parametrize("way", ["restored", "alias removed"])
def test_a_champion_whose_run_was_deleted_is_named_before_the_scoring(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    weak: PipelineResult,
    strong: PipelineResult,
    name: str,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promoted(places, weak, name)
    client.delete_run(weak.run_id)
    try:
        with monkeypatch.context() as unscored:
            unscored.setattr(promote, "score_split", None)
            with pytest.raises(TrackingError) as caught:
                promoted(places, strong, name)
        assert caught.value.what == "the present version cannot be compared with: the run was deleted"
        assert caught.value.where == f"models:/{name}@champion, version 1 of run {weak.run_id}"
        assert f"mlflow runs restore --run-id {weak.run_id}`; or give the alias back" in str(caught.value)
        assert version(client, name) == "1"
        if way == "alias removed":
            client.delete_registered_model_alias(name, "champion")
            assert promoted(places, strong, name).exit_code == 0
    finally:
        client.restore_run(weak.run_id)
    if way == "restored":
        assert promoted(places, strong, name).exit_code == 0
    assert version(client, name) == "2"


def test_a_rollback_leads_out_of_a_champion_whose_run_was_deleted(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    weak: PipelineResult,
    strong: PipelineResult,
    name: str,
) -> None:
    promoted(places, weak, name)
    promoted(places, strong, name)
    client.delete_run(strong.run_id)
    try:
        with pytest.raises(TrackingError, match="the present version cannot be compared with"):
            promoted(places, weak, name)
        execute_pipeline("rollback", {"registered_model": name})
        assert "holds the alias already" in promoted(places, weak, name).outputs["why"]
    finally:
        client.restore_run(strong.run_id)


def test_embeddings_with_other_numbers_are_refused_unless_allowed(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    example: Dataset,
    tmp_path: Path,
    name: str,
) -> None:
    made = execute_pipeline("embed", {"data_dir": places["data_dir"]}).outputs["embeddings"]
    trained = execute_pipeline("train_only", places | {"epochs": 2, "seed": 2, "embeddings": made})
    scaled = tmp_path / "scaled.parquet"
    write_scaled(Path(made), scaled, 1.5)
    given = {"test_pairs": str(example.splits["test"].pairs), "embeddings": str(scaled)}
    with pytest.raises(CacheError, match="other numbers than those that the candidate was trained on"):
        promoted(places, trained, name, **given)
    assert not client.search_registered_models(f"name = '{name}'")
    assert promoted(places, trained, name, **given | {"embeddings": made}).exit_code == 0
    assert "ppi.other_numbers" not in client.get_model_version_by_alias(name, "champion").tags
    allowed = promoted(places, trained, f"{name}-other", allow_other_numbers=True, **given)
    assert client.get_run(allowed.run_id).data.tags["ppi.other_numbers"] == "candidate"
    found = client.get_model_version_by_alias(f"{name}-other", "champion")
    assert found.tags["ppi.other_numbers"] == "candidate"


@pytest.mark.slow
def test_of_promotions_at_once_one_wins(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    weak: PipelineResult,
    strong: PipelineResult,
    name: str,
) -> None:
    promoted(places, weak, name)
    options = places | {"run_id": strong.run_id, "registered_model": name}
    arguments = [text for option, value in options.items() for text in (f"--{option}", str(value))]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "entry_points.promote", *arguments], stderr=subprocess.PIPE, cwd=ROOT
        )
        for _ in range(2)
    ]
    shown = [process.communicate(timeout=120)[1].decode() for process in processes]
    codes = sorted(process.returncode for process in processes)
    # A late one may find the run's model holding the alias already, which is no refusal.
    assert codes[0] == 0, shown
    assert set(codes) <= {0, 3}, shown
    assert sum("is now version" in text for text in shown) == 1, shown
    assert version(client, name) == max(
        version.version for version in client.search_model_versions(f"name = '{name}'")
    )
    assert version(client, name, "previous_champion") == "1"
