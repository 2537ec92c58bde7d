"""What an evaluation logs: figures, predictions and the page `report.html`."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppi_train.data.pairs import PairTable
from ppi_train.evaluation.measure import MeasuredPairs
from ppi_train.evaluation.network import Network
from ppi_train.evaluation.pair_metrics import THRESHOLD, sigmoid
from ppi_train.inference.output import write_predictions
from ppi_train.io.files import write_file
from ppi_train.modes.eval_only.language import KnownSequences
from ppi_train.modes.eval_only.leakage import EvaluatedLeakage
from ppi_train.modes.eval_only.network_output import network_sentences
from ppi_train.modes.eval_only.networks import EvaluatedNetwork
from ppi_train.reporting.base_rate import expected_table
from ppi_train.reporting.page import Part, Picture, ReportContent, Section, Table, render_report
from ppi_train.reporting.sections import (
    METRICS,
    evaluation_headline,
    leakage_section,
    metrics_section,
    network_metrics_section,
    strata_section,
)
from ppi_train.runs.configs import EvalConfig
from ppi_train.runs.lineage import code_version
from ppi_train.runs.scored_split import SplitScores
from ppi_train.tracking.run import TrackedRun

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.figure import Figure

    from ppi_train.reporting.network_figure import DrawnNetwork

logger = logging.getLogger(__name__)

REPORT = "report.html"
HEADLINE = ("auroc", "auprc")
_ONE_CLASS = "The pairs hold one class only, so that there is nothing to rank."


def log_evaluation(
    table: PairTable,
    logits: np.ndarray,
    tracked: TrackedRun,
    output: Path,
    *,
    title: str,
    split: str,
    uncertainty: np.ndarray | None = None,
    history: Sequence[Mapping[str, float]] = (),
    best_metric: str = "val/auroc",
    calibrated: bool = True,
) -> Mapping[str, Figure]:
    """Logs the figures and the prediction table of scored pairs.

    Args:
        logits: Calibrated, except where `calibrated` is false: scores that only order the pairs.
        uncertainty: The standard deviation of each logit; all zero where the model has none.

    Returns:
        The figures by name, for the page: to lay one out takes as long as a second of training.
    """
    # matplotlib takes half a second to import, which must not delay the first training step.
    from ppi_train.reporting import figures

    probabilities, labels = sigmoid(logits), table.required_labels
    if uncertainty is not None and not uncertainty.any():
        uncertainty = None  # the model estimates none
    drawn = {"reliability": figures.reliability_figure(probabilities, labels, title)} if calibrated else {}
    if 0 < table.positives < len(table):  # the other figures need both classes
        drawn |= {
            "roc": figures.roc_figure(probabilities, labels, title),
            "precision_recall": figures.precision_recall_figure(probabilities, labels, title),
            "score_histogram": figures.score_histogram_figure(probabilities, labels, title),
        }
        if uncertainty is not None:
            drawn["precision_by_kept"] = figures.selective_figure(probabilities, labels, uncertainty, title)
    if history:
        drawn["curves"] = figures.curves_figure(history, best_metric=best_metric)
    figures.save_figures(drawn, output / "figures")
    tracked.log_folder(output / "figures", "figures")
    file = output / "predictions" / f"{split}.parquet"
    write_predictions(file, table, logits, probabilities, uncertainty)
    tracked.log_folder(output / "predictions", "predictions")
    return drawn


def log_headline(metrics: Mapping[str, float], prefix: str) -> None:
    """Prints AUROC and AUPRC with their intervals."""
    for name in HEADLINE:
        key = f"{prefix}/{name}"
        if key in metrics:  # absent if the pairs have one class only
            logger.info("%s %s%s", key, f"{metrics[key]:.4f}", _interval_text(metrics, key))


def _interval_text(metrics: Mapping[str, float], key: str) -> str:
    if f"{key}_ci_low" not in metrics:
        return ""
    return f" (95% interval {metrics[f'{key}_ci_low']:.4f} to {metrics[f'{key}_ci_high']:.4f})"


def log_report(
    scored: SplitScores,
    config: EvalConfig,
    measured: MeasuredPairs,
    drawn: Mapping[str, Figure],
    tracked: TrackedRun,
    output: Path,
    *,
    lineage: Section,
    leakage: EvaluatedLeakage | None = None,
    known: KnownSequences | None = None,
    network: EvaluatedNetwork | None = None,
    uncalibrated: str = "",
) -> Path:
    """Writes the page of one evaluation and uploads it.

    Args:
        scored: The split with its scores.
        config: The config that the run logs.
        measured: The metrics of all pairs and of the strata.
        drawn: What `log_evaluation` has drawn.
        tracked: The run.
        output: Its folder on this machine.
        lineage: Where the scores come from.
        leakage: The audit against the training set, and the gains; None: the page explains the absence.
        known: The proteins whose sequences the language model has read; None: there is none, or not known.
        network: The called networks; None: only the pairs are drawn.
        uncalibrated: Why the scores are no probabilities; empty if they are.
    """
    probabilities = sigmoid(scored.logits)
    metrics = {**measured.metrics, **_gains(leakage)}
    over_thresholds = _over_thresholds(network, tracked, output)
    both = 0 < scored.table.positives < len(scored.table)
    content = ReportContent(
        kind=f"Evaluation, {scored.split}",
        title=f"{scored.model} on {scored.inputs.name}",
        facts=facts_of(scored),
        headline=evaluation_headline(
            metrics,
            prevalence=float(scored.labels.mean()),
            measures=leakage.audit.measures if leakage else None,
        ),
        metrics=metrics_section(
            of_all_pairs(metrics),
            calls=_calls(config),
            expected=_expected(scored, probabilities) if both and not uncalibrated else None,
        ),
        curves=ranking_section(drawn) if both else _ONE_CLASS,
        calibration=uncalibrated or calibration_section(drawn),
        strata=strata_section(measured.strata) if measured.strata else None,
        leakage=_leakage(leakage, known, config),
        networks=uncalibrated or _drawn(scored, probabilities, network),
        network_metrics=_network_metrics(network, over_thresholds),
        lineage=lineage,
        made_by=made_by(tracked),
    )
    return write_report(content, tracked, output)


def _expected(scored: SplitScores, probabilities: np.ndarray) -> Table | None:
    return expected_table(probabilities, scored.labels, scored.prevalence)


def _calls(config: EvalConfig) -> str:
    resamples = config.measure.bootstrap_resamples
    intervals = f"95% intervals by bootstrap, {resamples:,} resamples." if resamples else "No intervals."
    return f"Pairs are called interacting at a probability of {THRESHOLD} or above. {intervals}"


def of_all_pairs(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics without those of strata, which have their own table."""
    names = {f"{name}{end}" for name in METRICS for end in ("", "_ci_low", "_ci_high")}
    return {name: value for name, value in metrics.items() if name in names}


