"""What all training modes share until the last epoch: inputs, start and fit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

from ppi_train.checkpoints import Checkpoint
from ppi_train.config.groups import ModeConfig
from ppi_train.config.loading import config_values
from ppi_train.config.options import DatasetOptions, TrainPairsOptions
from ppi_train.embeddings.cache.reader import describe_cache
from ppi_train.embeddings.options import CacheOptions
from ppi_train.evaluation.pair_metrics import area_metrics, checked_scores
from ppi_train.evaluation.ranking import Ranking
from ppi_train.evaluation.uncertainty import fitted_temperature
from ppi_train.features import PairData
from ppi_train.models.device import describe_device
from ppi_train.modes.base import PipelineResult
from ppi_train.runs.config import Resumable
from ppi_train.runs.configs import PairTrainingConfig
from ppi_train.runs.datasets import DEFAULT_DATASET, prepare
from ppi_train.runs.embedder import EmbeddingSettings
from ppi_train.runs.inputs import (
    SplitFiles,
    SplitInputs,
    check_repeated,
    drop_or_refuse_missing,
    names_by_source,
    open_cache,
    proteins_to_embed,
    read_tables,
    refuse_one_class,
    refuse_other_names,
)
from ppi_train.runs.labels import data_label
from ppi_train.runs.lineage import code_version
from ppi_train.runs.training_pairs import PROTEINS_TAG
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.runs import RunInfo
from ppi_train.training.callbacks import Callback, CheckpointUploader, MetricLogger, ProgressBar
from ppi_train.training.pair_task import PairTask
from ppi_train.training.ranks import ProcessGroup
from ppi_train.training.signals import Interruption
from ppi_train.training.trainer import Trainer, TrainResult, without_epoch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """A training run before it starts: complete config, inputs read.

    Attributes:
        mode: The run mode.
        config: The config with every default filled in, as the run and its checkpoints record it.
        digests: Digests of all inputs except config and code, by name.
        recorded: Digests of the data as the run records them, by split; those of the cache as in
            `EmbeddingCache.digests`.
        train: Trains in a tracked run, whose folder on this machine this process has locked. The checkpoint
            is `last` of an interrupted run of the same job, with its training state; None: from the start.
        follow: Takes part in the training as another rank than the first.
    """

    mode: str
    config: Resumable
    digests: Mapping[str, str]
    recorded: Mapping[str, str]
    train: Callable[[TrackedRun, Path, Checkpoint | None], PipelineResult]
    follow: Callable[[ProcessGroup], None]


def training_inputs(
    data: DatasetOptions,
    pairs: TrainPairsOptions,
    cache_options: CacheOptions,
    settings: EmbeddingSettings,
    wanted: Mapping[str, object],
) -> SplitInputs:
    """Training and validation pairs, with embeddings of their proteins.

    Args:
        data, pairs: The data set, or the tables in its place.
        cache_options: Where sequences and embeddings come from.
        settings: How sequences are embedded, if no cache is given.
        wanted: Part of the recipe that the cache must have; see `open_cache`.

    Raises:
        DataError: a table is wrong, has one class only, or all validation pairs are training pairs.
        CacheError: see `open_cache`; proteins are missing.
    """
    files, name = _training_files(data, pairs, cache_options)
    tables = read_tables(files)
    refuse_one_class(tables)
    fastas = [source.fasta for source in files.values() if source.fasta]
    if cache_options.embeddings is None:
        refuse_other_names(names_by_source(tables), fastas, missing=cache_options.missing)
    cache = open_cache(
        cache_options.embeddings,
        fastas,
        settings,
        needed=proteins_to_embed(files, tables),
        data_dir=Path(data.data_dir),
        wanted=wanted,
        memory_mb=cache_options.cache_memory_mb,
    )
    fasta = fastas[0] if fastas else None
    inputs = drop_or_refuse_missing(name, tables, cache, missing=cache_options.missing, fasta=fasta)
    refuse_one_class(inputs.tables)
    train, validation = inputs.tables["train"], inputs.tables["validation"]
    check_repeated(train, validation, cache.sequence_digests([*train.proteins, *validation.proteins]))
    return inputs


def _training_files(
    data: DatasetOptions, pairs: TrainPairsOptions, cache: CacheOptions
) -> tuple[dict[str, SplitFiles], str]:
    if pairs.train_pairs and pairs.val_pairs:
        fasta = Path(cache.fasta) if cache.fasta else None
        own = {"train": Path(pairs.train_pairs), "validation": Path(pairs.val_pairs)}
        files = {split: SplitFiles(pairs=path, fasta=fasta) for split, path in own.items()}
        return files, data_label(pairs.train_pairs)
    dataset = prepare(data, ("train", "validation"))
    files = {
        split: SplitFiles(
            pairs=source.pairs, fasta=None if cache.embeddings else source.fasta, embed_all=True
        )
        for split, source in dataset.splits.items()
    }
    return files, data.dataset or DEFAULT_DATASET


def recorded_digests(inputs: SplitInputs) -> dict[str, str]:
    """Digests of pairs and embeddings, as the run records them."""
    splits = {split: table.digest[:36] for split, table in inputs.tables.items()}
    return {**splits, **inputs.cache.digests}


def log_start(
    tracked: TrackedRun,
    output: Path,
    config: PairTrainingConfig,
    inputs: SplitInputs,
    *,
    device: torch.device,
    parameters: Mapping[str, str],
    tags: Mapping[str, str],
) -> None:
    """Logs what a training of a pair model starts from.

    Args:
        parameters: The parameters to log.
        tags: Tags of the run in addition to those of the device, the code and the inputs.
    """
    now = {"device": describe_device(device), "code_version": code_version()}
    if tracked.continues:
        _warn_of_changes(tracked.continues, now)
    else:
        tracked.identify(**tags, **now, **inputs.tags)
        tracked.log_parameters(parameters)
    if not (tracked.continues and tracked.continues.datasets):
        inputs.log(tracked)
    log_config(tracked, output, config)
    proteins = inputs.write_pairs(output / "pairs")
    tracked.log_folder(output / "pairs", "pairs")
    tracked.set_tags({PROTEINS_TAG: proteins})
    if inputs.dropped:
        inputs.write_dropped(output / "dropped")
        tracked.log_folder(output / "dropped", "dropped")
    tracked.flush()  # from here on a run that is killed can be continued
    for split, table in inputs.tables.items():
        logger.info("%s: %s pairs of %s proteins", split, f"{len(table):,}", f"{len(table.proteins):,}")


def _warn_of_changes(run: RunInfo, now: Mapping[str, str]) -> None:
    """Warns if the device or the code changed since the run started.

    A continued run is bit-identical only with the same code on the same kind of device.
    """
    for name, value in now.items():
        before = run.tags.get(f"ppi.{name}")
        if before not in (value, None):
            logger.warning(
                "%s is now %s and was %s: the last digits of the results may differ", name, value, before
            )


def log_config(tracked: TrackedRun, output: Path, config: ModeConfig) -> None:
    """Writes the config as YAML and logs the file."""
    file = output / "config.yaml"
    file.write_text(yaml.safe_dump(config_values(config), sort_keys=False))
    tracked.log_file(file)


def describe_pair_model(
    mode: str,
    config: PairTrainingConfig,
    inputs: SplitInputs,
    *,
    model: str,
    hyperparameters: Mapping[str, object],
    lineage: tuple[str, ...] = (),
) -> dict[str, object]:
    """What checkpoints record of a pair model and its data, as plain JSON."""
    return {
        "mode": mode,
        "model": {
            "name": model,
            "input_dim": inputs.cache.spec.dimension,
            "hyperparameters": dict(hyperparameters),
        },
        "embedding": describe_cache(inputs.cache),
        "config": config_values(config),
        "lineage": list(lineage),
    }


def pair_task(
    config: PairTrainingConfig, train: PairData, validation: PairData, *, folder: Path | None = None
) -> PairTask:
    """The task of a pair model, as the config specifies; see `PairTask`."""
    batch_size = config.sampling.batch_size
    assert batch_size is not None  # the job has filled in the model's own
    return PairTask(
        config.loss,
        seed=config.compute.seed,
        train=train,
        validation=validation,
        ranking_metrics=validation_metrics,
        batch_size=batch_size,
        share_proteins=config.sampling.sampling == "shared",
        fresh_negatives=config.sampling.fresh_negatives,
        blocks=config.sampling.batch_order == "blocks",
        folder=folder,
    )


def validation_metrics(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Validation metrics of an epoch.

    `auroc`, `auprc`, `auprc_1to100`, the fitted `temperature` and the `prevalence`.
    """
    fitted = {"temperature": fitted_temperature(logits, labels), "prevalence": float(labels.mean())}
    return area_metrics(Ranking.of(*checked_scores(logits, labels))) | fitted


def run_callbacks(tracked: TrackedRun, uploader: CheckpointUploader) -> list[Callback]:
    """The callbacks of every tracked training."""
    return [uploader, MetricLogger(tracked.log_metrics), ProgressBar(), Interruption()]


def fit(trainer: Trainer, tracked: TrackedRun, continued: Checkpoint | None) -> TrainResult:
    """Trains from the start, or from the checkpoint of an interrupted run."""
    if continued:
        assert continued.training_state is not None
        trainer.continue_from(continued.weights, continued.training_state)
        for entry in trainer.result.history:
            # The interrupted process may not have logged some; those already logged are skipped.
            tracked.log_metrics(without_epoch(entry), int(entry["epoch"]))
        where = f"{trainer.task.round_name} {trainer.epoch + 1}"
        logger.info("continuing at step %d, in %s", trainer.step, where)
    return trainer.run()
