"""`eval_only`: score a test set with the best checkpoint of a run, named by its run ID."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ppi_train.config.loading import logged_parameters
from ppi_train.config.options import EvaluatedRunOptions
from ppi_train.config.schema import EvalConfig, ScoringConfig
from ppi_train.data.embedding_cache import EmbeddingCache
from ppi_train.data.fasta import read_fasta
from ppi_train.data.pairs import PairTable, read_pairs
from ppi_train.pipelines.checkpoints import ResolvedCheckpoint, resolve_checkpoint
from ppi_train.pipelines.code_version import code_version
from ppi_train.pipelines.evaluated_inputs import evaluation_inputs, trained_config
from ppi_train.pipelines.evaluated_leakage import evaluate_leakage, log_leakage
from ppi_train.pipelines.evaluated_network import evaluate_network, log_network
from ppi_train.pipelines.evaluated_split import EvaluatedSplit, evaluated_split
from ppi_train.pipelines.evaluation_output import log_evaluation
from ppi_train.pipelines.execute import PipelineResult
from ppi_train.pipelines.inputs import Inputs
from ppi_train.pipelines.measured_pairs import log_strata, measure_pairs
from ppi_train.pipelines.models import model_from_checkpoint
from ppi_train.pipelines.network_references import read_references, reference_digests
from ppi_train.pipelines.report import log_report
from ppi_train.tracking.lookup import logged_model_of
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.versions import resolve_model_uri
from ppi_train.training.device import resolve_device, seed_everything
from ppi_train.training.scoring import score_pairs_with_uncertainty

logger = logging.getLogger(__name__)

HEADLINE = ("auroc", "auprc")
METRIC_PREFIX = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class ScoredPairs:
    """A split scored by the best checkpoint of a run.

    Calibrated `logits` and their standard deviations `uncertainty` are (n,) float32, `labels` (n,) int8,
    `index` (n, 2) the proteins of each pair by their numbers in the table.
    """

    model: str
    split: str
    inputs: Inputs
    device: torch.device
    logits: np.ndarray
    uncertainty: np.ndarray
    labels: np.ndarray
    index: np.ndarray

    @property
    def table(self) -> PairTable:
        return self.inputs.tables[self.split]

    def where(self, keep: np.ndarray) -> ScoredPairs:
        """Those of the pairs where `keep`, (n,) bool, holds."""
        tables = {**self.inputs.tables, self.split: self.table.select(keep)}
        return replace(
            self,
            inputs=replace(self.inputs, tables=tables),
            logits=self.logits[keep],
            uncertainty=self.uncertainty[keep],
            labels=self.labels[keep],
            index=tables[self.split].index,
        )


def run(config: EvalConfig, tracked: TrackedRun) -> PipelineResult:
    """Scores a split and logs metrics with their intervals, figures and predictions.

    Raises:
        TrackingError: no such run or registered model.
        CheckpointError: the run has no whole checkpoint.
        CacheError: the embeddings are not of the kind that the model was trained on.
    """
    resolved = resolve_candidate(config)
    evaluated = split_for(resolved, config)
    references = read_references(config, evaluated)
    scored = score_split(resolved, config, evaluated)
    split, inputs = scored.split, scored.inputs
    tracked.identify(
        model=scored.model,
        evaluated_run_id=resolved.run.run_id,
        split=split,
        code_version=code_version(),
        **inputs.tags,
    )
    named = replace(config, dataset=None if config.test_pairs else inputs.name, split=split)
    tracked.log_parameters(logged_parameters(named))
    inputs.log(tracked)
    model_id = logged_model_of(resolved.run)
    link = tracked.link_to(resolved.run.run_id, resolved.run.name, resolved.run.experiment_id)
    tracked.describe(f"Scores {split} of {inputs.name} with the best checkpoint of {link}.")
    leakage = evaluate_leakage(
        scored.table, scored.logits, resolved, config, evaluated, prefix=METRIC_PREFIX[split]
    )
    measured = measure_pairs(
        scored.table,
        scored.logits,
        resamples=config.bootstrap_resamples,
        seed=config.seed,
        lengths=inputs.cache.lengths,
        seen=leakage.audit.seen if leakage else None,
        degrees=leakage.training_degrees(scored.table) if leakage else None,
    )
    metrics = measured.prefixed(METRIC_PREFIX[split])
    tracked.log_metrics(metrics, model_id=model_id)
    output = Path(config.output_dir) / tracked.run_id
    log_strata(measured, tracked, output)
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
    for name in HEADLINE:
        if name not in measured.metrics:
            continue
        key = f"{METRIC_PREFIX[split]}/{name}"
        logger.info("%s %s%s", key, f"{metrics[key]:.4f}", _interval_text(metrics, key))
    if leakage:
        log_leakage(leakage, tracked, output, model_id)
        metrics |= leakage.metrics
    network = evaluate_network(references, resolved, inputs, config, split=split, device=scored.device)
    if network:
        log_network(network, tracked, output, model_id)
        metrics |= network.metrics
    log_report(scored, resolved, named, measured, tracked, output, leakage=leakage, network=network)
    left_out = [note for one in (leakage, network) if one for note in one.notes]
    if left_out:
        tracked.set_tags({"ppi.left_out": "\n".join(left_out)})
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


def split_for(resolved: ResolvedCheckpoint, config: ScoringConfig) -> EvaluatedSplit:
    """The split that a config names, or that follows from what the run was trained on."""
    return evaluated_split(config, trained_config(resolved.read()), resolved.run.run_id)


def inputs_of(config: EvalConfig) -> dict[str, str]:
    """Digests of all that an evaluation reads, without reading embeddings."""
    resolved = resolve_candidate(config)
    files = split_for(resolved, config).files
    digests = {"checkpoint": resolved.digest, "pairs": read_pairs(files.pairs).digest}
    if files.fasta:
        digests["fasta"] = read_fasta(files.fasta).digest
    if config.embeddings:
        digests["embeddings"] = EmbeddingCache(config.embeddings).digest
    return digests | reference_digests(config)


def score_split(resolved: ResolvedCheckpoint, config: ScoringConfig, split: EvaluatedSplit) -> ScoredPairs:
    """Scores a split with a checkpoint, on embeddings made just as those that it was trained on."""
    checkpoint = resolved.read()
    inputs = evaluation_inputs(config, split, checkpoint, trained_config(checkpoint))
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
        device=device,
        logits=logits,
        uncertainty=uncertainty,
        labels=data.labels.cpu().numpy().astype(np.int8),
        index=inputs.tables[split.split].index,
    )


def _interval_text(metrics: dict[str, float], key: str) -> str:
    if f"{key}_ci_low" not in metrics:
        return ""
    return f" (95% interval {metrics[f'{key}_ci_low']:.4f} to {metrics[f'{key}_ci_high']:.4f})"
