"""The `full_pipeline` mode, also called `main`: all stages as nested runs.

The stages are prepare, embed, pretrain, finetune, evaluate and promote. Finished stages of earlier runs are
reused.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from ppi_train.config.groups import ModeConfig
from ppi_train.config.loading import logged_parameters
from ppi_train.config.options import SPLIT_NAMES
from ppi_train.data.benchmarks import NotInMirrorError
from ppi_train.errors import ConfigError
from ppi_train.modes.base import PipelineResult, prediction_with, promotion_of
from ppi_train.modes.embed import inputs_of as embedding_inputs
from ppi_train.modes.embed import run as embed
from ppi_train.modes.eval_only import inputs_of as evaluation_inputs
from ppi_train.modes.eval_only import run as evaluate
from ppi_train.modes.eval_only.references import reference_digests
from ppi_train.modes.faults import reported_faults
from ppi_train.modes.prepare_data import run as prepare_data
from ppi_train.modes.promote import run as promote
from ppi_train.modes.train.finetune import finetuning_job
from ppi_train.modes.train.resume import continue_training, folder_left
from ppi_train.modes.train.train_only import training_job
from ppi_train.modes.train.training_run import TrainingJob
from ppi_train.modes.train_embedder import embedder_job
from ppi_train.runs.config import part_of, values_of_result
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
from ppi_train.runs.labels import data_label
from ppi_train.runs.lineage import code_version
from ppi_train.runs.own_data import with_own_data
from ppi_train.runs.recipe import with_best_recipe
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.run_folder import run_folder, was_here
from ppi_train.tracking.runs import RunInfo, find_tagged

logger = logging.getLogger(__name__)

FINGERPRINT = "ppi.fingerprint"
_NAMED = frozenset({"run_id", "pretrain_run_id"})

C = TypeVar("C", bound=ModeConfig)


def fingerprint(mode: str, config: ModeConfig, inputs: Mapping[str, object]) -> str:
    """sha256 over everything that determines a stage's result.

    This is the mode, the config, the digests of the inputs and the code version.
    """
    values = {name: value for name, value in values_of_result(config).items() if name not in _NAMED}
    content = {"mode": mode, "config": values, "inputs": dict(inputs), "code": code_version()}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


class Stages:
    """Runs stages as children of a parent run, and records them.

    Args:
        parent: The run of the pipeline.
        reuse: Whether finished or interrupted stages of earlier runs are reused.
    """

    def __init__(self, parent: TrackedRun, *, reuse: bool) -> None:
        self._parent, self._reuse = parent, reuse
        self._rows: list[tuple[str, str, str]] = []
        self.metrics: dict[str, float] = {}
        self.run_ids: dict[str, str] = {}

    @property
    def summary(self) -> str:
        return ", ".join(f"{name} {how} ({run_id})" for name, how, run_id in self._rows)

    def run(
        self,
        name: str,
        mode: str,
        config: C,
        pipeline: Callable[[C, TrackedRun], PipelineResult],
        *,
        inputs: Mapping[str, object] | None = None,
    ) -> None:
        """Runs a stage, unless a finished one with the same inputs exists."""
        key = fingerprint(mode, config, inputs or {})
        found = self._earlier(key)
        if found and found.status == "FINISHED":
            self._reuse_run(name, found)
            return
        logger.info("stage %s", name)
        with self._child(mode, config) as tracked:
            tracked.set_tags({FINGERPRINT: key})
            self._note(name, "done", pipeline(config, tracked))

    def always(
        self, name: str, mode: str, config: C, pipeline: Callable[[C, TrackedRun], PipelineResult]
    ) -> PipelineResult:
        """Runs a stage whose result depends on more than its inputs."""
        logger.info("stage %s", name)
        with self._child(mode, config) as tracked:
            result = pipeline(config, tracked)
        self._note(name, "done", result)
        return result

    def train(self, name: str, job: TrainingJob) -> str:
        """Starts or continues the training of a job; returns the run ID."""
        key = fingerprint(job.mode, job.config, job.digests)
        found = self._earlier(key)
        if found and found.status == "FINISHED":
            self._reuse_run(name, found)
        elif found and self._can_continue(found, job):
            logger.info("stage %s: continuing %s", name, found)
            self._note(name, "continued", continue_training(found.run_id, job))
        else:
            logger.info("stage %s", name)
            with (
                self._child(job.mode, job.config) as tracked,
                run_folder(job.config.output.output_dir, tracked.run_id) as output,
            ):
                tracked.set_tags({FINGERPRINT: key})
                self._note(name, "done", job.train(tracked, output, None))
        return self.run_ids[name]

    @contextmanager
    def _child(self, mode: str, config: ModeConfig) -> Iterator[TrackedRun]:
        """The run of a stage, which ends with the same message as the mode alone would."""
        with self._parent.child(mode) as tracked, reported_faults(config.values):
            yield tracked

    def _earlier(self, key: str) -> RunInfo | None:
        return find_tagged(self._parent.experiment_id, FINGERPRINT, key) if self._reuse else None

    def _can_continue(self, found: RunInfo, job: TrainingJob) -> bool:
        """Whether the run can be continued from this machine.

        A killed process leaves its run in status RUNNING. Such a run is continued only on the machine where
        it ran.
        """
        here = was_here(job.config.output.output_dir, found.run_id) or folder_left(found) is not None
        return here if found.running else found.checkpoints is not None or here

    def _reuse_run(self, name: str, found: RunInfo) -> None:
        logger.info("stage %s: reuses %s, whose inputs are the same", name, found)
        self._note(name, "reused", PipelineResult(run_id=found.run_id, metrics=found.metrics))

    def _note(self, name: str, how: str, result: PipelineResult) -> None:
        """Records a stage and its main metrics in the parent run."""
        self._rows.append((name, how, result.run_id))
        self.run_ids[name] = result.run_id
        shown = {
            metric: value
            for metric, value in result.metrics.items()
            if metric.startswith(("val/", "test/", "promotion/"))
        }
        self.metrics |= shown
        if shown:
            self._parent.log_metrics(shown)
        self._parent.set_tags({f"ppi.stage.{name}": result.run_id})
        self._parent.describe("\n".join(self._lines()))

    def remark(self, text: str) -> None:
        """Puts a sentence before the stages in the parent's description."""
        self._parent.describe("\n".join([text, "", *self._lines()]))

    def _lines(self) -> list[str]:
        lines = ["| stage | run | |", "| --- | --- | --- |"]
        lines += [
            f"| {stage} | {self._parent.link_to(run_id, run_id[:8])} | {outcome} |"
            for stage, outcome, run_id in self._rows
        ]
        return lines