def _gains(leakage: EvaluatedLeakage | None) -> dict[str, float]:
    if leakage is None:
        return {}
    return {name.removeprefix(f"{leakage.prefix}/"): gain for name, gain in leakage.gain_metrics.items()}


def _leakage(leakage: EvaluatedLeakage | None, known: KnownSequences | None, config: EvalConfig) -> Part:
    part = _audit(leakage, config)
    if known is None:
        return part
    said = f"{known.sentence}."
    return replace(part, text=(*part.text, said)) if isinstance(part, Section) else f"{part} {said}"


def _audit(leakage: EvaluatedLeakage | None, config: EvalConfig) -> Section | str:
    if leakage:
        found = leakage.audit.measures
        return leakage_section(found, train=leakage.train.source, test=leakage.test, notes=leakage.notes)
    if config.leakage.audit == "off":
        return "The test pairs were not compared with the training pairs: audit=off."
    if config.given.scores and not config.given.trained_on:
        return "It is not known what the tool was trained on: trained_on names a table of these pairs."
    if config.pairs.split == "train":
        return "These are the training pairs themselves."
    return (
        "The test pairs could not be compared with the training pairs: these could not be read, or neither "
        "names nor sequences say which proteins are the same."
    )


def write_report(content: ReportContent, tracked: TrackedRun, output: Path) -> Path:
    """Writes the page into a run's folder and uploads it."""
    path = output / REPORT
    write_file(path, render_report(content).encode())
    tracked.log_file(path)
    return path


def facts_of(scored: SplitScores) -> tuple[tuple[str, str], ...]:
    """Key facts about the scored pairs, for the top of a page."""
    return (
        ("data set", scored.inputs.name),
        ("split", scored.split),
        ("pairs", f"{len(scored.table):,}"),
        ("interacting", f"{scored.table.positives:,} ({scored.labels.mean():.1%})"),
        ("proteins", f"{len(scored.table.proteins):,}"),
        *([] if scored.given_by else [("embedder", str(scored.inputs.cache.spec.embedder["name"]))]),
        *([("left out", f"{scored.unscored:,} without a score")] if scored.unscored else []),
    )


