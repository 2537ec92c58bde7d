"""The `train_only` mode, also named `pretrain_only`: trains from random weights."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ppi_train.config.options import ModelOptions
from ppi_train.config.schema import TrainConfig, TrainDataConfig
from ppi_train.models.registry import own_batch_size, own_hyperparameters
from ppi_train.modes.base import PipelineResult
from ppi_train.modes.train.training_run import TrainingJob
from ppi_train.runs.datasets import DEFAULT_DATASET, prepare
from ppi_train.runs.embedder import EmbeddingSettings
from ppi_train.runs.inputs import SplitFiles, SplitInputs, drop_or_refuse_missing, open_cache, read_tables
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.run_folder import run_folder

logger = logging.getLogger(__name__)


def run(config: TrainConfig, tracked: TrackedRun) -> PipelineResult:
    """Trains a model from random weights, as in `run_training`."""
    with run_folder(config.output_dir, tracked.run_id) as output:
        return training_job(config).run(tracked, output)


def training_job(config: TrainConfig) -> TrainingJob:
    """The training run that a config specifies, with its data read.

    Raises:
        UserError: the data or the embeddings are not what the config says.
    """
    settings = EmbeddingSettings.of_config(config, device=config.device)
    hyperparameters = _hyperparameters(config)
    inputs = training_inputs(config, settings, _wanted(config))
    recipe = inputs.cache.spec
    resolved = replace(
        config,
        dataset=None if config.train_pairs else inputs.name,
        # A cache given by the user may come from an embedder that only they have.
        embedder=config.embedder if config.embeddings else str(recipe.embedder["name"]),
        max_length=recipe.max_length,
        truncation=recipe.truncation,
        embedding_dtype=recipe.dtype,
    )
    return TrainingJob(
        mode="train_only",
        config=replace(
            resolved, batch_size=config.batch_size or own_batch_size(config.model), **hyperparameters
        ),
        inputs=inputs,
        model=config.model,
        hyperparameters=hyperparameters,
    )


def _hyperparameters(config: ModelOptions) -> dict[str, Any]:
    """Hyper-parameters of the model: given values, else its own defaults."""
    names = [field.name for field in dataclasses.fields(ModelOptions) if field.name != "model"]
    given = {name: getattr(config, name) for name in names}
    taken = own_hyperparameters(config.model, given)
    for name, value in given.items():
        if value is not None and name not in taken:
            logger.warning("%s=%s has no effect: %s has no such parameter", name, value, config.model)
    return taken


def _wanted(config: TrainConfig) -> dict[str, object]:
    """Part of the recipe that the cache must have.

    For a cache given by the user, this is only what the user has set.
    """
    asked = {"max_length": config.max_length, "truncation": config.truncation} if config.embeddings else {}
    wanted = {key: value for key, value in asked.items() if value is not None}
    return {"embedder_name": config.embedder, **wanted}


def training_inputs(
    config: TrainDataConfig, settings: EmbeddingSettings, wanted: Mapping[str, object]
) -> SplitInputs:
    """Training and validation pairs, with embeddings of their proteins.

    Args:
        config: Where pairs, sequences and embeddings come from.
        settings: How sequences are embedded, if no cache is given.
        wanted: Part of the recipe that the cache must have; see `open_cache`.
    """
    files, name = _training_files(config)
    tables = read_tables(files)
    fastas = [source.fasta for source in files.values() if source.fasta]
    cache = open_cache(
        config.embeddings,
        fastas,
        settings,
        data_dir=Path(config.data_dir),
        wanted=wanted,
        memory_mb=config.cache_memory_mb,
    )
    return drop_or_refuse_missing(
        name, tables, cache, missing=config.missing, fasta=fastas[0] if fastas else None
    )


def _training_files(config: TrainDataConfig) -> tuple[dict[str, SplitFiles], str]:
    if config.train_pairs and config.val_pairs:
        fasta = Path(config.fasta) if config.fasta else None
        own = {"train": Path(config.train_pairs), "validation": Path(config.val_pairs)}
        files = {split: SplitFiles(pairs=path, fasta=fasta) for split, path in own.items()}
        return files, Path(config.train_pairs).stem
    dataset = prepare(config, ("train", "validation"))
    files = {
        split: SplitFiles(pairs=source.pairs, fasta=None if config.embeddings else source.fasta)
        for split, source in dataset.splits.items()
    }
    return files, config.dataset or DEFAULT_DATASET
