"""Tests of `train_embedder` and `protein_lm`, from sequences to a served model."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.data.fasta import read_fasta, write_fasta
from ppi_train.data.pairs import read_pairs
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.errors import CacheError, CheckpointError, ConfigError, DataError
from ppi_train.modes import PipelineResult, execute_pipeline
from tests.support import ROOT

SMALL: dict[str, Any] = {"hidden_dim": 12, "epochs": 1, "batch_size": 16, "window": 64}


@pytest.fixture(scope="module")
def embedder(client: mlflow.MlflowClient, places: dict[str, Any]) -> PipelineResult:
    """A language model of the example's sequences."""
    del client
    return execute_pipeline("train_embedder", places | SMALL)


@pytest.fixture(scope="module")
def trained(embedder: PipelineResult, places: dict[str, Any]) -> PipelineResult:
    """A pair model on its embeddings."""
    used = {"embedder": "protein_lm", "embedder_run_id": embedder.run_id, "epochs": 1}
    return execute_pipeline("train_only", places | used)


def test_it_is_a_run_like_any_other(client: mlflow.MlflowClient, embedder: PipelineResult) -> None:
    run = client.get_run(embedder.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train_embedder-protein_lm-example"
    assert run.data.params["model.hidden_dim"] == "12"
    curve = [point.value for point in client.get_metric_history(embedder.run_id, "val/perplexity")]
    assert len(curve) == 5
    assert curve[-1] < curve[0] < 22
    assert run.data.metrics["val/perplexity_best"] == pytest.approx(min(curve))
    assert run.inputs is not None
    (read,) = run.inputs.dataset_inputs
    assert read.dataset.name == "example/sequences"
    assert {artifact.path for artifact in client.list_artifacts(embedder.run_id, "checkpoints")} == {
        "checkpoints/best", "checkpoints/last",
    }  # fmt: skip


def test_test_proteins_are_not_read(
    client: mlflow.MlflowClient, embedder: PipelineResult, example: Dataset, tmp_path: Path
) -> None:
    run = client.get_run(embedder.run_id)
    test = set(read_pairs(example.splits["test"].pairs).proteins)
    assert run.data.metrics["data/excluded_sequences"] == len(test) > 100
    seen: set[str] = set()
    for name in ("train", "held_out"):
        file = client.download_artifacts(embedder.run_id, f"text/{name}.fasta", str(tmp_path))
        seen |= set(read_fasta(file).sequences)
    everything = set(read_fasta(example.splits["test"].fasta).sequences)
    assert seen == everything - test


def test_sequences_and_pairs_can_be_kept_out(
    client: mlflow.MlflowClient, places: dict[str, Any], example: Dataset, tmp_path: Path
) -> None:
    sequences = read_fasta(example.splits["train"].fasta).sequences
    known = read_pairs(example.splits["train"].pairs).proteins
    hidden, paired = known[:30], known[30:40]
    write_fasta(tmp_path / "hidden.fasta", {f"other-{protein}": sequences[protein] for protein in hidden})
    rows = "\n".join(f"{protein}\t{paired[0]}" for protein in paired[1:])
    (tmp_path / "pairs.tsv").write_text(rows + "\n")
    result = execute_pipeline(
        "train_embedder",
        places
        | SMALL
        | {
            "fasta": str(example.splits["train"].fasta),
            "exclude_fasta": str(tmp_path / "hidden.fasta"),
            "exclude_pairs": str(tmp_path / "pairs.tsv"),
        },
    )
    assert client.get_run(result.run_id).data.metrics["data/excluded_sequences"] == 40


def test_cache_and_model_tell_the_run_that_their_embeddings_come_from(
    client: mlflow.MlflowClient, embedder: PipelineResult, trained: PipelineResult, places: dict[str, Any]
) -> None:
    run = client.get_run(trained.run_id)
    assert run.data.tags["ppi.embedder"] == "protein_lm"
    assert run.data.tags["ppi.embedder_run_id"] == embedder.run_id
    assert run.data.params["embedding.embedder_run_id"] == embedder.run_id
    (cache,) = Path(places["data_dir"]).glob("embeddings/protein_lm-*.parquet")
    assert EmbeddingCache(cache).spec.embedder_run_id == embedder.run_id
    scored = execute_pipeline("eval_only", places | {"run_id": trained.run_id, "bootstrap_resamples": 0})
    assert client.get_run(scored.run_id).data.tags["ppi.embedder_run_id"] == embedder.run_id


def test_the_registered_model_carries_its_embedder(
    client: mlflow.MlflowClient, trained: PipelineResult, places: dict[str, Any], example: Dataset
) -> None:
    promoted = {"run_id": trained.run_id, "registered_model": "carries", "bootstrap_resamples": 100}
    execute_pipeline("promote", places | promoted)
    version = client.get_model_version_by_alias("carries", "champion")
    tag = "ppi.embedder_run_id"
    assert version.tags[tag] == client.get_run(trained.run_id).data.tags[tag]
    scored = execute_pipeline("eval_only", places | {"run_id": trained.run_id, "bootstrap_resamples": 0})
    table = pd.read_parquet(Path(scored.outputs["predictions"]) / "predictions/test.parquet").head(200)
    sequences = read_fasta(example.splits["test"].fasta).sequences
    asked = {
        f"sequence_{side}": [sequences[protein] for protein in table[f"protein_{side}"]] for side in "ab"
    }
    answered = mlflow.pyfunc.load_model("models:/carries@champion").predict(pd.DataFrame(asked))
    np.testing.assert_allclose(answered["probability"], table["probability"], atol=1e-6)


def test_a_cache_of_another_embedder_run_is_refused_by_name(
    embedder: PipelineResult, trained: PipelineResult, places: dict[str, Any], tmp_path: Path
) -> None:
    other = execute_pipeline("train_embedder", places | SMALL | {"seed": 1})
    cache = str(tmp_path / "other.parquet")
    made = {"embedder": "protein_lm", "embedder_run_id": other.run_id, "output": cache}
    execute_pipeline("embed", {"data_dir": places["data_dir"]} | made)
    with pytest.raises(CacheError, match=rf"protein_lm of run {other.run_id}(.|\n)*of run {embedder.run_id}"):
        execute_pipeline("eval_only", places | {"run_id": trained.run_id, "embeddings": cache})


def test_runs_that_have_no_language_model_are_refused(
    client: mlflow.MlflowClient, embedder: PipelineResult, trained: PipelineResult, places: dict[str, Any]
) -> None:
    def embed(run_id: str) -> None:
        used = {"embedder": "protein_lm", "embedder_run_id": run_id}
        execute_pipeline("embed", {"data_dir": places["data_dir"]} | used)

    with pytest.raises(CheckpointError, match=rf"another kind of model(.|\n)*run, {embedder.run_id}"):
        embed(trained.run_id)
    with pytest.raises(CheckpointError, match=r"another kind of model(.|\n)*embedder=protein_lm"):
        execute_pipeline("eval_only", places | {"run_id": embedder.run_id})
    unfinished = client.create_run(os.environ["MLFLOW_EXPERIMENT_ID"], tags={"ppi.mode": "train_embedder"})
    with pytest.raises(CheckpointError, match="still running"):
        embed(unfinished.info.run_id)
    client.set_terminated(unfinished.info.run_id, "KILLED")
    with pytest.raises(CheckpointError, match=r"no finished checkpoint(.|\n)*-e resume"):
        embed(unfinished.info.run_id)
    with pytest.raises(ConfigError, match="embedder_run_id: required"):
        execute_pipeline("embed", {"embedder": "protein_lm"})


def test_a_single_protein_is_no_text(
    places: dict[str, Any], client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    del client
    write_fasta(tmp_path / "one.fasta", {"P1": "MKV" * 200})
    with pytest.raises(DataError, match=r"too few sequences(.|\n)*got: 1 distinct"):
        execute_pipeline("train_embedder", places | SMALL | {"fasta": str(tmp_path / "one.fasta")})


def test_dna_is_no_text(places: dict[str, Any], client: mlflow.MlflowClient, tmp_path: Path) -> None:
    del client
    genes = {f"G{number}": "ATGGCGACTTAG" * (10 + number) for number in range(20)}
    write_fasta(tmp_path / "genes.fasta", genes)
    with pytest.raises(DataError, match="DNA or RNA, not proteins"):
        execute_pipeline("train_embedder", places | SMALL | {"fasta": str(tmp_path / "genes.fasta")})


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_weights(
    client: mlflow.MlflowClient, places: dict[str, Any], tmp_path: Path
) -> None:
    def weights(run_id: str, runs: Path) -> str:
        marker = runs / run_id / "checkpoints/best/COMPLETE.json"
        return str(json.loads(marker.read_text())["weights.safetensors"])

    longer = SMALL | {"epochs": 3, "seed": 4, "checkpoint_every": "40 steps"}
    whole = execute_pipeline("train_embedder", places | longer)
    runs = tmp_path / "runs"
    settings = longer | {"data_dir": places["data_dir"], "output_dir": str(runs)}
    arguments = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "entry_points.train_embedder", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None
    shown = ""
    for line in process.stderr:
        shown += line
        if re.search(r"part [2-9]/15", line):
            process.send_signal(signal.SIGKILL)
            break
    process.communicate()
    run_id = re.findall(r"run ([0-9a-f]{32}) at ", shown)[0]
    execute_pipeline("resume", {"run_id": run_id})
    assert weights(run_id, runs) == weights(whole.run_id, Path(places["output_dir"]))
    for metric in ("val/perplexity", "train/loss"):
        points = [
            [(point.step, point.value) for point in client.get_metric_history(run, metric)]
            for run in (run_id, whole.run_id)
        ]
        assert points[0] == points[1]
        assert len(points[0]) == 15


@pytest.mark.slow
def test_the_full_pipeline_trains_it_once(
    client: mlflow.MlflowClient, places: dict[str, Any], tmp_path: Path
) -> None:
    given = places | {
        "embedder": "protein_lm", "lm_hidden_dim": 8, "lm_epochs": 1, "epochs": 1, "bootstrap_resamples": 0,
        "output_dir": str(tmp_path),
    }  # fmt: skip
    first = execute_pipeline("main", given)
    assert tuple(first.outputs) == ("prepare", "train_embedder", "embed", "pretrain", "evaluate")
    run = client.get_run(first.outputs["pretrain"])
    assert run.data.tags["ppi.embedder_run_id"] == first.outputs["train_embedder"]
    again = execute_pipeline("main", given | {"epochs": 2})
    assert again.outputs["train_embedder"] == first.outputs["train_embedder"]
    assert again.outputs["embed"] == first.outputs["embed"]
    assert again.outputs["pretrain"] != first.outputs["pretrain"]
