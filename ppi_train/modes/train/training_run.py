"""The training run of the modes `train_only` and `finetune_from_pretrain`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import torch
import yaml

from ppi_train.checkpoints import Checkpoint, model_from_checkpoint, new_model, read_checkpoint
from ppi_train.config.loading import config_values, logged_parameters
from ppi_train.config.schema import FinetuneConfig, TrainConfig
from ppi_train.embeddings.cache.reader import describe_cache
from ppi_train.evaluation.pair_metrics import (
    expected_calibration_error,
    pair_metrics,
    ranking_metrics,
    sigmoid,
)
from ppi_train.evaluation.uncertainty import fitted_temperature
from ppi_train.features import PairData, ProteinIterator, with_static_features
from ppi_train.inference.scoring import score_pairs_with_uncertainty
from ppi_train.models.base import PairModel
from ppi_train.models.device import describe_device, resolve_device, seed_everything
from ppi_train.modes.base import PipelineResult
from ppi_train.modes.eval_only.report import log_evaluation
from ppi_train.modes.train.guarded_training import CheckpointUploader, train_and_upload
from ppi_train.runs.inputs import SplitInputs
from ppi_train.runs.lineage import code_version
from ppi_train.serving import SCORER, embedder_checkpoint, input_example, served_requirements
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.runs import RunInfo
from ppi_train.training.pair_task import PairTask
from ppi_train.training.trainer import Trainer, TrainResult

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Ancestor:
    """The run that the initial weights come from.

    `lineage` has the run IDs from the first ancestor to this run.
    """

    run_id: str
    name: str
    experiment_id: str
    digest: str
    lineage: tuple[str, ...]
    checkpoint: Checkpoint


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """The training run of a pair model.

    Attributes:
        mode: `train_only` or `finetune_from_pretrain`.
        config: The config with every default filled in.
        inputs: Pairs of `train` and `validation`, and the cache.
        model: Name of the architecture.
        hyperparameters: Hyper-parameters of the architecture.
        parameters: Parameters to log in addition to those of the config.
        ancestor: The run that the weights come from; None: random weights.
    """

    mode: str
    config: TrainConfig | FinetuneConfig
    inputs: SplitInputs
    model: str
    hyperparameters: Mapping[str, object]
    parameters: Mapping[str, str] = field(default_factory=dict)
    ancestor: Ancestor | None = None

    @property
    def output_dir(self) -> str:
        return self.config.output_dir

    @property
    def digests(self) -> dict[str, str]:
        """Digests of all inputs except config and code, by name."""
        ancestor = {"ancestor": self.ancestor.digest} if self.ancestor else {}
        return {**self.inputs.digests, **ancestor}

    @property
    def recorded(self) -> dict[str, str]:
        """Digests of the data as the run records them."""
        splits = {split: table.digest[:36] for split, table in self.inputs.tables.items()}
        return {**splits, "embeddings": self.inputs.cache.digest}

    def run(
        self, tracked: TrackedRun, output: Path, *, continued: Checkpoint | None = None
    ) -> PipelineResult:
        """Trains as `run_training` does."""
        return run_training(self, tracked, output, continued=continued)

    @property
    def lineage(self) -> tuple[str, ...]:
        return self.ancestor.lineage if self.ancestor else ()

    def description(self) -> dict[str, object]:
        """Metadata of model and data for checkpoints, as plain JSON."""
        return {
            "mode": self.mode,
            "model": {
                "name": self.model,
                "input_dim": self.inputs.cache.spec.dimension,
                "hyperparameters": dict(self.hyperparameters),
            },
            "embedding": describe_cache(self.inputs.cache),
            "config": config_values(self.config),
            "lineage": list(self.lineage),
        }

    def logged_parameters(self) -> dict[str, str]:
        return {**self.parameters, **logged_parameters(self.config)}

    def warm_start(self, model: PairModel, train: PairData) -> Callable[[], None] | None:
        """Function that adapts an ancestor's weights to the new data, if needed."""
        if not isinstance(self.config, FinetuneConfig):
            return None
        shrink = self.config.shrink
        return lambda: model.shrink(shrink, ProteinIterator(train.features))

    def build(self) -> PairModel:
        """Builds the model before the first step, on the CPU.

        The input statistics of a new model are not fitted yet.
        """
        if self.ancestor:
            model = model_from_checkpoint(self.ancestor.checkpoint, torch.device("cpu"))
            model.temperature = 1.0  # the ancestor's was fitted on other pairs
        else:
            model = new_model(self.model, self.inputs.cache.spec.dimension, self.hyperparameters)
        if isinstance(self.config, FinetuneConfig) and self.config.freeze == "encoder":
            model.freeze_encoder()
        return model


