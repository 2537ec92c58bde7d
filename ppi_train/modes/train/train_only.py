"""The `train_only` mode, also named `pretrain_only`: trains from random weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from ppi_train.checkpoints import Checkpoint, new_model
from ppi_train.config.loading import logged_parameters
from ppi_train.embeddings.options import CacheOptions, EmbedderOptions
from ppi_train.features import PairData, ProteinIterator, with_static_features
from ppi_train.models.device import check_model_fits, resolve_amp, resolve_device, seed_everything
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
from ppi_train.runs.configs import TrainConfig
from ppi_train.runs.embedder import EmbeddingSettings
from ppi_train.runs.inputs import SplitInputs
from ppi_train.runs.own_data import with_own_data
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.run_folder import run_folder
from ppi_train.training.callbacks import Callback, CheckpointUploader
from ppi_train.training.ranks import ProcessGroup, Ranks
from ppi_train.training.signals import Interruption
from ppi_train.training.trainer import Trainer

logger = logging.getLogger(__name__)

MODE = "train_only"


def run(config: TrainConfig, tracked: TrackedRun) -> PipelineResult:
    """Trains a pair model from random weights, evaluates it, and logs it.

    Raises:
        UserError: as raised by the layers below; every checkpoint written by then is uploaded.
    """
    config = with_own_data(config, tracked)
    with run_folder(config.output.output_dir, tracked.run_id) as output:
        return training_job(config).train(tracked, output, None)


def training_job(config: TrainConfig) -> TrainingJob:
    """Reads the inputs and fills in the defaults that depend on them.

    Raises:
        UserError: the data or the embeddings are not what the config says.
    """
    inputs = read_inputs(config)
    completed = completed_config(config, inputs)
    return TrainingJob(
        mode=MODE,
        config=completed,
        digests=inputs.digests,
        recorded=recorded_digests(inputs),
        train=partial(_train, completed, inputs),
        follow=partial(_follow, completed, inputs),
    )


def read_inputs(config: TrainConfig) -> SplitInputs:
    """The pairs of the config, with embeddings of their proteins, made if they are not there.

    Raises:
        UserError: the data or the embeddings are not what the config says.
    """
    settings = EmbeddingSettings.of_options(config.embedder, device=config.compute.device)
    return training_inputs(
        config.data, config.pairs, config.cache, settings, _required_recipe(config.embedder, config.cache)
    )


def completed_config(config: TrainConfig, inputs: SplitInputs) -> TrainConfig:
    """The config with the defaults that depend on the inputs and the model."""
    spec, factory, embedder = inputs.cache.spec, config.model.factory, config.embedder
    return config.replace(
        dataset=None if config.pairs.train_pairs else inputs.name,
        # A cache given by the user may come from an embedder that only they have.
        embedder=embedder.embedder if config.cache.embeddings else str(spec.embedder["name"]),
        embedder_precision=embedder.embedder_precision if config.cache.embeddings else spec.precision,
        max_length=spec.max_length,
        truncation=spec.truncation,
        embedding_dtype=spec.dtype,
        amp=resolve_amp(config.compute.amp, config.compute.device, gains=factory.GAINS_BY_BF16),
        **batches_of(config, config.sampling.batch_size or factory.BATCH_SIZE),
        **config.model.hyperparameters,
    )


def _train(
    config: TrainConfig,
    inputs: SplitInputs,
    tracked: TrackedRun,
    output: Path,
    continued: Checkpoint | None,
) -> PipelineResult:
    """Builds the model, fits it, evaluates the best checkpoint and logs it."""
    device = resolve_device(config.compute.device)
    name = config.model.model
    parameters = logged_parameters(config)
    saving = config.training.checkpoint_every
    with CheckpointUploader(tracked, output / "checkpoints", every=saving) as uploader:
        tags = {"model": name}
        log_start(tracked, output, config, inputs, device=device, parameters=parameters, tags=tags)

        with training_ranks(tracked, output, config, inputs.digests, device) as ranks:
            trainer, validation = make_trainer(
                config,
                inputs,
                ranks,
                device,
                callbacks=run_callbacks(tracked, uploader),
                checkpoints=uploader.folder,
                fits_statistics=not continued,
            )
            if not continued:
                _warn_of_single_vectors(name, str(trainer.model.GRANULARITY), inputs.cache.spec.granularity)
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
        )
        metrics = log_best_model(
            tracked, output, inputs, metrics, trainer.result, model=name, parameters=parameters
        )
    return trained(tracked, output, metrics)


def _warn_of_single_vectors(model: str, read: str, stored: str) -> None:
    if read == "residue" and stored == "protein":
        logger.warning(
            "%s reads residues, and these embeddings have one vector for each protein, which it takes for a "
            "single residue: granularity=residue has more to learn from, if the embedder gives it; otherwise "
            "model=pooled_mlp is made for single vectors, and faster",
            model,
        )


def _follow(config: TrainConfig, inputs: SplitInputs, group: ProcessGroup) -> None:
    """Takes part in the training as another rank, with the weights of the first."""
    device = resolve_device(config.compute.device)
    ranks = group.on(device)
    make_trainer(config, inputs, ranks, device, callbacks=[Interruption()], fits_statistics=False)[0].run()


def make_trainer(
    config: TrainConfig,
    inputs: SplitInputs,
    ranks: Ranks,
    device: torch.device,
    *,
    callbacks: Sequence[Callback],
    fits_statistics: bool,
    checkpoints: Path = Path(),
) -> tuple[Trainer, PairData]:
    """The trainer of a new model, and the validation pairs that it measures on."""
    name, hyperparameters = config.model.model, config.model.hyperparameters
    build = partial(new_model, name, inputs.cache.spec.dimension, hyperparameters)
    check_model_fits(build, device)
    seed_everything(config.compute.seed, deterministic=config.compute.deterministic)
    model = build().to(device)
    if ranks.folder:
        inputs.share(ranks.folder)
    train = inputs.pair_data("train", model.GRANULARITY).to(device)
    validation = inputs.pair_data("validation", model.GRANULARITY).to(device)
    if fits_statistics:
        model.fit_input_statistics(ProteinIterator(train.features))
    train, validation = with_static_features(train, model), with_static_features(validation, model)
    trainer = Trainer(
        model,
        config.training,
        scheduler=config.scheduler,
        amp=config.compute.amp,
        task=pair_task(config, train, validation, folder=ranks.folder),
        checkpoints=checkpoints,
        description=describe_pair_model(MODE, config, inputs, model=name, hyperparameters=hyperparameters),
        callbacks=callbacks,
        ranks=ranks,
    )
    return trainer, validation


def _required_recipe(embedder: EmbedderOptions, cache: CacheOptions) -> dict[str, object]:
    """Part of the recipe that the cache must have.

    For a cache given by the user, this is only what the user has set.
    """
    asked = {"max_length": embedder.max_length, "truncation": embedder.truncation} if cache.embeddings else {}
    wanted = {key: value for key, value in asked.items() if value is not None}
    return {"embedder_name": embedder.embedder, **wanted}