def run(config: PipelineConfig, tracked: TrackedRun) -> PipelineResult:
    """Runs the stages in order, reusing finished ones of earlier runs.

    A stage is reused if its inputs are the same.

    Raises:
        UserError: the config of a stage is invalid, or a stage failed with a user error.
    """
    if not (config.data.dataset or config.pairs.train_pairs or config.source.network):
        config = config.replace(dataset=DEFAULT_DATASET)
    config = with_best_recipe(config)
    _check_stages(config)
    label = config.data.dataset or data_label(config.source.network or config.pairs.train_pairs or "")
    config = with_own_data(config, tracked)
    tracked.identify(model=config.model.model, dataset=label)
    tracked.log_parameters(logged_parameters(config))
    stages = Stages(tracked, reuse=config.stages.reuse)
    if config.data.dataset:
        stages.run("prepare", "prepare_data", preparation_config(config), prepare_data)
    if config.trains_embedder:
        trained = stages.train("train_embedder", embedder_job(embedder_config(config)))
        config = config.replace(embedder_run_id=trained)
    if not config.cache.embeddings:
        wanted = part_of(config, EmbedConfig)
        stages.run("embed", "embed", wanted, embed, inputs=embedding_inputs(wanted))
    trained = stages.train("pretrain", training_job(part_of(config, TrainConfig)))
    if config.finetune.finetunes:
        trained = stages.train("finetune", finetuning_job(finetune_config(config, trained)))
    scoring = eval_config(config, trained)
    inputs = evaluation_inputs(scoring)
    stages.run("evaluate", "eval_only", scoring, evaluate, inputs=inputs)
    exit_code, promotes = 0, bool(config.registry.registered_model)
    if promotes:
        result = stages.always("promote", "promote", promote_config(config, scoring), promote)
        exit_code = result.exit_code
        stages.remark(f"{result.outputs['verdict'].capitalize()}: {result.outputs['why']}.")
        if exit_code:
            tracked.refuse()
    logger.info("stages: %s", stages.summary)
    return PipelineResult(
        run_id=tracked.run_id,
        exit_code=exit_code,
        metrics=stages.metrics,
        outputs=stages.run_ids,
        then=(prediction_with(f"run_id={trained}"), *(() if promotes else (promotion_of(trained),))),
    )


def preparation_config(config: PipelineConfig) -> PrepareDataConfig:
    """The config that prepares all splits that are available.

    It leaves out the test split if the mirror does not have it, unless the config asks for `split=test`.
    """
    everything = part_of(config, PrepareDataConfig).replace(splits=SPLIT_NAMES)
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
    shared = ("dataset", "data_dir", "mirror", "data_seed", "fasta", "text_fasta", "exclude_fasta",
              "checkpoint_every", "device", "deterministic", "seed", "output_dir", "processes")  # fmt: skip
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
