"""The `train_only` mode, also named `pretrain_only`: trains from random weights."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ppi_train.checkpoints import Checkpoint, new_model
from ppi_train.config.loading import logged_parameters
from ppi_train.config.options import ModelOptions
from ppi_train.config.schema import TrainConfig
from ppi_train.features import ProteinIterator, with_static_features
from ppi_train.models.device import resolve_device, seed_everything
from ppi_train.models.registry import own_batch_size, own_hyperparameters
from ppi_train.modes.execute import PipelineResult
from ppi_train.modes.train.training_run import (
    TrainingJob,
    describe_pair_model,
    evaluate_best,
    fit,
    log_best_model,
    log_start,
    pair_task,
    recorded_digests,
    run_callbacks,
    training_inputs,
)
from ppi_train.runs.embedder import EmbeddingSettings
from ppi_train.runs.inputs import SplitInputs
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.run_folder import run_folder
from ppi_train.training.callbacks import CheckpointUploader
from ppi_train.training.trainer import Trainer

logger = logging.getLogger(__name__)

MODE = "train_only"


def run(config: TrainConfig, tracked: TrackedRun) -> PipelineResult:
    """Trains a pair model from random weights, evaluates it, and logs it.

    Raises:
        UserError: as raised by the layers below; every checkpoint written by then is uploaded.
    """
    with run_folder(config.output_dir, tracked.run_id) as output:
        return training_job(config).train(tracked, output, None)


def training_job(config: TrainConfig) -> TrainingJob:
    """Reads the inputs and fills in the defaults that depend on them.

    Raises:
        UserError: the data or the embeddings are not what the config says.
    """
    settings = EmbeddingSettings.of_config(config, device=config.device)
    hyperparameters = _hyperparameters(config)
    inputs = training_inputs(config, settings, _required_recipe(config))
    spec = inputs.cache.spec
    completed = replace(
        config,
        dataset=None if config.train_pairs else inputs.name,
        # A cache given by the user may come from an embedder that only they have.
        embedder=config.embedder if config.embeddings else str(spec.embedder["name"]),
        max_length=spec.max_length,
        truncation=spec.truncation,
        embedding_dtype=spec.dtype,
        batch_size=config.batch_size or own_batch_size(config.model),
    )
    completed = replace(completed, **hyperparameters)
    return TrainingJob(
        mode=MODE,
        config=completed,
        digests=inputs.digests,
        recorded=recorded_digests(inputs),
        train=partial(_train, completed, inputs, hyperparameters),
    )


def _train(
    config: TrainConfig,
    inputs: SplitInputs,
    hyperparameters: Mapping[str, object],
    tracked: TrackedRun,
    output: Path,
    continued: Checkpoint | None,
) -> PipelineResult:
    """Builds the model, fits it, evaluates the best checkpoint and logs it."""
    device = resolve_device(config.device)
    parameters = logged_parameters(config)
    with CheckpointUploader(tracked, output / "checkpoints", every=config.checkpoint_every) as uploader:
        tags = {"model": config.model}
        log_start(tracked, output, config, inputs, device=device, parameters=parameters, tags=tags)

        seed_everything(config.seed, deterministic=config.deterministic)
        model = new_model(config.model, inputs.cache.spec.dimension, hyperparameters).to(device)
        train = inputs.pair_data("train", model.GRANULARITY).to(device)
        validation = inputs.pair_data("validation", model.GRANULARITY).to(device)
        if not continued:
            model.fit_input_statistics(ProteinIterator(train.features))
        train, validation = with_static_features(train, model), with_static_features(validation, model)

        trainer = Trainer(
            model,
            config,
            task=pair_task(config, model, train, validation),
            checkpoints=uploader.folder,
            description=describe_pair_model(
                MODE, config, inputs, model=config.model, hyperparameters=hyperparameters
            ),
            callbacks=run_callbacks(tracked, uploader),
        )
        fit(trainer, tracked, continued)

        metrics = evaluate_best(tracked, output, inputs, validation, trainer, model=config.model)
        metrics = log_best_model(tracked, output, inputs, metrics, model=config.model, parameters=parameters)
    return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs={"checkpoints": str(output)})


def _hyperparameters(config: ModelOptions) -> dict[str, Any]:
    """Hyper-parameters of the model: given values, else its own defaults."""
    names = [field.name for field in dataclasses.fields(ModelOptions) if field.name != "model"]
    given = {name: getattr(config, name) for name in names}
    taken = own_hyperparameters(config.model, given)
    for name, value in given.items():
        if value is not None and name not in taken:
            logger.warning("%s=%s has no effect: %s has no such parameter", name, value, config.model)
    return taken


def _required_recipe(config: TrainConfig) -> dict[str, object]:
    """Part of the recipe that the cache must have.

    For a cache given by the user, this is only what the user has set.
    """
    asked = {"max_length": config.max_length, "truncation": config.truncation} if config.embeddings else {}
    wanted = {key: value for key, value in asked.items() if value is not None}
    return {"embedder_name": config.embedder, **wanted}
