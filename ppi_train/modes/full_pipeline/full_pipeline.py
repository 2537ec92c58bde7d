"""The `full_pipeline` mode, also called `main`: all stages as nested runs.

The stages are prepare, embed, pretrain, finetune, evaluate and promote.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ppi_train.config.groups import ModeConfig
from ppi_train.config.loading import logged_parameters
from ppi_train.data.benchmarks.download import NotInMirrorError
from ppi_train.errors import ConfigError
from ppi_train.modes import embed, prepare_data, promote
from ppi_train.modes.eval_only import evaluate
from ppi_train.modes.eval_only.references import reference_digests
from ppi_train.modes.execute import PipelineResult
from ppi_train.modes.full_pipeline.stages import Stages
from ppi_train.modes.train.finetune import finetuning_job
from ppi_train.modes.train.train_only import training_job
from ppi_train.modes.train_embedder import embedder_job
from ppi_train.runs.configs import (
    EmbedConfig,
    EvalConfig,
    FinetuneConfig,
    PipelineConfig,
    PrepareDataConfig,
    PromoteConfig,
    TrainConfig,
    TrainEmbedderConfig,
)
from ppi_train.runs.datasets import DEFAULT_DATASET, prepare
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=ModeConfig)


def run(config: PipelineConfig, tracked: TrackedRun) -> PipelineResult:
    """Runs the stages in order, reusing finished ones of earlier runs.

    A stage is reused if its inputs are the same.

    Raises:
        UserError: the config of a stage is invalid, or a stage failed with a user error.
    """
    if not (config.data.dataset or config.pairs.train_pairs):
        config = config.replace(dataset=DEFAULT_DATASET)
    _check_stages(config)
    label = config.data.dataset or Path(config.pairs.train_pairs or "").stem
    tracked.identify(model=config.model.model, dataset=label)
    tracked.log_parameters(logged_parameters(config))
    stages = Stages(tracked, reuse=config.stages.reuse)
    if config.data.dataset:
        stages.run("prepare", "prepare_data", preparation_config(config), prepare_data.run)
    if config.trains_embedder:
        trained = stages.train("train_embedder", embedder_job(embedder_config(config)))
        config = config.replace(embedder_run_id=trained)
    if not config.cache.embeddings:
        wanted = part_of(config, EmbedConfig)
        stages.run("embed", "embed", wanted, embed.run, inputs=embed.inputs_of(wanted))
    trained = stages.train("pretrain", training_job(part_of(config, TrainConfig)))
    if config.finetune.finetunes:
        trained = stages.train("finetune", finetuning_job(finetune_config(config, trained)))
    scoring = eval_config(config, trained)
    inputs = evaluate.inputs_of(scoring)
    stages.run("evaluate", "eval_only", scoring, evaluate.run, inputs=inputs)
    exit_code = 0
    if config.registry.registered_model:
        result = stages.always("promote", "promote", promote_config(config, scoring), promote.run)
        exit_code = result.exit_code
        if exit_code:
            tracked.fail(f"not promoted: {result.outputs['why']}")
    logger.info("stages: %s", stages.summary)
    return PipelineResult(
        run_id=tracked.run_id, exit_code=exit_code, metrics=stages.metrics, outputs=stages.run_ids
    )


def part_of(config: ModeConfig, schema: type[C], **changes: object) -> C:
    """The config of a stage: the parameters that it shares with another config, with changes."""
    known = schema().values
    shared = {name: value for name, value in config.values.items() if name in known}
    return schema.of(**(shared | changes))


def preparation_config(config: PipelineConfig) -> PrepareDataConfig:
    """The config that prepares all splits that are available.

    It leaves out the test split if the mirror does not have it, unless the config asks for `split=test`.
    """
    everything = part_of(config, PrepareDataConfig)
    if config.test.split == "test":
        return everything
    try:
        prepare(everything.data, ("test",))
    except NotInMirrorError as error:
        logger.warning("the mirror does not hold the test files of %s: %s", config.data.dataset, error.where)
        return everything.replace(splits=("train", "validation"))
    return everything


def embedder_config(config: PipelineConfig) -> TrainEmbedderConfig:
    """The config that trains an embedder on the sequences of the pairs."""
    shared = ("dataset", "data_dir", "mirror", "data_seed", "fasta", "exclude_fasta", "checkpoint_every",
              "device", "deterministic", "seed", "output_dir")  # fmt: skip
    values = config.values
    return TrainEmbedderConfig.of(
        **{name: values[name] for name in shared},
        exclude_pairs=config.exclude.exclude_pairs or config.test.test_pairs,
        hidden_dim=config.language.lm_hidden_dim,
        epochs=config.language.lm_epochs,
        learning_rate=config.language.lm_learning_rate,
        amp=config.language.lm_amp,
    )


def finetune_config(config: PipelineConfig, pretrain_run_id: str) -> FinetuneConfig:
    stage = config.finetune
    return part_of(
        config,
        FinetuneConfig,
        pretrain_run_id=pretrain_run_id,
        dataset=stage.finetune_dataset,
        train_pairs=stage.finetune_train_pairs,
        val_pairs=stage.finetune_val_pairs,
        fasta=stage.finetune_fasta,
        embeddings=stage.finetune_embeddings,
        epochs=stage.finetune_epochs,
        learning_rate=stage.finetune_learning_rate,
    )


def eval_config(config: PipelineConfig, run_id: str) -> EvalConfig:
    """The config that evaluates the last training stage.

    It scores the data set of that stage, unless test pairs are given.
    """
    stage, cache = config.finetune, config.cache
    dataset, fasta, embeddings = config.data.dataset, cache.fasta, cache.embeddings
    if stage.finetunes:
        dataset, fasta = stage.finetune_dataset, stage.finetune_fasta
        embeddings = stage.finetune_embeddings
    return part_of(
        config,
        EvalConfig,
        run_id=run_id,
        dataset=None if config.test.test_pairs else dataset,
        fasta=fasta,
        embeddings=embeddings,
        batch_size=8192,
    )


def promote_config(config: PipelineConfig, scoring: EvalConfig) -> PromoteConfig:
    """The config that promotes the model that `scoring` evaluates."""
    resamples = max(scoring.measure.bootstrap_resamples, 100)
    wanted = part_of(scoring, PromoteConfig, bootstrap_resamples=resamples)
    return replace(wanted, registry=config.registry, promotion=config.promotion)


def _check_stages(config: PipelineConfig) -> None:
    """Checks the configs of later stages before the first stage starts."""
    scoring = eval_config(config, "pending")
    stages: list[ModeConfig] = [scoring]
    if config.finetune.finetunes:
        stages.append(finetune_config(config, "pending"))
    problems = [problem for stage in stages for problem in stage.problems()]
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in dict.fromkeys(problems))
        raise ConfigError(f"some stages cannot be run with this configuration:\n{lines}")
    reference_digests(scoring.network)  # raises an error for a missing file
