"""Evaluation of scores that another tool gave, by the protocol of a model's evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ppi_train.config.loading import logged_parameters
from ppi_train.data.score_tables import ScoreTable, read_scores
from ppi_train.evaluation.measure import MeasuredPairs, log_strata, measure_pairs
from ppi_train.evaluation.pair_metrics import RECALLS
from ppi_train.modes.base import PipelineResult
from ppi_train.modes.eval_only.leakage import evaluate_leakage, log_leakage
from ppi_train.modes.eval_only.report import log_evaluation, log_headline, log_report
from ppi_train.reporting.page import Column, Row, Section, Table
from ppi_train.runs.configs import EvalConfig
from ppi_train.runs.given_scores import lineage_of_tool, split_of_config, split_with_scores
from ppi_train.runs.lineage import code_version, command_of
from ppi_train.runs.scored_split import SplitScores
from ppi_train.tracking.run import TrackedRun

EXTERNAL = "external"
_PREFIX = {"train": "train", "validation": "val", "test": "test"}
_BY_ORDER = ("auroc", "auprc", "auprc_1to100", *RECALLS, "recall_at_fpr_1")
_ONLY_ORDER = "The scores only order the pairs: they are no probabilities, so that nothing is called."


def evaluate_scores(config: EvalConfig, tracked: TrackedRun) -> PipelineResult:
    """Measures the scores of a file on a split; logs metrics with intervals, figures and the report.

    Raises:
        DataError: the file is wrong, or lacks pairs.
    """
    path = str(config.given.scores)
    scores = read_scores(path, config.given.score_type)
    split = split_of_config(config)
    scored = split_with_scores(config, split, scores, config.given.score_name or Path(path).stem)
    named = config.replace(dataset=None if config.pairs.test_pairs else split.name, split=split.split)
    _introduce(tracked, scored, scores, named)
    output, prefix = Path(config.output.output_dir) / tracked.run_id, _PREFIX[split.split]
    leakage = evaluate_leakage(
        scored.table,
        scored.logits,
        config,
        split,
        trained_on=lambda: lineage_of_tool(config.given.trained_on, split.sequences),
        digests=scored.sequence_digests,
        prefix=prefix,
    )
    measured = measure_pairs(
        scored.table,
        scored.logits,
        resamples=config.measure.bootstrap_resamples,
        seed=config.compute.seed,
        lengths=scored.inputs.cache.lengths,
        seen=leakage.audit.seen if leakage else None,
        degrees=leakage.training_degrees if leakage else None,
    )
    orders_only = scores.kind == "ranking"
    if orders_only:
        measured = _of_order(measured)
    metrics = measured.prefixed(prefix)
    dataset = scored.inputs.dataset(scored.split)
    tracked.log_metrics(metrics, dataset=dataset)
    log_strata(measured, tracked, output)
    title = f"{scored.model} on {scored.inputs.name}, {scored.split}"
    drawn = log_evaluation(
        scored.table, scored.logits, tracked, output, title=title, split=scored.split,
        calibrated=not orders_only,
    )  # fmt: skip
    log_headline(metrics, prefix)
    if leakage:
        log_leakage(leakage, tracked, output, model_id=None, dataset=dataset)
        metrics |= leakage.metrics
    report = log_report(
        scored, named, measured, drawn, tracked, output,
        lineage=_origin(scored, scores, named), leakage=leakage, uncalibrated=_ONLY_ORDER * orders_only,
    )  # fmt: skip
    return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs={"report": str(report)})


def _introduce(tracked: TrackedRun, scored: SplitScores, scores: ScoreTable, named: EvalConfig) -> None:
    tracked.identify(
        model=EXTERNAL,
        dataset=scored.inputs.name,
        score_name=scored.model,
        scores_digest=scores.digest,
        split=scored.split,
        code_version=code_version(),
    )
    tracked.log_parameters(logged_parameters(named))
    scored.inputs.log(tracked)
    if scored.unscored:
        tracked.log_metrics({f"data/{scored.split}_unscored": scored.unscored})
        tracked.set_tags({"ppi.left_out": scored.left_out})
    tracked.describe(
        f"Measures the scores that {scored.model} gave to {scored.split} of {scored.inputs.name} "
        f"({scores.source}, {scores.kind}). {scored.left_out}".rstrip()
    )


def _of_order(measured: MeasuredPairs) -> MeasuredPairs:
    """The metrics that depend on nothing but the order of the pairs."""
    names = {f"{name}{end}" for name in _BY_ORDER for end in ("", "_ci_low", "_ci_high")}
    kept = {name: value for name, value in measured.metrics.items() if name in names}
    return replace(measured, metrics=kept)


def _origin(scored: SplitScores, scores: ScoreTable, named: EvalConfig) -> Section:
    """Where the scores come from, as far as it is known."""
    rows = (
        ("scores", scores.source),
        ("given by", scored.model),
        ("taken as", scores.kind),
        ("file", f"sha256 {scores.digest}"),
        ("trained on", named.given.trained_on or "not known: no audit of leakage"),
        ("scored data", f"sha256 {scored.table.digest}"),
        ("measured with code", code_version()),
    )
    columns = (Column(name="what"), Column(name="which", kind="code"))
    table = Table(
        caption="What is known of the scores", columns=columns, rows=tuple(Row(cells=cells) for cells in rows)
    )
    return Section(
        text=(
            "The scores were given by another tool; the metrics, intervals and strata are ours.",
            *([f"{scored.left_out}."] if scored.left_out else []),
        ),
        tables=(table,),
        commands=(command_of("eval_only", logged_parameters(named)),),
    )
