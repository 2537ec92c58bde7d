"""The `finetune_from_pretrain` mode: training from the weights of an earlier run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from ppi_train.checkpoints import Checkpoint, model_from_checkpoint
from ppi_train.config.loading import logged_parameters
from ppi_train.embeddings.cache.reader import warn_of_other_numbers
from ppi_train.features import ProteinIterator, with_static_features
from ppi_train.models.device import resolve_device, seed_everything
from ppi_train.models.registry import find_model
from ppi_train.modes.base import PipelineResult
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
from ppi_train.runs.checkpoints import resolve_checkpoint
from ppi_train.runs.configs import FinetuneConfig
from ppi_train.runs.embedder import EmbeddingSettings
from ppi_train.runs.inputs import SplitInputs
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.run_folder import run_folder
from ppi_train.tracking.runs import RunInfo
from ppi_train.training.callbacks import CheckpointUploader
from ppi_train.training.trainer import Trainer

MODE = "finetune_from_pretrain"


def run(config: FinetuneConfig, tracked: TrackedRun) -> PipelineResult:
    """Finetunes a model from an earlier run's checkpoint.

    The ancestor's metrics on the new data are logged as epoch 0.
    """
    with run_folder(config.output.output_dir, tracked.run_id) as output:
        return finetuning_job(config).train(tracked, output, None)


def finetuning_job(config: FinetuneConfig) -> TrainingJob:
    """Reads the ancestor's checkpoint and the inputs, and fills in the defaults.

    The new data are embedded with the ancestor's settings.

    Raises:
        TrackingError, CheckpointError: the ancestor is not available; see `resolve_checkpoint`.
        CacheError: a given cache has another embedder or dimension than the ancestor's.
    """
    run_id = config.pretrain.pretrain_run_id
    assert run_id is not None  # the schema requires it
    resolved = resolve_checkpoint(run_id)
    start = resolved.read()
    embedding: dict[str, Any] = start.description["embedding"]
    recipe = embedding["recipe"]
    settings = EmbeddingSettings.of_recipe(recipe, dtype=embedding["dtype"], device=config.compute.device)
    inputs = training_inputs(config.data, config.pairs, config.cache, settings, recipe)
    warn_of_other_numbers(inputs.cache, embedding)
    completed = config.replace(
        dataset=None if config.pairs.train_pairs else inputs.name,
        batch_size=config.sampling.batch_size or find_model(start.description["model"]["name"]).BATCH_SIZE,
    )
    return TrainingJob(
        mode=MODE,
        config=completed,
        digests={**inputs.digests, "ancestor": resolved.digest},
        recorded=recorded_digests(inputs),
        train=partial(_train, completed, inputs, resolved.run, start),
    )


def _train(
    config: FinetuneConfig,
    inputs: SplitInputs,
    ancestor: RunInfo,
    start: Checkpoint,
    tracked: TrackedRun,
    output: Path,
    continued: Checkpoint | None,
) -> PipelineResult:
    """Fits the model of a checkpoint, evaluates the best checkpoint and logs it."""
    device = resolve_device(config.compute.device)
    name, hyperparameters = start.description["model"]["name"], start.description["model"]["hyperparameters"]
    lineage = (*start.description.get("lineage", ()), ancestor.run_id)
    parameters = {**_inherited_parameters(ancestor), **logged_parameters(config)}
    saving = config.training.checkpoint_every
    with CheckpointUploader(tracked, output / "checkpoints", every=saving) as uploader:
        tags = {"model": name, "pretrain_run_id": ancestor.run_id, "lineage": ",".join(lineage)}
        log_start(tracked, output, config, inputs, device=device, parameters=parameters, tags=tags)
        tracked.describe(_lineage_note(ancestor, lineage, tracked))

        seed_everything(config.compute.seed, deterministic=config.compute.deterministic)
        model = model_from_checkpoint(start, torch.device("cpu"))
        model.temperature = 1.0  # the ancestor's was fitted on other pairs
        if config.warm_start.freeze == "encoder":
            model.freeze_encoder()
        model = model.to(device)
        train, validation = (
            with_static_features(inputs.pair_data(split, model.GRANULARITY).to(device), model)
            for split in ("train", "validation")
        )

        trainer = Trainer(
            model,
            config.training,
            scheduler=config.scheduler,
            amp=config.compute.amp,
            task=pair_task(config, train, validation),
            checkpoints=uploader.folder,
            description=describe_pair_model(
                MODE, config, inputs, model=name, hyperparameters=hyperparameters, lineage=lineage
            ),
            callbacks=run_callbacks(tracked, uploader),
            warm_start=lambda: model.shrink(config.warm_start.shrink, ProteinIterator(train.features)),
        )
        fit(trainer, tracked, continued)

        metrics = evaluate_best(tracked, output, inputs, validation, trainer, model=name)
        metrics = log_best_model(tracked, output, inputs, metrics, model=name, parameters=parameters)
    return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs={"checkpoints": str(output)})


def _inherited_parameters(ancestor: RunInfo) -> dict[str, str]:
    """Architecture and embedding parameters of the ancestor, for comparisons in the UI."""
    inherited = ("model.", "embedding.embedder", "embedding.max_length", "embedding.truncation",
                 "embedding.embedding_dtype")  # fmt: skip
    return {name: value for name, value in ancestor.parameters.items() if name.startswith(inherited)}


def _lineage_note(ancestor: RunInfo, lineage: tuple[str, ...], tracked: TrackedRun) -> str:
    first = tracked.link_to(ancestor.run_id, ancestor.name, ancestor.experiment_id)
    chain = " → ".join(tracked.link_to(run_id, run_id[:8]) for run_id in lineage)
    return f"Finetuned from {first}.\n\nLineage: {chain} → this run"
