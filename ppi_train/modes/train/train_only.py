"""The `train_only` mode, also named `pretrain_only`: trains from random weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ppi_train.checkpoints import Checkpoint, new_model
from ppi_train.config.loading import logged_parameters
from ppi_train.embeddings.options import CacheOptions, EmbedderOptions
from ppi_train.features import ProteinIterator, with_static_features
from ppi_train.models.device import check_model_fits, resolve_device, seed_everything
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
from ppi_train.runs.configs import TrainConfig
from ppi_train.runs.embedder import EmbeddingSettings
from ppi_train.runs.inputs import SplitInputs
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.run_folder import run_folder
from ppi_train.training.callbacks import CheckpointUploader
from ppi_train.training.trainer import Trainer

MODE = "train_only"


def run(config: TrainConfig, tracked: TrackedRun) -> PipelineResult:
    """Trains a pair model from random weights, evaluates it, and logs it.

    Raises:
        UserError: as raised by the layers below; every checkpoint written by then is uploaded.
    """
    with run_folder(config.output.output_dir, tracked.run_id) as output:
        return training_job(config).train(tracked, output, None)


def training_job(config: TrainConfig) -> TrainingJob:
    """Reads the inputs and fills in the defaults that depend on them.

    Raises:
        UserError: the data or the embeddings are not what the config says.
    """
    settings = EmbeddingSettings.of_options(config.embedder, device=config.compute.device)
    inputs = training_inputs(
        config.data, config.pairs, config.cache, settings, _required_recipe(config.embedder, config.cache)
    )
    spec = inputs.cache.spec
    completed = config.replace(
        dataset=None if config.pairs.train_pairs else inputs.name,
        # A cache given by the user may come from an embedder that only they have.
        embedder=config.embedder.embedder if config.cache.embeddings else str(spec.embedder["name"]),
        max_length=spec.max_length,
        truncation=spec.truncation,
        embedding_dtype=spec.dtype,
        batch_size=config.sampling.batch_size or config.model.factory.BATCH_SIZE,
        **config.model.hyperparameters,
    )
    return TrainingJob(
        mode=MODE,
        config=completed,
        digests=inputs.digests,
        recorded=recorded_digests(inputs),
        train=partial(_train, completed, inputs),
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
    name, hyperparameters = config.model.model, config.model.hyperparameters
    parameters = logged_parameters(config)
    saving = config.training.checkpoint_every
    with CheckpointUploader(tracked, output / "checkpoints", every=saving) as uploader:
        tags = {"model": name}
        log_start(tracked, output, config, inputs, device=device, parameters=parameters, tags=tags)

        build = partial(new_model, name, inputs.cache.spec.dimension, hyperparameters)
        check_model_fits(build, device)
        seed_everything(config.compute.seed, deterministic=config.compute.deterministic)
        model = build().to(device)
        train = inputs.pair_data("train", model.GRANULARITY).to(device)
        validation = inputs.pair_data("validation", model.GRANULARITY).to(device)
        if not continued:
            model.fit_input_statistics(ProteinIterator(train.features))
        train, validation = with_static_features(train, model), with_static_features(validation, model)

        trainer = Trainer(
            model,
            config.training,
            scheduler=config.scheduler,
            amp=config.compute.amp,
            task=pair_task(config, train, validation),
            checkpoints=uploader.folder,
            description=describe_pair_model(
                MODE, config, inputs, model=name, hyperparameters=hyperparameters
            ),
            callbacks=run_callbacks(tracked, uploader),
        )
        fit(trainer, tracked, continued)

        metrics = evaluate_best(tracked, output, inputs, validation, trainer, model=name)
        metrics = log_best_model(tracked, output, inputs, metrics, model=name, parameters=parameters)
    return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs={"checkpoints": str(output)})


def _required_recipe(embedder: EmbedderOptions, cache: CacheOptions) -> dict[str, object]:
    """Part of the recipe that the cache must have.

    For a cache given by the user, this is only what the user has set.
    """
    asked = {"max_length": embedder.max_length, "truncation": embedder.truncation} if cache.embeddings else {}
    wanted = {key: value for key, value in asked.items() if value is not None}
    return {"embedder_name": embedder.embedder, **wanted}
