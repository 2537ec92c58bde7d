"""Tests of `finetune_from_pretrain`: start weights, frozen parts, and lineage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch

from ppi_train.checkpoints import read_checkpoint
from ppi_train.data.benchmarks.prepare import Dataset
from ppi_train.data.fasta import read_fasta, sequence_digest
from ppi_train.embeddings.cache import CacheSpec
from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.errors import CacheError
from ppi_train.modes import PipelineResult, execute_pipeline


@pytest.fixture(scope="module")
def pretrained(client: mlflow.MlflowClient, places: dict[str, Any]) -> PipelineResult:
    del client
    return execute_pipeline("train_only", places | {"epochs": 4, "hidden_dim": 48, "max_length": 300})


def finetuned(places: dict[str, Any], ancestor: PipelineResult, **parameters: object) -> PipelineResult:
    # Pairs of the same proteins, drawn anew: what was learned holds for them.
    given = {"pretrain_run_id": ancestor.run_id, "epochs": 2, "seed": 1}
    return execute_pipeline("finetune_from_pretrain", places | given | parameters)


def weights(result: PipelineResult, name: str = "best") -> dict[str, torch.Tensor]:
    return read_checkpoint(Path(result.outputs["checkpoints"]) / "checkpoints" / name).weights


def points(client: mlflow.MlflowClient, run_id: str, name: str) -> dict[int, float]:
    return {int(point.step): point.value for point in client.get_metric_history(run_id, name)}


def test_epoch_0_shows_what_the_ancestor_is_worth_on_the_new_data(
    client: mlflow.MlflowClient, places: dict[str, Any], pretrained: PipelineResult
) -> None:
    result = finetuned(places, pretrained)
    scored = execute_pipeline("eval_only", places | {"run_id": pretrained.run_id, "split": "validation"})
    auroc = points(client, result.run_id, "val/auroc")
    assert sorted(auroc) == [0, 1, 2]
    assert auroc[0] == scored.metrics["val/auroc"]
    # Training goes by logits as they are: the temperature of the ancestor is its own.
    losses, temperatures = (points(client, result.run_id, f"val/{name}") for name in ("loss", "temperature"))
    assert losses[0] == pytest.approx(pretrained.metrics["val/loss_best"], abs=1e-6)
    assert temperatures[0] == pytest.approx(pretrained.metrics["val/temperature_best"], abs=1e-6) != 1.0
    assert points(client, result.run_id, "train/loss").keys() == {1, 2}


def test_the_run_is_tagged_named_and_linked(
    client: mlflow.MlflowClient, places: dict[str, Any], pretrained: PipelineResult
) -> None:
    run = client.get_run(finetuned(places, pretrained, epochs=1).run_id)
    assert run.info.run_name == "finetune_from_pretrain-pooled_mlp-example"
    assert run.data.tags["ppi.mode"] == "finetune_from_pretrain"
    assert run.data.tags["ppi.pretrain_run_id"] == pretrained.run_id
    assert f"/runs/{pretrained.run_id})" in run.data.tags["mlflow.note.content"]
    # The architecture and the embedding are the ancestor's, and compare with other runs in the UI.
    assert run.data.params["model.hidden_dim"] == "48"
    assert run.data.params["embedding.max_length"] == "300"
    assert run.data.params["training.learning_rate"] == "0.008"


@pytest.mark.slow
def test_a_chain_of_three_shows_its_lineage(
    client: mlflow.MlflowClient, places: dict[str, Any], pretrained: PipelineResult
) -> None:
    second = finetuned(places, pretrained, epochs=1)
    third = finetuned(places, second, epochs=1)
    tags = client.get_run(third.run_id).data.tags
    assert tags["ppi.lineage"] == f"{pretrained.run_id},{second.run_id}"
    assert tags["ppi.pretrain_run_id"] == second.run_id
    note = tags["mlflow.note.content"]
    assert note.index(pretrained.run_id) < note.rindex(second.run_id)
    described = read_checkpoint(Path(third.outputs["checkpoints"]) / "checkpoints/best").description
    assert described["lineage"] == [pretrained.run_id, second.run_id]


def test_a_frozen_encoder_stays_as_it_is_and_the_head_learns(
    places: dict[str, Any], pretrained: PipelineResult
) -> None:
    result = finetuned(places, pretrained, freeze="encoder", learning_rate=0.01)
    before, after = weights(pretrained), weights(result, "last")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    # What is taken off for single proteins is fitted to each validation set.
    learned = {name for name in changed if not name.startswith("reference.")}
    assert learned == {name for name in before if name.startswith("head.")}
    free = weights(finetuned(places, pretrained, learning_rate=0.01), "last")
    assert any(not torch.equal(before[name], free[name]) for name in before if name.startswith("encoder."))


def test_finetuning_that_only_makes_it_worse_keeps_the_ancestors_weights(
    places: dict[str, Any], pretrained: PipelineResult
) -> None:
    result = finetuned(places, pretrained, learning_rate=100.0, gradient_clip=0, scheduler="none")
    assert result.metrics["best_epoch"] == 0
    before, best = weights(pretrained), weights(result)
    assert all(torch.equal(before[name], best[name]) for name in before)


def test_a_finetuned_run_is_evaluated_by_its_id(places: dict[str, Any], pretrained: PipelineResult) -> None:
    result = finetuned(places, pretrained)
    scored = execute_pipeline("eval_only", places | {"run_id": result.run_id, "split": "validation"})
    assert scored.metrics["val/auroc"] == pytest.approx(result.metrics["val/auroc_best"], abs=1e-5)


@pytest.mark.slow
def test_an_interrupted_finetuning_is_continued(
    client: mlflow.MlflowClient, places: dict[str, Any], pretrained: PipelineResult
) -> None:
    result = finetuned(places, pretrained)
    client.set_terminated(result.run_id, "KILLED")
    again = execute_pipeline("resume", {"run_id": result.run_id})
    assert again.run_id == result.run_id
    assert sorted(points(client, result.run_id, "val/auroc")) == [0, 1, 2]


def test_embeddings_of_another_embedder_are_refused_by_name(
    client: mlflow.MlflowClient,
    places: dict[str, Any],
    pretrained: PipelineResult,
    example: Dataset,
    tmp_path: Path,
) -> None:
    sequences = read_fasta(example.splits["train"].fasta)
    spec = CacheSpec(
        embedder={"name": "mine", "parameters": {}, "digest": "1"},
        dimension=804,
        granularity="protein",
        dtype="float32",
        max_length=300,
        truncation="head",
        fasta_digest=sequences.digest,
    )
    with CacheWriter(tmp_path / "mine.parquet", spec) as writer:
        for name, sequence in sequences.sequences.items():
            writer.add(name, sequence_digest(sequence), len(sequence), np.ones(804))
    with pytest.raises(CacheError, match="another embedder than asked for") as caught:
        finetuned(places, pretrained, embeddings=str(tmp_path / "mine.parquet"))
    assert "embedder=mine@1" in str(caught.value)
    assert "embedder=descriptors@" in str(caught.value)
    (failed,) = client.search_runs(
        [client.get_run(pretrained.run_id).info.experiment_id], filter_string="attributes.status = 'FAILED'"
    )
    assert failed.data.tags["ppi.error"] == str(caught.value)