def run_training(
    job: TrainingJob, tracked: TrackedRun, output: Path, *, continued: Checkpoint | None = None
) -> PipelineResult:
    """Trains a pair model, and logs checkpoints, metrics and figures.

    Finished checkpoints are also uploaded if training stops with an error.

    Args:
        job: What to train.
        tracked: The run.
        output: Its folder on this machine, locked by this process.
        continued: `last` of an interrupted run of the same job, with its training state.

    Raises:
        UserError: as raised by the layers below; everything finished by then is uploaded.
    """
    config = job.config
    device = resolve_device(config.device)
    with CheckpointUploader(tracked, output / "checkpoints") as upload:
        _log_start(job, tracked, output, device=describe_device(device))
        seed_everything(config.seed, deterministic=config.deterministic)
        model = job.build().to(device)
        train = job.inputs.pair_data("train", model.GRANULARITY).to(device)
        validation = job.inputs.pair_data("validation", model.GRANULARITY).to(device)
        if not (job.ancestor or continued):
            model.fit_input_statistics(ProteinIterator(train.features))
        train, validation = with_static_features(train, model), with_static_features(validation, model)
        trainer = Trainer(
            model,
            config,
            task=PairTask(
                config,
                train=train,
                validation=validation,
                ranking_metrics=validation_metrics,
                batch_size=config.batch_size or model.BATCH_SIZE,
                share_proteins=config.sampling == "shared",
                fresh_negatives=config.fresh_negatives,
            ),
            log=tracked.log_metrics,
            checkpoints=upload.folder,
            description=job.description(),
            keep=upload.keep,
            warm_start=job.warm_start(model, train),
        )
        result = train_and_upload(trainer, upload, tracked, continued)
        metrics = _log_end(job, validation, result, tracked, output)
    return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs={"checkpoints": str(output)})


