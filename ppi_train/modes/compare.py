"""Restriction of several scored splits to their common pairs.

The `compare` mode: several runs compared on the same test pairs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ppi_train.config.loading import logged_parameters
from ppi_train.data.score_tables import read_scores
from ppi_train.errors import ConfigError, DataError
from ppi_train.evaluation.measure import metrics_with_intervals
from ppi_train.evaluation.pair_metrics import sigmoid
from ppi_train.evaluation.paired import paired_differences
from ppi_train.modes.base import PipelineResult, promotion_of
from ppi_train.modes.eval_only.report import facts_of, made_by, write_report
from ppi_train.reporting.comparison import (
    ComparedModel,
    agreement_section,
    all_metrics_section,
    comparison_headline,
    differences_section,
    trained_on_section,
)
from ppi_train.reporting.page import Picture, ReportContent, Section, Table
from ppi_train.runs.checkpoints import ResolvedCheckpoint, resolve_checkpoint
from ppi_train.runs.configs import CompareConfig
from ppi_train.runs.differences import differences_table, in_metrics, labels_of
from ppi_train.runs.given_scores import with_scores
from ppi_train.runs.lineage import code_version, command_of, lineage_table, origin_table
from ppi_train.runs.scored_split import SplitScores, score_split, split_for
from ppi_train.runs.training_pairs import ordered_pairs, pairs_trained_on, unordered_pairs
from ppi_train.tracking.run import TrackedRun
from ppi_train.tracking.runs import find_run

logger = logging.getLogger(__name__)


def on_common_pairs(several: Sequence[SplitScores]) -> list[SplitScores]:
    """Restricts scored splits to the pairs that all models could score.

    With `missing=drop` the scored pairs may differ, as the caches of the models may differ. All splits come
    from one table, so the remaining pairs of each have the same order.

    Raises:
        DataError: no pair is left.
    """
    if len({scored.table.digest for scored in several}) == 1:
        return list(several)
    common = set.intersection(*(unordered_pairs(scored.table) for scored in several))
    if not common:
        raise DataError(
            "no pair is left that all models can score",
            where=several[0].table.source,
            remedy="give a fasta with the sequences of all proteins, or compare fewer runs",
        )
    logger.warning("comparing on the %s pairs that all models can score", f"{len(common):,}")
    kept = [
        scored.where(np.array([pair in common for pair in ordered_pairs(scored.table)])) for scored in several
    ]
    assert len({scored.table.digest for scored in kept}) == 1, "one pair table with two sets of labels"
    return kept


METRIC_PREFIX = "compare"


def run(config: CompareConfig, tracked: TrackedRun) -> PipelineResult:
    """Scores one split with each run's best checkpoint, and compares the results.

    Raises:
        ConfigError: two of the run IDs lead to one training run.
        TrackingError: no such run.
        CheckpointError: a run has no whole checkpoint.
        CacheError: the embeddings are not of the kind that a model was trained on.
        DataError: the pairs hold one class only, or no pair is left that all models can score.
    """
    resolved = [resolve_checkpoint(run_id) for run_id in training_runs(config.compared.run_ids)]
    scored = _scored(config, resolved)
    reference = scored[0]
    inputs, split = reference.inputs, reference.split
    tracked.identify(
        dataset=inputs.name,
        compared_run_ids=",".join(checkpoint.run.run_id for checkpoint in resolved),
        split=split,
        code_version=code_version(),
    )
    named = config.replace(dataset=None if config.pairs.test_pairs else inputs.name, split=split)
    tracked.log_parameters(logged_parameters(named))
    inputs.log(tracked)
    models = _compared(config, resolved, scored)
    metrics = _metrics(models)
    tracked.log_metrics(metrics)
    runs = [checkpoint.run for checkpoint in resolved]
    links = [
        tracked.link_to(run.run_id, model.label, run.experiment_id)
        for run, model in zip(runs, models, strict=False)  # the tools' scores follow, which have no run
    ]
    links += config.compared.tools
    differing = differences_table(runs, [model.label for model in models[: len(runs)]])
    intro = f"Compares on {split} of {inputs.name}; the first is the reference."
    tracked.describe("\n".join([intro, "", *_lines(models, links, differing)]))
    path = write_report(
        _content(named, resolved, scored, models, differing, tracked),
        tracked,
        Path(config.output.output_dir) / tracked.run_id,
    )
    for line in filter(None, _lines(models, [model.label for model in models], differing)):
        logger.info("%s", line)
    best = max(zip(models, runs, strict=False), key=lambda found: found[0].metrics["auprc"])[1]
    return PipelineResult(
        run_id=tracked.run_id,
        metrics=metrics,
        outputs={"report": str(path)},
        then=(promotion_of(best.run_id),),
    )


def training_runs(run_ids: Sequence[str]) -> list[str]:
    """The IDs of the training runs that the given runs belong to.

    The ID of an evaluation leads to the training run that it scored.

    Raises:
        ConfigError: two IDs lead to the same training run.
        TrackingError: no such run.
    """
    found: dict[str, str] = {}
    for given in run_ids:
        run = find_run(given)
        trained = run.tags.get("ppi.evaluated_run_id", run.run_id)
        if trained in found:
            raise ConfigError(
                "two of the run IDs belong to one model",
                where="run_ids",
                got=f"{found[trained]} and {given}, both of training run {trained}",
                expected="runs of different models",
                remedy="leave one of them out",
            )
        found[trained] = given
    return list(found)


def _scored(config: CompareConfig, resolved: Sequence[ResolvedCheckpoint]) -> list[SplitScores]:
    split = split_for(resolved[0], config)
    recipes = [checkpoint.read().description["embedding"]["recipe"] for checkpoint in resolved]
    scored = []
    for checkpoint, recipe in zip(resolved, recipes, strict=True):
        logger.info("scoring %s of %s with %s", split.split, split.name, checkpoint.run)
        # A given cache has the reference's embeddings; those of other embedders are made from the FASTA.
        own = config if recipe == recipes[0] else config.replace(embeddings=None)
        scored.append(score_split(checkpoint, own, split))
    options = config.compared
    for path, name in zip(options.scores or (), options.tools, strict=True):
        table = read_scores(path, options.score_type)
        scored.append(with_scores(scored[0], table, name, missing=config.cache.missing))
    return on_common_pairs(scored)


def _compared(
    config: CompareConfig, resolved: Sequence[ResolvedCheckpoint], scored: Sequence[SplitScores]
) -> list[ComparedModel]:
    labels = scored[0].labels
    models = []
    names = [*labels_of([checkpoint.run for checkpoint in resolved]), *config.compared.tools]
    _refuse_equal_labels(names)
    checkpoints = [*resolved, *(None for _ in config.compared.tools)]
    for position, (name, checkpoint, scored_split) in enumerate(zip(names, checkpoints, scored, strict=True)):
        probabilities = sigmoid(scored_split.logits)
        differences = None
        if position:
            differences = paired_differences(
                scored_split.logits,
                scored[0].logits,
                labels,
                scored[0].index,
                resamples=config.measure.bootstrap_resamples,
                seed=config.compute.seed,
            )
        models.append(
            ComparedModel(
                label=name,
                probabilities=probabilities,
                metrics=metrics_with_intervals(
                    scored_split.table,
                    scored_split.logits,
                    resamples=config.measure.bootstrap_resamples,
                    seed=config.compute.seed,
                ),
                differences=differences,
                trained_on=_trained_on(checkpoint, scored_split, config),
            )
        )
    return models


def _trained_on(
    checkpoint: ResolvedCheckpoint | None, scored: SplitScores, config: CompareConfig
) -> int | None:
    """How many of the pairs a model was trained on; None if that is not known, as of another tool."""
    if checkpoint is None:
        return None
    return pairs_trained_on(checkpoint, scored.table, scored.sequence_digests, config.data).count


def _refuse_equal_labels(names: Sequence[str]) -> None:
    shortened = [in_metrics(name) for name in names]
    twice = [name for name, short in zip(names, shortened, strict=True) if shortened.count(short) > 1]
    if twice:
        raise ConfigError(
            "two of the compared have one name in metrics", where="score_names", got=", ".join(twice),
            remedy="give score_names that differ from each other and from the runs",
        )  # fmt: skip


def _metrics(models: Sequence[ComparedModel]) -> dict[str, float]:
    """Metrics of all models, named `compare/<label>/...`."""
    metrics: dict[str, float] = {}
    for model in models:
        start = f"{METRIC_PREFIX}/{in_metrics(model.label)}"
        metrics |= {f"{start}/{name}": value for name, value in model.metrics.items()}
        for name, found in (model.differences or {}).items():
            metrics |= found.metrics(f"{start}/{name}")
    return metrics


def _content(
    config: CompareConfig,
    resolved: Sequence[ResolvedCheckpoint],
    scored: Sequence[SplitScores],
    models: Sequence[ComparedModel],
    differing: Table | None,
    tracked: TrackedRun,
) -> ReportContent:
    from ppi_train.reporting import comparison as drawn  # matplotlib, slow to import
    from ppi_train.reporting.figures import as_svg

    first = scored[0]
    differences = differences_section(
        models, note=f"Paired bootstrap, {config.measure.bootstrap_resamples:,} resamples."
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
        lineage_table(checkpoint, scored_split.inputs, caption=model.label)
        for checkpoint, scored_split, model in zip(resolved, scored, models, strict=False)
    )
    given = zip(config.compared.scores or (), scored[len(resolved) :], strict=True)
    tables += tuple(origin_table(path, scores.model, scores.left_out) for path, scores in given)
    facts = tuple(fact for fact in facts_of(first) if fact[0] != "embedder")
    return ReportContent(
        kind=f"Comparison, {first.split}",
        title=f"{len(models)} models on {first.inputs.name}",
        facts=(*facts, ("reference", models[0].label)),
        headline=comparison_headline(models, prevalence=float(first.labels.mean())),
        differences=replace(differences, pictures=forest),
        settings=Section(tables=(differing,)) if differing else None,
        metrics=all_metrics_section(models),
        curves=Section(pictures=curves),
        leakage=trained_on_section(models, pairs=len(first.table)),
        agreement=agreement_section(models, first.labels),
        lineage=Section(tables=tables, commands=(command_of("compare", logged_parameters(config)),)),
        made_by=made_by(tracked),
    )


def _lines(models: Sequence[ComparedModel], names: Sequence[str], differing: Table | None) -> list[str]:
    """A Markdown table of AUPRC, and that of what differs, as lines; `names` are the first cells."""
    lines = ["| model | AUPRC | difference | 95% interval |", "| --- | --- | --- | --- |"]
    for model, name in zip(models, names, strict=True):
        cells = [name, f"{model.metrics['auprc']:.4f}", "reference", ""]
        if model.differences:
            cells[2:] = model.differences["auprc"].cells
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", f"{differing.caption}:", "", *differing.markdown()] if differing else lines
