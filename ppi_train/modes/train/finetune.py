"""The `finetune_from_pretrain` mode: training from the weights of an earlier run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ppi_train.checkpoints import Checkpoint
from ppi_train.config.schema import FinetuneConfig
from ppi_train.models.registry import own_batch_size
from ppi_train.modes.base import PipelineResult
from ppi_train.modes.train.train_only import training_inputs
from ppi_train.modes.train.training_run import Ancestor, TrainingJob
from ppi_train.runs.checkpoints import ResolvedCheckpoint, resolve_checkpoint
from ppi_train.runs.embedder import EmbeddingSettings
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.run_folder import run_folder


def run(config: FinetuneConfig, tracked: TrackedRun) -> PipelineResult:
    """Finetunes a model from an earlier run's checkpoint.

    The ancestor's metrics on the new data are logged as epoch 0.
    """
    with run_folder(config.output_dir, tracked.run_id) as output:
        return finetuning_job(config).run(tracked, output)


def finetuning_job(config: FinetuneConfig) -> TrainingJob:
    """Prepares finetuning: the ancestor's checkpoint and embeddings of the new data.

    The new data are embedded with the ancestor's settings.

    Raises:
        TrackingError, CheckpointError: the ancestor is not available; see `resolve_checkpoint`.
        CacheError: a given cache has another embedder or dimension than the ancestor's.
    """
    assert config.pretrain_run_id is not None  # the schema requires it
    resolved = resolve_checkpoint(config.pretrain_run_id)
    checkpoint = resolved.read()
    embedding: dict[str, Any] = checkpoint.description["embedding"]
    recipe = embedding["recipe"]
    settings = EmbeddingSettings.of_recipe(recipe, dtype=embedding["dtype"], device=config.device)
    inputs = training_inputs(config, settings, recipe)
    model = checkpoint.description["model"]
    return TrainingJob(
        mode="finetune_from_pretrain",
        config=replace(
            config,
            dataset=None if config.train_pairs else inputs.name,
            batch_size=config.batch_size or own_batch_size(model["name"]),
        ),
        inputs=inputs,
        model=model["name"],
        hyperparameters=model["hyperparameters"],
        parameters=_inherited_parameters(resolved),
        ancestor=_ancestor(resolved, checkpoint),
    )


def _inherited_parameters(resolved: ResolvedCheckpoint) -> dict[str, str]:
    """Architecture and embedding parameters of the ancestor, for comparisons in the UI."""
    inherited = ("model.", "embedding.embedder", "embedding.max_length", "embedding.truncation",
                 "embedding.embedding_dtype")  # fmt: skip
    return {name: value for name, value in resolved.run.parameters.items() if name.startswith(inherited)}


def _ancestor(resolved: ResolvedCheckpoint, checkpoint: Checkpoint) -> Ancestor:
    run = resolved.run
    return Ancestor(
        run_id=run.run_id,
        name=run.name,
        experiment_id=run.experiment_id,
        digest=resolved.digest,
        lineage=(*checkpoint.description.get("lineage", ()), run.run_id),
        checkpoint=checkpoint,
    )
