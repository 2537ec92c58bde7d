"""`eval_only`: score a test set with the best checkpoint of a run, named by its run ID."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ppi_train.config.loading import load_config, logged_parameters
from ppi_train.config.options import EvaluatedRunOptions
from ppi_train.config.schema import MODES, EvalConfig, FinetuneConfig, TrainConfig
from ppi_train.data.embedding_cache import EmbeddingCache
from ppi_train.data.fasta import read_fasta
from ppi_train.data.pairs import PairTable, read_pairs
from ppi_train.evaluation.bootstrap import bootstrap_intervals
from ppi_train.evaluation.pair_metrics import pair_metrics, sigmoid
from ppi_train.pipelines.checkpoints import ResolvedCheckpoint, resolve_checkpoint
from ppi_train.pipelines.code_version import code_version
from ppi_train.pipelines.embedding_settings import EmbeddingSettings
from ppi_train.pipelines.evaluated_split import EvaluatedSplit, Trained, evaluated_split
from ppi_train.pipelines.evaluation_output import log_evaluation
from ppi_train.pipelines.execute import PipelineResult
from ppi_train.pipelines.inputs import (
    Inputs,
    open_cache,
    read_tables,
    settle_missing,
)
from ppi_train.pipelines.models import model_from_checkpoint
from ppi_train.tracking.lookup import logged_model_of
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.versions import resolve_model_uri
from ppi_train.training.checkpoint import Checkpoint
from ppi_train.training.device import resolve_device, seed_everything
from ppi_train.training.scoring import score_pairs_with_uncertainty

logger = logging.getLogger(__name__)

METRIC_PREFIX = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class ScoredPairs:
    """A split scored by the best checkpoint of a run.

    `logits` and their standard deviations `uncertainty` are (n,) float32, `labels` (n,) int8.
    """

    model: str
    split: str
    inputs: Inputs
    logits: np.ndarray
    uncertainty: np.ndarray
    labels: np.ndarray

    @property
    def table(self) -> PairTable:
        return self.inputs.tables[self.split]

    def at(self, rows: Sequence[int]) -> ScoredPairs:
        """Scores and labels of some of the pairs."""
        chosen = list(rows)
        return replace(
            self,
            logits=self.logits[chosen],
            uncertainty=self.uncertainty[chosen],
            labels=self.labels[chosen],
        )


def run(config: EvalConfig, tracked: TrackedRun) -> PipelineResult:
    """Scores a split and logs metrics with their intervals, figures and predictions.

    Raises:
        TrackingError: no such run or registered model.
        CheckpointError: the run has no whole checkpoint.
        CacheError: the embeddings are not of the kind that the model was trained on.
    """
    resolved = resolve_candidate(config)
    model_id = logged_model_of(resolved.run)  # while the server is known to answer
    scored = score_run(resolved, config)
    split, inputs = scored.split, scored.inputs
    tracked.identify(
        model=scored.model,
        evaluated_run_id=resolved.run.run_id,
        split=split,
        code_version=code_version(),
        **inputs.tags,
    )
    tracked.log_parameters(
        logged_parameters(replace(config, dataset=None if config.test_pairs else inputs.name, split=split))
    )
    inputs.log(tracked)
    link = tracked.link_to(resolved.run.run_id, resolved.run.name, resolved.run.experiment_id)
    tracked.describe(f"Scores {split} of {inputs.name} with the best checkpoint of {link}.")
    metrics = _measure(config, scored.logits, scored.labels, METRIC_PREFIX[split])
    tracked.log_metrics(metrics, model_id=model_id)
    output = Path(config.output_dir) / tracked.run_id
    title = f"{scored.model} on {inputs.name}, {split}"
    log_evaluation(
        scored.table,
        scored.logits,
        tracked,
        output,
        title=title,
        split=split,
        uncertainty=scored.uncertainty,
    )
    for name in ("auroc", "auprc"):
        key = f"{METRIC_PREFIX[split]}/{name}"
        logger.info("%s %s%s", key, f"{metrics[key]:.4f}", _interval_text(metrics, key))
    return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs={"predictions": str(output)})


def resolve_candidate(config: EvaluatedRunOptions) -> ResolvedCheckpoint:
    """The checkpoint that `run_id` or `model_uri` names."""
    return resolve_checkpoint(candidate_run_id(config))


def candidate_run_id(config: EvaluatedRunOptions) -> str:
    """The run that `run_id` or `model_uri` names."""
    if config.model_uri:
        run_id, _ = resolve_model_uri(config.model_uri)
        return run_id
    assert config.run_id is not None  # the schema requires one of the two
    return config.run_id


def score_run(resolved: ResolvedCheckpoint, config: EvalConfig) -> ScoredPairs:
    """Scores the split that a config names, or that follows from what the run was trained on."""
    return score_split(resolved, config, split_for(resolved, config))


def split_for(resolved: ResolvedCheckpoint, config: EvalConfig) -> EvaluatedSplit:
    """The split that a config names, or that follows from what the run was trained on."""
    return evaluated_split(config, _trained_config(resolved.read()), resolved.run.run_id)


def inputs_of(config: EvalConfig) -> dict[str, str]:
    """Digests of all that an evaluation reads, without reading embeddings."""
    resolved = resolve_candidate(config)
    files = split_for(resolved, config).files
    digests = {"checkpoint": resolved.digest, "pairs": read_pairs(files.pairs).digest}
    if files.fasta:
        digests["fasta"] = read_fasta(files.fasta).digest
    if config.embeddings:
        digests["embeddings"] = EmbeddingCache(config.embeddings).digest
    return digests


def score_split(resolved: ResolvedCheckpoint, config: EvalConfig, split: EvaluatedSplit) -> ScoredPairs:
    """Scores a split with a checkpoint, on embeddings made just as those that it was trained on."""
    checkpoint = resolved.read()
    inputs = _evaluation_inputs(config, split, checkpoint, _trained_config(checkpoint))
    seed_everything(config.seed, deterministic=config.deterministic)
    device = resolve_device(config.device)
    model = model_from_checkpoint(checkpoint, device)
    data = inputs.pair_data(split.split, model.GRANULARITY).to(device)
    scores = score_pairs_with_uncertainty(model, data, batch_size=config.batch_size)
    logits, uncertainty = (one.cpu().numpy() for one in scores)
    return ScoredPairs(
        model=checkpoint.description["model"]["name"],
        split=split.split,
        inputs=inputs,
        logits=logits,
        uncertainty=uncertainty,
        labels=data.labels.cpu().numpy().astype(np.int8),
    )


def _trained_config(checkpoint: Checkpoint) -> Trained:
    schema = MODES[checkpoint.description["mode"]]
    trained, _ = load_config(schema, checkpoint.description["config"])
    assert isinstance(trained, TrainConfig | FinetuneConfig)
    return trained


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
    config: EvalConfig, split: EvaluatedSplit, checkpoint: Checkpoint, trained: Trained
) -> Inputs:
    tables = read_tables({split.split: split.files})
    embedding: dict[str, Any] = checkpoint.description["embedding"]
    recipe = embedding["recipe"]
    fasta = split.files.fasta
    cache = open_cache(
        config.embeddings or (trained.embeddings if fasta is None else None),
        [fasta] if fasta else [],
        EmbeddingSettings.of_recipe(recipe, dtype=embedding["dtype"], device=config.device),
        data_dir=Path(config.data_dir),
        wanted=recipe,
        memory_mb=config.cache_memory_mb,
    )
    return settle_missing(split.name, tables, cache, missing=config.missing, fasta=fasta)