def made_by(tracked: TrackedRun) -> str:
    """The last line of a page: date, code version and run."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return f"Made on {day} (UTC) by ppi_train {code_version()}, run {tracked.run_id}."


def ranking_section(drawn: Mapping[str, Figure]) -> Section:
    """The curves of precision over recall, and of true over false positive rate."""
    from ppi_train.reporting.figures import as_svg  # matplotlib, slow to import

    return Section(
        pictures=(
            Picture(
                svg=as_svg(drawn["precision_recall"], title="Precision-recall"),
                alt="Precision against recall; the share of interacting pairs is a dashed line",
                caption="Of the pairs called, how many are right. The dashed line is guessing.",
            ),
            Picture(
                svg=as_svg(drawn["roc"], title="ROC"),
                alt="True positive rate against false positive rate, with chance as a dashed diagonal",
                caption="How many interacting pairs are found at the price of how many others.",
            ),
        )
    )


def calibration_section(drawn: Mapping[str, Figure]) -> Section:
    """Whether probabilities mean what they say, and what the surest predictions are worth."""
    from ppi_train.reporting.figures import as_svg

    pictures = [
        Picture(
            svg=as_svg(drawn["reliability"], title="Reliability"),
            alt="Observed share of interacting pairs against predicted probability, and pairs per bin",
            caption="On the diagonal, a probability means what it says. Bars below: pairs per bin.",
            shape="tall",
        )
    ]
    if "score_histogram" not in drawn:  # the pairs have one class only
        return Section(pictures=tuple(pictures))
    pictures.append(
        Picture(
            svg=as_svg(drawn["score_histogram"], title="Scores of either class"),
            alt="Histogram of the probabilities of interacting and of non-interacting pairs",
            caption="The less the two overlap, the better the classes are told apart.",
        )
    )
    if "precision_by_kept" not in drawn:
        return Section(text=("The model gives no uncertainty of its scores.",), pictures=tuple(pictures))
    pictures.append(
        Picture(
            svg=as_svg(drawn["precision_by_kept"], title="Precision by share kept"),
            alt="Precision against the share of the pairs that is kept, the surest first, in two orders",
            caption="If only the surest predictions are kept, how many of the called pairs are right.",
        )
    )
    return Section(pictures=tuple(pictures))


def _drawn(scored: SplitScores, probabilities: np.ndarray, network: EvaluatedNetwork | None) -> Part:
    """The section that draws the true and the called network."""
    from ppi_train.reporting.network_figure import readable_part

    table = scored.table
    if network is None:
        true, called = (table.index[mask] for mask in (scored.labels == 1, probabilities >= THRESHOLD))
        part = readable_part(table.proteins, true, called, tested=table.index)
        how = f"Pairs are called at a probability of {THRESHOLD}. What was not tested cannot be drawn."
    else:
        shown = network.expected or network.matched or network.half
        part = readable_part(network.truth.proteins, _edges(network.truth), _edges(shown.network))
        how = f"All pairs were scored, and are called at a probability of {shown.probability:.3f}."
    if not part.names:
        return "No network is drawn: no two proteins interact."
    return _networks(part, how, proteins=len(table.proteins))


def _edges(network: Network) -> np.ndarray:
    """Edges as index pairs, (e, 2), each edge once."""
    rows, columns = network.adjacency.nonzero()
    upper = rows <= columns
    return np.stack([rows[upper], columns[upper]], axis=1)


def _networks(part: DrawnNetwork, how: str, *, proteins: int) -> Section:
    from ppi_train.reporting import figures, network_figure

    found, missed, false = (len(one) for one in (part.found, part.missed, part.false))
    return Section(
        text=(
            f"{len(part.names)} of the {proteins:,} proteins: the one with most true partners and those "
            "reached from it, breadth-first by at most four new partners each. Proteins have the same place "
            f"in both. Of their {part.tested:,} tested pairs {found + missed} are true: {found} found, "
            f"{missed} missed; {false} others are called. {how}",
        ),
        pictures=(
            Picture(
                svg=figures.as_svg(network_figure.true_network_figure(part)),
                alt=f"True network of {len(part.names)} proteins: {found} edges found, drawn solid; "
                f"{missed} missed, dashed",
            ),
            Picture(
                svg=figures.as_svg(network_figure.predicted_network_figure(part)),
                alt=f"Predicted network of the same proteins: {found} true edges, drawn solid; {false} "
                "false, dotted",
            ),
        ),
    )


def _over_thresholds(network: EvaluatedNetwork | None, tracked: TrackedRun, output: Path) -> Section:
    """Draws and uploads graph similarity over thresholds; empty without node sets."""
    if network is None or network.curve is None:
        return Section()
    from ppi_train.reporting import figures, threshold_curve  # matplotlib, slow to import

    marked = {name: called.threshold for name, called in network.headings.items()}
    figure = threshold_curve.similarity_figure(network.curve, marked)
    for path in figures.save_figures({"graph_similarity": figure}, output / "figures"):
        tracked.log_file(path, "figures")
    return Section(
        pictures=(threshold_curve.similarity_picture(network.curve, marked, figure),),
        tables=(threshold_curve.similarity_table(network.curve, marked),),
    )


def _network_metrics(network: EvaluatedNetwork | None, over_thresholds: Section) -> Part:
    if network is None:
        return None
    at = network.headings
    overall = {
        f"{kind.replace('_', ' ')}, {name}": found.overall
        for kind in network.half.by_kind
        for name, called in at.items()
        if (found := called.by_kind.get(kind))
    }
    function = {name: called.function for name, called in at.items()} | {"truth": network.true_function}
    edges = ", ".join(f"{called.network.edges:,} {name}" for name, called in at.items())
    section = network_metrics_section(
        overall,
        function=function if network.true_function else None,
        notes=(
            f"{network.scored:,} pairs were scored and {network.truth.edges:,} are true; called: {edges}",
            *network_sentences(network),
            *network.notes,
        ),
    )
    return replace(section, pictures=over_thresholds.pictures, tables=section.tables + over_thresholds.tables)
