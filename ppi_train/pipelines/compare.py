"""`compare`: several runs on the same test pairs, with paired differences to the first."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ppi_train.config.loading import logged_parameters
from ppi_train.config.schema import CompareConfig, ScoringConfig
from ppi_train.errors import ConfigError
from ppi_train.evaluation.comparison import (
    ComparedModel,
    agreement_section,
    all_metrics_section,
    comparison_headline,
    differences_section,
    trained_on_section,
)
from ppi_train.evaluation.pair_metrics import sigmoid
from ppi_train.evaluation.paired import paired_differences
from ppi_train.evaluation.report import Picture, ReportContent, Section
from ppi_train.pipelines.checkpoints import ResolvedCheckpoint, resolve_checkpoint
from ppi_train.pipelines.code_version import code_version
from ppi_train.pipelines.common_pairs import on_common_pairs
from ppi_train.pipelines.execute import PipelineResult
from ppi_train.pipelines.leakage import refuse_leakage
from ppi_train.pipelines.lineage import command_of, lineage_table
from ppi_train.pipelines.measured_pairs import metrics_with_intervals
from ppi_train.pipelines.report import facts_of, made_by, write_report
from ppi_train.pipelines.scored_split import ScoredSplit, score_split, split_for
from ppi_train.tracking.lookup import FoundRun, find_run
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)

METRIC_PREFIX = "compare"


def run(config: CompareConfig, tracked: TrackedRun) -> PipelineResult:
    """Scores one split with the best checkpoint of each run, and logs the comparison.

    Raises:
        ConfigError: two of the run IDs lead to one training run.
        TrackingError: no such run.
        CheckpointError: a run has no whole checkpoint.
        CacheError: the embeddings are not of the kind that a model was trained on.
        DataError: the pairs hold one class only, or no pair is left that all models can score.
    """
    resolved = [resolve_checkpoint(one) for one in training_runs(config.run_ids)]
    scored = _scored(config, resolved)
    reference = scored[0]
    inputs, split = reference.inputs, reference.split
    tracked.identify(
        dataset=inputs.name,
        compared_run_ids=",".join(one.run.run_id for one in resolved),
        split=split,
        code_version=code_version(),
    )
    named = replace(config, dataset=None if config.test_pairs else inputs.name, split=split)
    tracked.log_parameters(logged_parameters(named))
    inputs.log(tracked)
    models = _compared(config, resolved, scored)
    metrics = _metrics(models)
    tracked.log_metrics(metrics)
    links = [tracked.link_to(one.run.run_id, one.run.name, one.run.experiment_id) for one in resolved]
    tracked.describe(f"Compares on {split} of {inputs.name}: {', '.join(links)}; the first is the reference.")
    path = write_report(
        _content(named, resolved, scored, models, tracked), tracked, Path(config.output_dir) / tracked.run_id
    )
    for line in _lines(models):
        logger.info("%s", line)
    return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs={"report": str(path)})


def training_runs(run_ids: Sequence[str]) -> list[str]:
    """The IDs of the training runs; that of an evaluation leads to the run that it scored.

    Raises:
        ConfigError: two lead to the same run.
        TrackingError: no such run.
    """
    found: dict[str, str] = {}
    for given in run_ids:
        run = find_run(given)
        trained = run.tags.get("ppi.evaluated_run_id", run.run_id)
        if trained in found:
            raise ConfigError(
                "two of the run IDs are of one model",
                where="run_ids",
                got=f"{found[trained]} and {given}, both of training run {trained}",
                expected="runs of different models",
                remedy="leave one of them out",
            )
        found[trained] = given
    return list(found)


def labels_of(runs: Sequence[FoundRun]) -> list[str]:
    """What runs are called: by name, or by the start of the ID where two have the same name."""
    often = Counter(one.name for one in runs)
    return [one.name if one.name and often[one.name] == 1 else one.run_id[:8] for one in runs]


def _scored(config: CompareConfig, resolved: Sequence[ResolvedCheckpoint]) -> list[ScoredSplit]:
    names = {one.name for one in dataclasses.fields(ScoringConfig)}
    names &= {one.name for one in dataclasses.fields(config)}
    scoring = ScoringConfig(run_id=resolved[0].run.run_id, **{name: getattr(config, name) for name in names})
    split = split_for(resolved[0], scoring)
    recipes = [one.read().description["embedding"]["recipe"] for one in resolved]
    scored = []
    for one, recipe in zip(resolved, recipes, strict=True):
        logger.info("scoring %s of %s with %s", split.split, split.name, one.run)
        # A cache that was named holds the reference's embeddings; another embedder's are made from the FASTA.
        own = scoring if recipe == recipes[0] else replace(scoring, embeddings=None)
        scored.append(score_split(one, own, split))
    return on_common_pairs(scored)


def _compared(
    config: CompareConfig, resolved: Sequence[ResolvedCheckpoint], scored: Sequence[ScoredSplit]
) -> list[ComparedModel]:
    labels = scored[0].labels
    held = sigmoid(scored[0].logits)
    models = []
    for place, (name, checkpoint, one) in enumerate(
        zip(labels_of([one.run for one in resolved]), resolved, scored, strict=True)
    ):
        probabilities = sigmoid(one.logits)
        differences = None
        if place:
            differences = paired_differences(
                probabilities,
                held,
                labels,
                scored[0].index,
                resamples=config.bootstrap_resamples,
                seed=config.seed,
            )
        models.append(
            ComparedModel(
                label=name,
                probabilities=probabilities,
                metrics=metrics_with_intervals(
                    one.table, one.logits, resamples=config.bootstrap_resamples, seed=config.seed
                ),
                differences=differences,
                trained_on=refuse_leakage(checkpoint, one.table, allowed=True),
            )
        )
    return models


def _metrics(models: Sequence[ComparedModel]) -> dict[str, float]:
    """As the run logs them, `compare/<label>/...`."""
    metrics: dict[str, float] = {}
    for one in models:
        start = f"{METRIC_PREFIX}/{re.sub(r'[^A-Za-z0-9_. -]', '_', one.label)[:100]}"
        metrics |= {f"{start}/{name}": value for name, value in one.metrics.items()}
        for name, found in (one.differences or {}).items():
            metrics |= {
                f"{start}/{name}_difference": found.difference,
                f"{start}/{name}_difference_ci_low": found.low,
                f"{start}/{name}_difference_ci_high": found.high,
            }
    return metrics


def _content(
    config: CompareConfig,
    resolved: Sequence[ResolvedCheckpoint],
    scored: Sequence[ScoredSplit],
    models: Sequence[ComparedModel],
    tracked: TrackedRun,
) -> ReportContent:
    from ppi_train.evaluation import comparison_figures as drawn  # matplotlib, slow to import
    from ppi_train.evaluation.figures import as_svg

    first = scored[0]
    differences = differences_section(
        models, note=f"Paired bootstrap, {config.bootstrap_resamples:,} resamples."
    )
    forest = tuple(
        Picture(
            svg=as_svg(drawn.differences_figure(models, name)),
            alt=f"Difference in {name.upper()} of each model to the reference; numbers in the table below",
        )
        for name in ("auprc", "auroc")
    )
    curves = (
        Picture(
            svg=as_svg(drawn.precision_recall_curves_figure(models, first.labels)),
            alt="Precision against recall of each model",
            caption="The thin grey line is guessing.",
        ),
        Picture(
            svg=as_svg(drawn.roc_curves_figure(models, first.labels)),
            alt="True positive rate against false positive rate of each model",
            caption="The thin grey diagonal is guessing.",
        ),
    )
    tables = tuple(
        lineage_table(checkpoint, one.inputs, caption=model.label)
        for checkpoint, one, model in zip(resolved, scored, models, strict=True)
    )
    facts = tuple(one for one in facts_of(first) if one[0] != "embedder")
    return ReportContent(
        kind=f"Comparison, {first.split}",
        title=f"{len(models)} models on {first.inputs.name}",
        facts=(*facts, ("reference", models[0].label)),
        headline=comparison_headline(models, prevalence=float(first.labels.mean())),
        differences=replace(differences, pictures=forest),
        metrics=all_metrics_section(models),
        curves=Section(pictures=curves),
        leakage=trained_on_section(models, pairs=len(first.table)),
        agreement=agreement_section(models, first.labels),
        lineage=Section(tables=tables, commands=(command_of("compare", logged_parameters(config)),)),
        made_by=made_by(tracked),
    )


def _lines(models: Sequence[ComparedModel]) -> list[str]:
    """The table of AUPRC, as lines of Markdown."""
    lines = ["| model | AUPRC | difference | 95% interval |", "| --- | --- | --- | --- |"]
    for one in models:
        cells = [one.label, f"{one.metrics['auprc']:.4f}", "reference", ""]
        if one.differences:
            found = one.differences["auprc"]
            cells[2:] = [f"{found.difference:+.4f}", f"{found.low:+.4f} to {found.high:+.4f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
