"""The `finetune_from_pretrain` mode: training from the weights of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ppi_train.checkpoints import Checkpoint, model_from_checkpoint
from ppi_train.config.loading import logged_parameters
from ppi_train.embeddings.cache.reader import warn_of_other_numbers
from ppi_train.features import PairData, ProteinIterator, with_static_features
from ppi_train.models.device import resolve_amp, resolve_device, seed_everything
from ppi_train.models.registry import find_model
from ppi_train.modes.base import PipelineResult
from ppi_train.modes.train.conclusion import evaluate_best, log_best_model, trained
from ppi_train.modes.train.processes import batches_of, training_ranks
from ppi_train.modes.train.training_run import (
    TrainingJob,
    describe_pair_model,
    fit,
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
from ppi_train.training.callbacks import Callback, CheckpointUploader
from ppi_train.training.ranks import ProcessGroup, Ranks
from ppi_train.training.signals import Interruption
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
    factory = find_model(start.description["model"]["name"])
    completed = config.replace(
        dataset=None if config.pairs.train_pairs else inputs.name,
        amp=resolve_amp(config.compute.amp, config.compute.device, gains=factory.GAINS_BY_BF16),
        **batches_of(config, config.sampling.batch_size or factory.BATCH_SIZE),
    )
    digests = {**inputs.digests, "ancestor": resolved.digest}
    return TrainingJob(
        mode=MODE,
        config=completed,
        digests=digests,
        recorded=recorded_digests(inputs),
        train=partial(_train, completed, inputs, digests, resolved.run, start),
        follow=partial(_follow, completed, inputs, resolved.run, start),
    )


def _train(
    config: FinetuneConfig,
    inputs: SplitInputs,
    digests: Mapping[str, str],
    ancestor: RunInfo,
    start: Checkpoint,
    tracked: TrackedRun,
    output: Path,
    continued: Checkpoint | None,
) -> PipelineResult:
    """Fits the model of a checkpoint, evaluates the best checkpoint and logs it."""
    device = resolve_device(config.compute.device)
    name, lineage = start.description["model"]["name"], _lineage(start, ancestor)
    parameters = {**_inherited_parameters(ancestor), **logged_parameters(config)}
    saving = config.training.checkpoint_every
    with CheckpointUploader(tracked, output / "checkpoints", every=saving) as uploader:
        tags = {"model": name, "pretrain_run_id": ancestor.run_id, "lineage": ",".join(lineage)}
        log_start(tracked, output, config, inputs, device=device, parameters=parameters, tags=tags)
        note = _lineage_note(ancestor, lineage, tracked)
        tracked.describe(note)

        with training_ranks(tracked, output, config, digests, device) as ranks:
            trainer, validation = _trainer(
                config,
                inputs,
                start,
                lineage,
                ranks,
                device,
                callbacks=run_callbacks(tracked, uploader),
                checkpoints=uploader.folder,
            )
            fit(trainer, tracked, continued)

        metrics = evaluate_best(
            tracked,
            output,
            inputs,
            validation,
            trainer,
            mode=MODE,
            model=name,
            parameters=parameters,
            note=note,
        )
        metrics = log_best_model(
            tracked, output, inputs, metrics, trainer.result, model=name, parameters=parameters
        )
    return trained(tracked, output, metrics)


def _follow(
    config: FinetuneConfig, inputs: SplitInputs, ancestor: RunInfo, start: Checkpoint, group: ProcessGroup
) -> None:
    """Takes part in the training as another rank, with the weights of the first."""
    device = resolve_device(config.compute.device)
    ranks, lineage = group.on(device), _lineage(start, ancestor)
    _trainer(config, inputs, start, lineage, ranks, device, callbacks=[Interruption()])[0].run()


def _trainer(
    config: FinetuneConfig,
    inputs: SplitInputs,
    start: Checkpoint,
    lineage: tuple[str, ...],
    ranks: Ranks,
    device: torch.device,
    *,
    callbacks: Sequence[Callback],
    checkpoints: Path = Path(),
) -> tuple[Trainer, PairData]:
    """The trainer of the ancestor's model, and the validation pairs that it measures on."""
    described = start.description["model"]
    seed_everything(config.compute.seed, deterministic=config.compute.deterministic)
    model = model_from_checkpoint(start, torch.device("cpu"))
    model.temperature = 1.0  # the ancestor's was fitted on other pairs
    if config.warm_start.freeze == "encoder":
        model.freeze_encoder()
    model = model.to(device)
    if ranks.folder:
        inputs.share(ranks.folder)
    train, validation = (
        with_static_features(inputs.pair_data(split, model.GRANULARITY).to(device), model)
        for split in ("train", "validation")
    )
    trainer = Trainer(
        model,
        config.training,
        scheduler=config.scheduler,
        amp=config.compute.amp,
        task=pair_task(config, train, validation, folder=ranks.folder),
        checkpoints=checkpoints,
        description=describe_pair_model(
            MODE,
            config,
            inputs,
            model=described["name"],
            hyperparameters=described["hyperparameters"],
            lineage=lineage,
        ),
        callbacks=callbacks,
        warm_start=lambda: model.shrink(config.warm_start.shrink, ProteinIterator(train.features)),
        ranks=ranks,
    )
    return trainer, validation


def _lineage(start: Checkpoint, ancestor: RunInfo) -> tuple[str, ...]:
    return (*start.description.get("lineage", ()), ancestor.run_id)


def _inherited_parameters(ancestor: RunInfo) -> dict[str, str]:
    """Architecture and embedding parameters of the ancestor, for comparisons in the UI."""
    inherited = ("model.", "embedding.embedder", "embedding.max_length", "embedding.truncation",
                 "embedding.embedding_dtype")  # fmt: skip
    return {name: value for name, value in ancestor.parameters.items() if name.startswith(inherited)}


def _lineage_note(ancestor: RunInfo, lineage: tuple[str, ...], tracked: TrackedRun) -> str:
    first = tracked.link_to(ancestor.run_id, ancestor.name, ancestor.experiment_id)
    chain = " → ".join(tracked.link_to(run_id, run_id[:8]) for run_id in lineage)
    return f"Finetuned from {first}.\n\nLineage: {chain} → this run"
