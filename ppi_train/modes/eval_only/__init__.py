"""The `eval_only` mode: evaluation of a run's best checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path

from ppi_train.config.loading import logged_parameters
from ppi_train.data.fasta import read_fasta
from ppi_train.data.pairs import read_pairs
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.evaluation.base_rate import expected_metrics, expected_text
from ppi_train.evaluation.measure import MeasuredPairs, log_strata, measure_pairs
from ppi_train.evaluation.pair_metrics import sigmoid
from ppi_train.modes.base import PipelineResult, promotion_of
from ppi_train.modes.eval_only.given import evaluate_scores
from ppi_train.modes.eval_only.language import known_sequences
from ppi_train.modes.eval_only.leakage import EvaluatedLeakage, evaluate_leakage, log_leakage
from ppi_train.modes.eval_only.network_output import log_network
from ppi_train.modes.eval_only.networks import evaluate_network
from ppi_train.modes.eval_only.references import read_references, reference_digests
from ppi_train.modes.eval_only.report import REPORT, log_evaluation, log_headline, log_report
from ppi_train.runs.checkpoints import ResolvedCheckpoint, resolve_candidate
from ppi_train.runs.configs import EvalConfig
from ppi_train.runs.lineage import code_version, lineage_section
from ppi_train.runs.scored_split import SplitScores, score_split, split_for
from ppi_train.runs.training_pairs import training_lineage
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.runs import logged_model_of

logger = logging.getLogger(__name__)

METRIC_PREFIX = {"train": "train", "validation": "val", "test": "test"}


def run(config: EvalConfig, tracked: TrackedRun) -> PipelineResult:
    """Scores a split; logs metrics with intervals, figures and predictions.

    Raises:
        TrackingError: no such run or registered model.
        CheckpointError: the run has no whole checkpoint.
        CacheError: the embeddings are not of the kind that the model was trained on.
    """
    if config.given.scores:
        return evaluate_scores(config, tracked)
    resolved = resolve_candidate(config.evaluated)
    model_id = logged_model_of(resolved.run)  # before the long work, while the server is known to answer
    evaluated = split_for(resolved, config)
    references = read_references(
        config.network, config.data, evaluated, own_pairs=bool(config.pairs.test_pairs)
    )
    scored = score_split(resolved, config, evaluated, asked_statistics=config.statistics.asked)
    split, inputs = scored.split, scored.inputs
    named = config.replace(dataset=None if config.pairs.test_pairs else inputs.name, split=split)
    _introduce(tracked, scored, resolved, named)
    output = Path(config.output.output_dir) / tracked.run_id
    prefix = METRIC_PREFIX[split]
    leakage = evaluate_leakage(
        scored.table,
        scored.logits,
        config,
        evaluated,
        trained_on=lambda: training_lineage(
            resolved, config.data, with_sequences=config.leakage.audit == "full"
        ),
        digests=scored.sequence_digests,
        prefix=prefix,
    )
    measured = _measure(scored, leakage, config)
    asked = config.leakage.audit != "off" and split != "train"
    known = known_sequences(scored, prefix=prefix) if asked else None
    metrics = measured.prefixed(prefix) | _expected(scored) | (known.metrics if known else {})
    dataset = inputs.dataset(split)
    tracked.log_metrics(metrics, model_id=model_id, dataset=dataset)
    log_strata(measured, tracked, output)
    drawn = log_evaluation(
        scored.table,
        scored.logits,
        tracked,
        output,
        title=f"{scored.model} on {inputs.name}, {split}",
        split=split,
        uncertainty=scored.uncertainty,
    )
    log_headline(metrics, prefix)
    if leakage:
        log_leakage(leakage, tracked, output, model_id=model_id, dataset=dataset)
        metrics |= leakage.metrics
    network = evaluate_network(references, resolved, inputs, config, split=split, device=scored.device)
    if network:
        log_network(network, tracked, output, model_id=model_id, dataset=dataset)
        metrics |= network.metrics
    lineage = lineage_section(resolved, inputs, mode="eval_only", parameters=logged_parameters(named))
    log_report(
        scored,
        named,
        measured,
        drawn,
        tracked,
        output,
        lineage=lineage,
        leakage=leakage,
        known=known,
        network=network,
    )
    left_out = [note for part in (leakage, network) if part for note in part.notes]
    if left_out:
        tracked.set_tags({"ppi.left_out": "\n".join(left_out)})
    trained = resolved.run.run_id
    return PipelineResult(
        run_id=tracked.run_id,
        metrics=metrics,
        outputs={"predictions": str(output), "report": str(output / REPORT)},
        then=(f"compare -P run_ids={trained},ANOTHER_ID", promotion_of(trained)),
    )


def _introduce(
    tracked: TrackedRun, scored: SplitScores, resolved: ResolvedCheckpoint, named: EvalConfig
) -> None:
    """Logs the evaluated model and the pairs that it is evaluated on."""
    tracked.identify(
        model=scored.model,
        evaluated_run_id=resolved.run.run_id,
        split=scored.split,
        code_version=code_version(),
        **scored.inputs.tags,
    )
    tracked.log_parameters(logged_parameters(named))
    scored.inputs.log(tracked)
    link = tracked.link_to(resolved.run.run_id, resolved.run.name, resolved.run.experiment_id)
    tracked.describe(f"Scores {scored.split} of {scored.inputs.name} with the best checkpoint of {link}.")


def _measure(scored: SplitScores, leakage: EvaluatedLeakage | None, config: EvalConfig) -> MeasuredPairs:
    """The metrics of a scored split, over all pairs and by strata."""
    return measure_pairs(
        scored.table,
        scored.logits,
        resamples=config.measure.bootstrap_resamples,
        seed=config.compute.seed,
        lengths=scored.inputs.cache.lengths,
        seen=leakage.audit.seen if leakage else None,
        degrees=leakage.training_degrees if leakage else None,
    )


def _expected(scored: SplitScores) -> dict[str, float]:
    """The precision expected of the highest-scored pairs where interactions are rare."""
    if not 0 < scored.table.positives < len(scored.table):
        return {}
    probabilities = sigmoid(scored.logits)
    text = expected_text(probabilities, scored.prevalence)
    if text:
        logger.info("%s", text)
    return expected_metrics(probabilities, scored.prevalence)


def inputs_of(config: EvalConfig) -> dict[str, str]:
    """Digests of all inputs of an evaluation."""
    resolved = resolve_candidate(config.evaluated)
    files = split_for(resolved, config).files
    digests = {"checkpoint": resolved.digest, "pairs": read_pairs(files.pairs).digest}
    if files.fasta:
        digests["fasta"] = read_fasta(files.fasta).digest
    if config.cache.embeddings:
        digests |= EmbeddingCache(config.cache.embeddings).digests
    return digests | reference_digests(config.network)
