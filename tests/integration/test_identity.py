"""A protein is known by its sequence: other names hide neither shared pairs nor shared proteins."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from ppi_train.data.fasta import sequence_digest, write_fasta
from ppi_train.data.identity import read_proteins, write_proteins
from ppi_train.errors import DataError
from ppi_train.modes import PipelineResult, execute_pipeline
from ppi_train.runs.checkpoints import resolve_checkpoint
from ppi_train.runs.configs import EvalConfig
from ppi_train.runs.scored_split import evaluation_inputs, split_for, trained_config, validation_inputs
from ppi_train.runs.training_pairs import PROTEINS_TAG
from tests.support.small_data import (
    SEQUENCES,
    TRAIN,
    VALIDATION,
    as_string,
    plain,
    write_sequences,
    write_table,
)


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Where runs read and write."""
    monkeypatch.setenv("PPI_TRAIN_CACHE", str(tmp_path / "cache"))
    return {"data_dir": str(tmp_path / "data"), "output_dir": str(tmp_path / "runs")}


@pytest.fixture
def trained(store: mlflow.MlflowClient, given: dict[str, Any], tmp_path: Path) -> PipelineResult:
    """A run on the pairs under UniProt's names."""
    del store
    tables = {
        "train_pairs": write_table(tmp_path / "train.tsv", TRAIN),
        "val_pairs": write_table(tmp_path / "val.tsv", VALIDATION),
    }
    fasta = write_sequences(tmp_path / "plain.fasta", plain)
    return execute_pipeline("train_only", given | tables | {"fasta": fasta, "epochs": 1})


@pytest.fixture
def renamed(tmp_path: Path) -> dict[str, Any]:
    """The training pairs under STRING's names, as test pairs."""
    return {
        "test_pairs": write_table(tmp_path / "string.tsv", TRAIN, as_string),
        "fasta": write_sequences(tmp_path / "string.fasta", as_string),
        "bootstrap_resamples": 100,
    }


def without_proteins(store: mlflow.MlflowClient, run_id: str) -> None:
    """Makes a run like one of a version that logged no sequence digests."""
    store.delete_tag(run_id, PROTEINS_TAG)
    get_artifact_repository(store.get_run(run_id).info.artifact_uri).delete_artifacts(
        "pairs/proteins.parquet"
    )


def test_a_training_run_logs_the_sequence_digests_of_its_proteins(
    store: mlflow.MlflowClient, trained: PipelineResult, tmp_path: Path
) -> None:
    path = store.download_artifacts(trained.run_id, "pairs/proteins.parquet", str(tmp_path))
    numbers = {number for a, b, _ in (*TRAIN, *VALIDATION) for number in (a, b)}
    assert read_proteins(Path(path)) == {
        plain(number): sequence_digest(SEQUENCES[number]) for number in numbers
    }


@pytest.mark.parametrize("older", [False, True])
def test_training_pairs_under_other_names_are_found(
    store: mlflow.MlflowClient,
    given: dict[str, Any],
    trained: PipelineResult,
    renamed: dict[str, Any],
    older: bool,
) -> None:
    if older:  # the FASTA that the run names is still there
        without_proteins(store, trained.run_id)
    run = {"run_id": trained.run_id}
    metrics = execute_pipeline("eval_only", given | run | renamed).metrics
    assert metrics["audit/shared_pairs_share"] == metrics["audit/shared_proteins_share"] == 1.0
    assert metrics["audit/c1_pairs_share"] == 1.0
    assert metrics["audit/identity_above_90_share"] == 1.0
    model = {"registered_model": "renamed"}
    with pytest.raises(DataError, match=r"^40 of 40 test pairs are among the training pairs"):
        execute_pipeline("promote", given | run | renamed | model)
    allowed = execute_pipeline("promote", given | run | renamed | model | {"allow_leakage": True})
    assert store.get_run(allowed.run_id).data.tags["ppi.leakage"] == "40 test pairs were trained on"


def test_a_comparison_says_which_model_was_trained_on_the_pairs_under_other_names(
    given: dict[str, Any], trained: PipelineResult, renamed: dict[str, Any], tmp_path: Path
) -> None:
    tables = {
        "train_pairs": write_table(tmp_path / "other.tsv", VALIDATION),
        "val_pairs": write_table(tmp_path / "other_val.tsv", TRAIN),
        "fasta": str(tmp_path / "plain.fasta"),
    }
    other = execute_pipeline("train_only", given | tables | {"epochs": 1, "seed": 1})
    both = {"run_ids": f"{trained.run_id},{other.run_id}"}
    report = execute_pipeline("compare", given | both | renamed).outputs["report"]
    assert re.search(r">40</\w+>.{,80}>100\.0%<", Path(report).read_text(), re.DOTALL)