def validation_metrics(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Validation metrics of an epoch: `auroc`, `auprc` and the fitted `temperature`."""
    return ranking_metrics(logits, labels) | {"temperature": fitted_temperature(logits, labels)}


def _ancestor_tags(job: TrainingJob) -> dict[str, str]:
    if job.ancestor is None:
        return {}
    return {"pretrain_run_id": job.ancestor.run_id, "lineage": ",".join(job.lineage)}


def _log_start(job: TrainingJob, tracked: TrackedRun, output: Path, *, device: str) -> None:
    if tracked.continues:
        _warn_of_changes(tracked.continues, device)
    else:
        tags = {"model": job.model, "device": device, "code_version": code_version()}
        tracked.identify(**tags, **_ancestor_tags(job), **job.inputs.tags)
        tracked.log_parameters(job.logged_parameters())
    if not (tracked.continues and tracked.continues.datasets):
        job.inputs.log(tracked)
    config_file = output / "config.yaml"
    config_file.write_text(yaml.safe_dump(config_values(job.config), sort_keys=False))
    tracked.log_file(config_file)
    job.inputs.write_pairs(output / "pairs")
    tracked.log_folder(output / "pairs", "pairs")
    if job.inputs.dropped:
        job.inputs.write_dropped(output / "dropped")
        tracked.log_folder(output / "dropped", "dropped")
    if job.ancestor:
        tracked.describe(_lineage_note(job, tracked))
    for split, table in job.inputs.tables.items():
        logger.info("%s: %s pairs of %s proteins", split, f"{len(table):,}", f"{len(table.proteins):,}")


def _warn_of_changes(run: RunInfo, device: str) -> None:
    """Warns if the device or the code changed since the run started.

    A continued run is bit-identical only with the same code on the same kind of device.
    """
    now = {"ppi.device": device, "ppi.code_version": code_version()}
    for tag, value in now.items():
        if run.tags.get(tag) not in (value, None):
            logger.warning(
                "%s is now %s and was %s: the last digits of the results may differ",
                tag.removeprefix("ppi."), value, run.tags[tag],
            )  # fmt: skip


def _lineage_note(job: TrainingJob, tracked: TrackedRun) -> str:
    assert job.ancestor is not None
    first = tracked.link_to(job.ancestor.run_id, job.ancestor.name, job.ancestor.experiment_id)
    chain = " → ".join(tracked.link_to(run_id, run_id[:8]) for run_id in job.lineage)
    return f"Finetuned from {first}.\n\nLineage: {chain} → this run"


def _log_end(
    job: TrainingJob, validation: PairData, result: TrainResult, tracked: TrackedRun, output: Path
) -> dict[str, float]:
    """Evaluates the best checkpoint on validation, and logs results and model."""
    best = output / "checkpoints" / "best"
    model = model_from_checkpoint(read_checkpoint(best), validation.pairs.device)
    scores = score_pairs_with_uncertainty(model, validation)
    logits, uncertainty = (values.cpu().numpy() for values in scores)
    labels = validation.labels.cpu().numpy().astype(np.int8)
    measured = pair_metrics(logits, labels, are_logits=True)
    as_trained = sigmoid(logits * model.temperature)
    metrics = {
        **{f"val/{name}_best": result.best[f"val/{name}"] for name in ("auroc", "auprc", "loss")},
        "val/temperature_best": model.temperature,
        **{f"val/{name}": value for name, value in measured.items() if name not in ("auroc", "auprc")},
        "val/ece_uncalibrated": expected_calibration_error(as_trained, labels),
        "best_epoch": result.best["epoch"],
        "throughput/training_pairs_per_second": result.units_per_second,
    }
    if result.first_step_at:  # no step was taken if a continued run had only its end left
        metrics["throughput/seconds_to_first_step"] = result.first_step_at - tracked.started_at
        metrics["throughput/startup_seconds"] = result.first_step_at - psutil.Process().create_time()
    log_evaluation(
        job.inputs.tables["validation"],
        logits,
        tracked,
        output,
        title=f"{job.model} on {job.inputs.name}, validation",
        split="validation",
        uncertainty=uncertainty,
        history=result.history,
        best_metric=job.config.early_stopping_metric,
    )
    model_id = tracked.log_model(
        f"{job.model}-{job.inputs.name}",
        best,
        embedder=embedder_checkpoint(job.inputs.cache.spec),
        scorer=SCORER,
        example=input_example(job.inputs.cache.spec, job.inputs.tables["validation"]),
        requirements=served_requirements(job.inputs.cache.spec),
        parameters=job.logged_parameters(),
        tags={"ppi.model": job.model, "ppi.dataset": job.inputs.name},
    )
    metrics["throughput/tracking_seconds"] = tracked.seconds
    metrics["throughput/tracking_blocked_seconds"] = tracked.blocked_seconds
    tracked.log_metrics(metrics, model_id=model_id)
    logger.info(
        "best epoch %d: val AUROC %.4f, val AUPRC %.4f; training %s pairs/s; run %s",
        int(metrics["best_epoch"]), metrics["val/auroc_best"], metrics["val/auprc_best"],
        f"{result.units_per_second:,.0f}", tracked.run_id,
    )  # fmt: skip
    return metrics
