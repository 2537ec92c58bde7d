"""From an evaluation's results to the page `report.html` in its run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppi_train.config.loading import logged_parameters
from ppi_train.config.schema import EvalConfig
from ppi_train.data.fasta import write_file
from ppi_train.evaluation.pair_metrics import THRESHOLD, sigmoid
from ppi_train.evaluation.report import Part, Picture, ReportContent, Section, render_report
from ppi_train.evaluation.report_sections import (
    Stratum,
    evaluation_headline,
    leakage_section,
    metrics_section,
    network_metrics_section,
    strata_section,
)
from ppi_train.pipelines.checkpoints import ResolvedCheckpoint
from ppi_train.pipelines.code_version import code_version
from ppi_train.pipelines.lineage import lineage_section
from ppi_train.tracking.run import TrackedRun

if TYPE_CHECKING:  # `evaluate` imports this module
    from ppi_train.pipelines.evaluate import ScoredPairs

REPORT = "report.html"


def log_report(
    scored: ScoredPairs,
    resolved: ResolvedCheckpoint,
    config: EvalConfig,
    metrics: Mapping[str, float],
    tracked: TrackedRun,
    output: Path,
    *,
    measures: Mapping[str, float] | None = None,
    strata: Sequence[Stratum] = (),
    networks: Mapping[str, Mapping[str, float]] | None = None,
    networks_note: str = "",
) -> Path:
    """Writes the page of one evaluation and uploads it.

    Args:
        scored: The split with its scores.
        resolved: The checkpoint that scored it.
        config: As the run logs it.
        metrics: As the run logs them, without `test/`; those with a further `/` are left out.
        tracked: The run.
        output: Its folder on this machine.
        measures: Of the audit against the training set; None: there was none, and the page says so.
        strata: Metrics of parts of the pairs.
        networks: Network metrics by kind of node sets; None for test sets without node sets.
        networks_note: Where these come from, and at which threshold pairs are called.
    """
    assert scored.labels.size, "no pairs"
    probabilities = sigmoid(scored.logits)
    resamples = config.bootstrap_resamples
    calls = f"Pairs are called interacting at a probability of {THRESHOLD} or above. " + (
        f"95% intervals by bootstrap, {resamples:,} resamples."
        if resamples
        else "No intervals were asked for."
    )
    unaudited = "The test pairs were not compared with the training pairs: the audit was not run."
    content = ReportContent(
        kind=f"Evaluation, {scored.split}",
        title=f"{scored.model} on {scored.inputs.name}",
        facts=facts_of(scored),
        headline=evaluation_headline(metrics, prevalence=float(scored.labels.mean()), measures=measures),
        metrics=metrics_section(metrics, calls=calls),
        curves=_curves(probabilities, scored.labels),
        calibration=_calibration(probabilities, scored),
        strata=strata_section(strata) if strata else None,
        leakage=unaudited
        if measures is None
        else leakage_section(measures, train="the run's training pairs", test=scored.table.source),
        networks=_networks(scored, probabilities),
        network_metrics=network_metrics_section(networks, note=networks_note) if networks else None,
        lineage=lineage_section(
            resolved, scored.inputs, mode="eval_only", parameters=logged_parameters(config)
        ),
        made_by=made_by(tracked),
    )
    return write_report(content, tracked, output)


def write_report(content: ReportContent, tracked: TrackedRun, output: Path) -> Path:
    """Writes the page into a run's folder and uploads it."""
    path = output / REPORT
    write_file(path, render_report(content).encode())
    tracked.log_file(path)
    return path


def facts_of(scored: ScoredPairs) -> tuple[tuple[str, str], ...]:
    """What the scored pairs are, for the top of a page."""
    return (
        ("data set", scored.inputs.name),
        ("split", scored.split),
        ("pairs", f"{len(scored.table):,}"),
        ("interacting", f"{scored.table.positives:,} ({scored.labels.mean():.1%})"),
        ("proteins", f"{len(scored.table.proteins):,}"),
        ("embedder", str(scored.inputs.cache.spec.embedder["name"])),
    )


def made_by(tracked: TrackedRun) -> str:
    """The last line of a page: which run made it, when and by which code."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return f"Made on {day} (UTC) by ppi_train {code_version()}, run {tracked.run_id}."


def _curves(probabilities: np.ndarray, labels: np.ndarray) -> Section:
    from ppi_train.evaluation import figures  # matplotlib, slow to import

    precision_recall = figures.precision_recall_figure(probabilities, labels, "Precision-recall")
    return Section(
        pictures=(
            Picture(
                svg=figures.as_svg(precision_recall),
                alt="Precision against recall; the share of interacting pairs is a dashed line",
                caption="Of the pairs called, how many are right. The dashed line is guessing.",
            ),
            Picture(
                svg=figures.as_svg(figures.roc_figure(probabilities, labels, "ROC")),
                alt="True positive rate against false positive rate, with chance as a dashed diagonal",
                caption="How many interacting pairs are found at the price of how many others.",
            ),
        )
    )


def _calibration(probabilities: np.ndarray, scored: ScoredPairs) -> Section:
    from ppi_train.evaluation import figures

    labels = scored.labels
    histogram = figures.score_histogram_figure(probabilities, labels, "Scores of either class")
    pictures = [
        Picture(
            svg=figures.as_svg(figures.reliability_figure(probabilities, labels, "Reliability")),
            alt="Observed share of interacting pairs against predicted probability, and pairs per bin",
            caption="On the diagonal, a probability means what it says. Bars below: pairs per bin.",
            shape="tall",
        ),
        Picture(
            svg=figures.as_svg(histogram),
            alt="Histogram of the probabilities of interacting and of non-interacting pairs",
            caption="The less the two overlap, the better the classes are told apart.",
        ),
    ]
    if not scored.uncertainty.any():
        return Section(text=("The model gives no uncertainty of its scores.",), pictures=tuple(pictures))
    drawn = figures.selective_figure(probabilities, labels, scored.uncertainty, "Precision by share kept")
    pictures.append(
        Picture(
            svg=figures.as_svg(drawn),
            alt="Precision against the share of the pairs that is kept, the surest first, in two orders",
            caption="If only the surest predictions are kept, how many of the called pairs are right.",
        )
    )
    return Section(pictures=tuple(pictures))


def _networks(scored: ScoredPairs, probabilities: np.ndarray) -> Part:
    from ppi_train.evaluation import figures, network_figure

    table = scored.table
    called = probabilities >= THRESHOLD
    part = network_figure.readable_part(
        table.proteins, table.index[scored.labels == 1], table.index[called], tested=table.index
    )
    if not part.names:
        return "No network is drawn: the interacting pairs are all of a protein with itself."
    true, false = len(part.found) + len(part.missed), len(part.false)
    return Section(
        text=(
            f"{len(part.names)} of the {len(table.proteins):,} proteins: the one with most true partners and "
            "those reached from it, breadth-first by at most four new partners each. Proteins have the same "
            f"place in both. Of their {part.tested:,} tested pairs {true} are true: {len(part.found)} found, "
            f"{len(part.missed)} missed; {false} others are called. What was not tested cannot be drawn.",
        ),
        pictures=(
            Picture(
                svg=figures.as_svg(network_figure.true_network_figure(part)),
                alt=f"True network of {len(part.names)} proteins: {len(part.found)} edges found, solid; "
                f"{len(part.missed)} missed, dashed",
            ),
            Picture(
                svg=figures.as_svg(network_figure.predicted_network_figure(part)),
                alt=f"Predicted network of the same proteins: {len(part.found)} true edges, drawn solid, "
                f"{false} false, dotted",
            ),
        ),
    )