def test_what_cannot_be_compared_is_said_and_not_counted_as_nothing_shared(
    store: mlflow.MlflowClient,
    given: dict[str, Any],
    trained: PipelineResult,
    renamed: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    without_proteins(store, trained.run_id)
    (tmp_path / "plain.fasta").unlink()
    run = {"run_id": trained.run_id}
    metrics = execute_pipeline("eval_only", given | run | renamed).metrics
    assert not any(name.startswith("audit/") for name in metrics)
    assert "the test proteins cannot be compared with the training proteins" in caplog.text
    model = {"registered_model": "unknown"}
    with pytest.raises(DataError, match="the test proteins cannot be compared") as caught:
        execute_pipeline("promote", given | run | renamed | model)
    assert "P10000, P10001, P10002" in str(caught.value)
    allowed = execute_pipeline("promote", given | run | renamed | model | {"allow_leakage": True})
    tag = store.get_run(allowed.run_id).data.tags["ppi.leakage"]
    assert tag == "not every training pair could be compared with the test pairs"


def test_proteins_that_someone_replaced_are_refused(
    store: mlflow.MlflowClient,
    given: dict[str, Any],
    trained: PipelineResult,
    renamed: dict[str, Any],
    tmp_path: Path,
) -> None:
    write_proteins(tmp_path / "proteins.parquet", {plain(number): "0" * 64 for number in range(16)})
    repository = get_artifact_repository(store.get_run(trained.run_id).info.artifact_uri)
    repository.log_artifact(str(tmp_path / "proteins.parquet"), "pairs")
    asked = {"run_id": trained.run_id, "registered_model": "replaced"}
    with pytest.raises(DataError, match="leakage cannot be ruled out"):
        execute_pipeline("promote", given | asked | renamed)


@pytest.mark.usefixtures("store")
def test_an_audit_joins_by_sequence_and_refuses_what_it_cannot_compare(
    given: dict[str, Any], renamed: dict[str, Any], tmp_path: Path
) -> None:
    tables = {
        "train_pairs": write_table(tmp_path / "train.tsv", TRAIN),
        "test_pairs": renamed["test_pairs"],
        "output_dir": given["output_dir"],
    }
    both = write_sequences(tmp_path / "both.fasta", plain, as_string)
    metrics = execute_pipeline("audit", tables | {"fasta": both}).metrics
    assert metrics["audit/shared_pairs"] == 40
    assert metrics["audit/c1_pairs_share"] == metrics["audit/shared_proteins_share"] == 1.0
    assert metrics["audit/identity_above_90_share"] == 1.0
    with pytest.raises(DataError, match="the test proteins cannot be compared"):
        execute_pipeline("audit", tables)


@pytest.mark.usefixtures("store")
def test_pairs_to_keep_out_of_an_embedder_are_found_by_sequence_or_refused(
    given: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def named(number: int) -> str:
        return f"sp|{plain(number)}|NAME_HUMAN"

    caplog.set_level("INFO")
    rows = [(0, 1, 1), (2, 3, 1)]
    text = {plain(number): sequence for number, sequence in enumerate(SEQUENCES)}
    write_fasta(tmp_path / "text.fasta", text)
    asked = given | {"fasta": str(tmp_path / "text.fasta"), "hidden_dim": 4, "epochs": 1, "window": 32}
    pairs = {"exclude_pairs": write_table(tmp_path / "out.tsv", rows, named)}
    with pytest.raises(DataError, match="none of the 4 proteins of exclude_pairs has a sequence") as caught:
        execute_pipeline("train_embedder", asked | pairs)
    assert "4 of the 4 names fit: sp|P10000|NAME_HUMAN as P10000" in str(caught.value)
    assert "sp|P10002|NAME_HUMAN, ... in exclude_pairs, P10000, P10001, P10002, ... in" in str(caught.value)
    write_fasta(tmp_path / "out.fasta", {as_string(number): SEQUENCES[number] for number in range(4)})
    named_there = {"exclude_pairs": write_table(tmp_path / "string.tsv", rows, as_string)}
    kept = execute_pipeline(
        "train_embedder", asked | named_there | {"exclude_fasta": str(tmp_path / "out.fasta")}
    )
    assert "12 sequences to learn from, 4 left out" in caplog.text
    assert kept.metrics["val/perplexity_best"] > 1
    mixed = tmp_path / "mixed.tsv"
    mixed.write_text(f"{plain(0)}\t{plain(1)}\nGHOST\t{plain(2)}\n")
    execute_pipeline("train_embedder", asked | {"exclude_pairs": str(mixed)})
    assert "1 of the 4 proteins of exclude_pairs have no known sequence" in caplog.text


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("same", [True, False])
def test_validation_pairs_are_scored_with_the_sequences_of_the_run(
    given: dict[str, Any], trained: PipelineResult, tmp_path: Path, same: bool
) -> None:
    texts = SEQUENCES if same else SEQUENCES[::-1]
    write_fasta(tmp_path / "scored.fasta", {plain(number): text for number, text in enumerate(texts)})
    resolved = resolve_checkpoint(trained.run_id)
    config = EvalConfig.of(
        run_id=trained.run_id,
        test_pairs=write_table(tmp_path / "test.tsv", TRAIN),
        fasta=str(tmp_path / "scored.fasta"),
        data_dir=given["data_dir"],
    )
    checkpoint = resolved.read()
    split = split_for(resolved, config)
    scored = evaluation_inputs(config, split, checkpoint, trained_config(checkpoint))
    validation = validation_inputs(resolved, config, scored)
    assert (validation.cache is scored.cache) == same
    numbers = {number for a, b, _ in VALIDATION for number in (a, b)}
    assert validation.cache.sequence_digests([plain(number) for number in sorted(numbers)]) == {
        plain(number): sequence_digest(SEQUENCES[number]) for number in sorted(numbers)
    }
