"""`eval_only`: score a test set with the best checkpoint of a run, named by its run ID."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ppi_train.config.loading import load_config, logged_parameters
from ppi_train.config.schema import EvalConfig, TrainConfig
from ppi_train.data.download import NotInMirrorError
from ppi_train.errors import ConfigError
from ppi_train.evaluation.bootstrap import bootstrap_intervals
from ppi_train.evaluation.pair_metrics import pair_metrics, sigmoid
from ppi_train.pipelines.embed import EmbeddingSettings
from ppi_train.pipelines.evaluation_output import log_evaluation
from ppi_train.pipelines.execute import PipelineResult
from ppi_train.pipelines.inputs import (
    Inputs,
    SplitFiles,
    open_cache,
    read_tables,
    settings_of_recipe,
    settle_missing,
)
from ppi_train.pipelines.models import model_from_checkpoint
from ppi_train.pipelines.prepare_data import DEFAULT_DATASET, prepare
from ppi_train.tracking.lookup import download_checkpoint, find_run, logged_model_of
from ppi_train.tracking.run import TrackedRun
from ppi_train.training.checkpoint import Checkpoint, read_checkpoint
from ppi_train.training.device import resolve_device, seed_everything
from ppi_train.training.scoring import score_pairs

logger = logging.getLogger(__name__)

_METRIC_PREFIX = {"train": "train", "validation": "val", "test": "test"}


def run(config: EvalConfig, tracked: TrackedRun) -> PipelineResult:
    """Scores a split and logs metrics with their intervals, figures and predictions.

    Raises:
        TrackingError: no such run.
        CheckpointError: the run has no whole checkpoint.
        CacheError: the embeddings are not of the kind that the model was trained on.
    """
    assert config.run_id is not None  # the schema requires it
    trained = find_run(config.run_id)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = read_checkpoint(download_checkpoint(trained, "best", Path(folder)))
    trained_config, _ = load_config(TrainConfig, checkpoint.description["config"])
    split, inputs = _evaluation_inputs(config, trained_config, checkpoint)
    model_name = checkpoint.description["model"]["name"]
    tracked.identify(model=model_name, evaluated_run_id=config.run_id, split=split, **inputs.tags)
    tracked.log_parameters(
        logged_parameters(replace(config, dataset=None if config.test_pairs else inputs.name, split=split))
    )
    inputs.log(tracked)
    seed_everything(config.seed, deterministic=config.deterministic)
    logits, labels = _score(config, checkpoint, inputs, split)
    metrics = _measure(config, logits, labels, _METRIC_PREFIX[split])
    tracked.log_metrics(metrics, model_id=logged_model_of(trained))
    output = Path(config.output_dir) / tracked.run_id
    title = f"{model_name} on {inputs.name}, {split}"
    log_evaluation(inputs.tables[split], logits, tracked, output, title=title, split=split)
    for name in ("auroc", "auprc"):
        key = f"{_METRIC_PREFIX[split]}/{name}"
        logger.info("%s %s%s", key, f"{metrics[key]:.4f}", _interval_text(metrics, key))
    return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs={"predictions": str(output)})


def _score(
    config: EvalConfig, checkpoint: Checkpoint, inputs: Inputs, split: str
) -> tuple[np.ndarray, np.ndarray]:
    device = resolve_device(config.device)
    model = model_from_checkpoint(checkpoint, device)
    data = inputs.pair_data(split).to(device)
    logits = score_pairs(model, data, batch_size=config.batch_size).cpu().numpy()
    return logits, data.labels.cpu().numpy().astype(np.int8)


def _measure(config: EvalConfig, logits: np.ndarray, labels: np.ndarray, prefix: str) -> dict[str, float]:
    metrics = {f"{prefix}/{name}": one for name, one in pair_metrics(logits, labels, are_logits=True).items()}
    if config.bootstrap_resamples:
        intervals = bootstrap_intervals(
            sigmoid(logits), labels, resamples=config.bootstrap_resamples, seed=config.seed
        )
        for name, (low, high) in intervals.items():
            metrics |= {f"{prefix}/{name}_ci_low": low, f"{prefix}/{name}_ci_high": high}
    return metrics


def _interval_text(metrics: dict[str, float], key: str) -> str:
    if f"{key}_ci_low" not in metrics:
        return ""
    return f" (95% interval {metrics[f'{key}_ci_low']:.4f} to {metrics[f'{key}_ci_high']:.4f})"


def _evaluation_inputs(
    config: EvalConfig, trained: TrainConfig, checkpoint: Checkpoint
) -> tuple[str, Inputs]:
    """The pairs to score, and embeddings made just as those that the model was trained on."""
    split, name, files = _evaluation_files(config, trained)
    tables = read_tables({split: files})
    recipe: dict[str, Any] = checkpoint.description["embedding"]["recipe"]
    cache = open_cache(
        config.embeddings or (trained.embeddings if files.fasta is None else None),
        [files.fasta] if files.fasta else [],
        settings_of_recipe(EmbeddingSettings(dtype=trained.embedding_dtype), recipe),
        data_dir=Path(config.data_dir),
        wanted=recipe,
    )
    return split, settle_missing(name, tables, cache, missing=config.missing, fasta=files.fasta)


def _evaluation_files(config: EvalConfig, trained: TrainConfig) -> tuple[str, str, SplitFiles]:
    fasta = Path(config.fasta) if config.fasta else None
    if config.test_pairs:
        path = Path(config.test_pairs)
        own_fasta = fasta or (Path(trained.fasta) if trained.fasta and not config.embeddings else None)
        return "test", path.stem, SplitFiles(pairs=path, fasta=own_fasta)
    if trained.train_pairs and not config.dataset:
        return _own_split(config, trained, fasta)
    return _dataset_split(config, trained, fasta)


def _own_split(config: EvalConfig, trained: TrainConfig, fasta: Path | None) -> tuple[str, str, SplitFiles]:
    """A split of the user's own tables that the run was trained on."""
    own = {"train": trained.train_pairs, "validation": trained.val_pairs}
    split = "validation" if config.split == "auto" else config.split
    pairs = own.get(split)
    if pairs is None:
        raise ConfigError(
            "the run was trained on tables of your own, which have no test set",
            where=f"run {config.run_id}",
            remedy="give test_pairs, or split=validation",
        )
    if config.split == "auto":
        logger.warning("no test_pairs given: scoring the run's validation pairs %s", pairs)
    own_fasta = fasta or (Path(trained.fasta) if trained.fasta and not config.embeddings else None)
    return split, Path(pairs).stem, SplitFiles(pairs=Path(pairs), fasta=own_fasta)


def _dataset_split(
    config: EvalConfig, trained: TrainConfig, fasta: Path | None
) -> tuple[str, str, SplitFiles]:
    """A split of a data set; `auto` says so when it must take validation for want of the test files."""
    name = config.dataset or trained.dataset or DEFAULT_DATASET
    wanted = replace(config, dataset=name, data_seed=config.data_seed or trained.data_seed)
    split = "test" if config.split == "auto" else config.split
    try:
        dataset = prepare(wanted, (split,))
    except NotInMirrorError as error:
        if config.split != "auto":
            raise
        logger.warning(
            "the mirror does not hold the test files of %s (%s): scoring VALIDATION instead", name, error.what
        )
        split = "validation"
        dataset = prepare(wanted, (split,))
    found = dataset.splits[split]
    return (
        split,
        name,
        SplitFiles(pairs=found.pairs, fasta=None if config.embeddings else fasta or found.fasta),
    )
