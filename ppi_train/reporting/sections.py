"""Report sections on metrics, baselines, strata, leakage and networks.

Metrics have the names under which a run logs them, without `test/`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ppi_train.evaluation.measure import StratumMetrics
from ppi_train.reporting.page import (
    Bar,
    Column,
    Estimate,
    Headline,
    Level,
    Row,
    Scale,
    Section,
    Table,
    columns,
    number,
)

# Label and meaning of each metric, in the order of the table.
METRICS = {
    "auprc": ("AUPRC", "precision, averaged over recall; guessing gives the share of interacting pairs"),
    "auprc_1to100": (
        "AUPRC at 1:100",
        "the same if interacting and other pairs stood 1:100; guessing gives 0.01",
    ),
    "auroc": ("AUROC", "how often an interacting pair ranks above a non-interacting one; guessing gives 0.5"),
    "auprc_over_trivial": ("AUPRC over trivial", "gain over the best trivial baseline; 0 is no gain"),
    "auroc_over_trivial": ("AUROC over trivial", "the same for AUROC"),
    "precision_at_recall_10": ("Precision at 10% recall", "where a tenth of the interacting pairs are found"),
    "precision_at_recall_50": ("Precision at 50% recall", "where half of the interacting pairs are found"),
    "recall_at_fpr_1": ("Recall at 1% false positives", "share found while 1% of the other pairs are called"),
    "accuracy": ("Accuracy", "share of correct calls at the threshold"),
    "f1": ("F1", "harmonic mean of precision and recall at the threshold; ignores true negatives"),
    "mcc": ("MCC", "correlation of call and truth at the threshold; 0 is guessing"),
    "brier": ("Brier score", "mean squared error of the probability; lower is better"),
    "log_loss": (
        "Log loss",
        "surprise at the truth, in nats; lower is better; always predicting 0.5 gives 0.693",
    ),
    "ece": ("ECE", "distance of probability and frequency, bins of equal width; lower is better"),
    "ece_adaptive": ("ECE, adaptive bins", "the same, bins of equal numbers of pairs; lower is better"),
}


@dataclass(frozen=True, kw_only=True)
class _Limit:
    """Limits above which a measure of leakage is suspicious, or bad."""

    label: str
    why: str
    watch: float
    bad: float
    word: str = "leak"
    share: bool = True


_LIMITS = {
    "shared_pairs": _Limit(
        label="test pairs that are training pairs",
        why="The model may have memorised these. Even one is too many.",
        watch=0.0,
        bad=0.0,
    ),
    "c1": _Limit(
        label="test pairs, both proteins in training (C1)",
        why="Such pairs can be judged by how often their proteins interact. Above a half, the score says "
        "little about new proteins.",
        watch=0.0,
        bad=0.5,
        word="known proteins",
    ),
    "shared_proteins": _Limit(
        label="test proteins that are in training",
        why="A benchmark for new proteins has none; above a tenth it is not such a benchmark.",
        watch=0.0,
        bad=0.1,
        word="known proteins",
    ),
    "identity_above_30": _Limit(
        label="test proteins with a relative of more than 30% identity in training",
        why="Relatives often share partners. The search finds about half of distant relatives: the true "
        "share is higher.",
        watch=0.1,
        bad=0.5,
        word="relatives",
    ),
    "identity_above_40": _Limit(
        label="test proteins with a relative of more than 40% identity in training",
        why="Test sets designed to be free of leakage have none above 40%.",
        watch=0.0,
        bad=0.05,
    ),
    "identity_above_90": _Limit(
        label="test proteins with a near copy in training (over 90% identity)",
        why="The same protein under another name.",
        watch=0.0,
        bad=0.01,
    ),
    "degree_auroc": _Limit(
        label="AUROC of degree alone",
        why="Ranks by the number of training partners, without any biology. Above 0.6 the negatives are "
        "mostly proteins with few partners.",
        watch=0.55,
        bad=0.6,
        word="degree bias",
        share=False,
    ),
    "nearest_auroc": _Limit(
        label="AUROC of the nearest training pairs",
        why="Looks up similar pairs, which is not generalisation. Above 0.6 much of the test set can be "
        "predicted this way.",
        watch=0.55,
        bad=0.6,
        word="look-up",
        share=False,
    ),
}  # fmt: skip
BASELINES = {"nearest": "nearest training pairs", "degree": "degree in training alone"}


def estimate_of(metrics: Mapping[str, float], name: str) -> Estimate:
    """A metric with its interval, if the metrics contain one."""
    return Estimate(
        value=metrics[name], low=metrics.get(f"{name}_ci_low"), high=metrics.get(f"{name}_ci_high")
    )


def evaluation_headline(
    metrics: Mapping[str, float], *, prevalence: float, measures: Mapping[str, float] | None = None
) -> Headline:
    """AUPRC and AUROC next to the trivial baselines.

    Args:
        metrics: With `auprc` and `auroc`, unless the pairs have one class only.
        prevalence: The share of interacting pairs, which is the AUPRC of any constant.
        measures: Of an audit: `degree_auprc`, `degree_auroc` and the same of `nearest`, where present.
    """
    if "auroc" not in metrics:
        return Headline(sentences=(_of_one_class(metrics, prevalence),))
    bars: dict[str, list[Bar]] = {}
    for name in ("auprc", "auroc"):
        bars[name] = [Bar(label="this model", estimate=estimate_of(metrics, name))]
        bars[name] += [
            Bar(label=label, estimate=Estimate(value=measures[f"{key}_{name}"]), of="baseline")
            for key, label in BASELINES.items()
            if measures and f"{key}_{name}" in measures
        ]
    sentences = _sentences(metrics, prevalence, measures)
    return Headline(sentences=sentences, scales=ranking_scales(bars, prevalence=prevalence, large=True))


def ranking_scales(bars: Mapping[str, Sequence[Bar]], *, prevalence: float, large: bool) -> tuple[Scale, ...]:
    """The scales of AUPRC and AUROC: the bars of each, and that of a constant score."""
    scales = (
        ("auprc", "area under precision over recall", "class balance", prevalence),
        ("auroc", "area under the ROC curve", "chance", 0.5),
    )
    return tuple(
        Scale(
            name=name.upper(),
            meaning=meaning,
            bars=(*bars[name], Bar(label=f"constant: {what}", estimate=Estimate(value=value), of="chance")),
            large=large,
        )
        for name, meaning, what, value in scales
    )


def _of_one_class(metrics: Mapping[str, float], prevalence: float) -> str:
    which = "All pairs interact" if prevalence else "No pair interacts"
    text = f"{which}: how well the model ranks pairs cannot be measured, since that needs both classes."
    return f"{text} It calls {metrics['accuracy']:.1%} of them correctly." if "accuracy" in metrics else text


def _sentences(
    metrics: Mapping[str, float], prevalence: float, measures: Mapping[str, float] | None
) -> tuple[str, ...]:
    auroc, auprc = estimate_of(metrics, "auroc"), estimate_of(metrics, "auprc")
    ranked = (
        "Of an interacting and a non-interacting pair, the model ranks the interacting one higher in "
        f"{100 * auroc.value:.1f} of 100 cases"
    )
    if auroc.low is not None and auroc.high is not None:
        ranked += f" (95% interval {100 * auroc.low:.1f} to {100 * auroc.high:.1f})"
    sentences = [
        f"{ranked}; guessing gives 50. Its AUPRC is {number(auprc.value)}, where guessing gives "
        f"{number(prevalence)}, the share of interacting pairs.{_not_above_chance(auroc)}"
    ]
    if measures is None:
        return (
            *sentences,
            "No trivial baseline was scored: how much of this is degree or look-up is unknown.",
        )
    reached = {
        label: measures[f"{key}_auprc"] for key, label in BASELINES.items() if f"{key}_auprc" in measures
    }
    best = max([*reached.items(), ("a constant", prevalence)], key=lambda baseline: baseline[1])
    gain = estimate_of(metrics, "auprc_over_trivial") if "auprc_over_trivial" in metrics else Estimate(
        value=auprc.value - best[1]
    )  # fmt: skip
    interval = f" (95% interval {gain.interval})" if gain.interval else ""
    lowest = gain.value if gain.low is None else gain.low
    sentences.append(
        f"The best trivial way of scoring, {best[0]}, has an AUPRC of {number(best[1])}; the model's gain "
        f"over it is {number(gain.value)}{interval}."
        + (" It has learned nothing beyond such a baseline." if lowest <= 0 else "")
    )
    return tuple(sentences)


def _not_above_chance(auroc: Estimate) -> str:
    if auroc.low is not None and auroc.high is not None and auroc.low <= 0.5 <= auroc.high:
        return " The interval contains 50: this is no evidence that it does better than guessing."
    return ""


def metrics_section(metrics: Mapping[str, float], *, calls: str, expected: Table | None = None) -> Section:
    """A table of every metric with its interval and meaning.

    Args:
        metrics: By name.
        calls: The caption, which states the threshold at which pairs are called.
        expected: A second table, of what is expected where interactions are rare.
    """
    rows = []
    for name in listed(metrics):
        label, meaning = described(name)
        found = estimate_of(metrics, name)
        rows.append(Row(cells=(label, number(found.value), found.interval or "–", meaning)))
    heads = (*columns(["metric"], ["value", "95% interval"]), Column(name="what it says", kind="prose"))
    table = Table(caption=calls, columns=heads, rows=tuple(rows))
    return Section(tables=(table, expected) if expected else (table,))


def listed(metrics: Mapping[str, float]) -> list[str]:
    """The names of the metrics of a table, in its order; the rest by name."""
    names = [name for name in metrics if not name.endswith(("_ci_low", "_ci_high")) and "/" not in name]
    order = list(METRICS)
    return sorted(names, key=lambda name: (order.index(name) if name in METRICS else len(order), name))


def described(name: str) -> tuple[str, str]:
    """The label and the meaning of a metric."""
    return METRICS.get(name, (name.replace("_", " "), ""))


def strata_section(rows: Sequence[StratumMetrics]) -> Section:
    """The metrics of the strata of the test set."""
    shown = tuple(
        Row(
            cells=(
                stratum.by.replace("_", " "),
                stratum.label,
                f"{stratum.pairs:,}",
                f"{stratum.positives / stratum.pairs:.1%}" if stratum.pairs else "–",
                *_value_and_interval(stratum.auprc, stratum.auprc_low, stratum.auprc_high),
                *_value_and_interval(stratum.auroc, stratum.auroc_low, stratum.auroc_high),
            )
        )
        for stratum in rows
    )
    numbers = ("pairs", "interacting", "AUPRC", "95% interval", "AUROC", "95% interval")
    heads = columns(["by", "stratum"], numbers)
    text = (
        "C1, C2, C3: both, one or no protein of the pair occurs in training. AUPRC is comparable only "
        "between strata with the same share of interacting pairs; AUROC between all. A dash: one class only.",
    )
    return Section(text=text, tables=(Table(caption="Test pairs by kind", columns=heads, rows=shown),))


def _value_and_interval(value: float, low: float, high: float) -> tuple[str, str]:
    """A value and its interval as text; a dash stands for nan."""
    if math.isnan(value):
        return "–", "–"
    return number(value), "–" if math.isnan(low) else f"{number(low)} to {number(high)}"


def leakage_section(
    measures: Mapping[str, float], *, train: str, test: str, notes: Sequence[str] = ()
) -> Section:
    """Overlap of test and training set, judged by fixed limits.

    Args:
        measures: Of an audit, by name; measures that are absent get no row.
        train: What the training set is called.
        test: What the test set is called.
        notes: What was left out, and why.
    """
    rows = [row for name, limit in _LIMITS.items() if (row := _judged(name, limit, measures)) is not None]
    verdicts: list[Level] = [row.level for row in rows if row.level]
    heads = (
        Column(name="measure", kind="prose"),
        *columns((), ["found", "count"]),
        Column(name="limits"),
        Column(name="why", kind="prose"),
    )
    summary = {
        "bad": "Some of the score can come from leakage: see the rows marked ✗.",
        "watch": "Nothing is over a limit; rows marked ▲ are worth a look.",
        "good": "No sign of leakage by these measures.",
    }
    worst = next((level for level in ("bad", "watch") if level in verdicts), "good")
    text = [f"{test} against {train}. {summary[worst]}"]
    text += [f"{note[:1].upper()}{note[1:]}." for note in notes]
    if "similar_share" not in measures and not notes:
        text.append("How similar the proteins are was not measured: no sequences were given.")
    caption = "What the test set shares with the training set"
    return Section(text=tuple(text), tables=(Table(caption=caption, columns=heads, rows=tuple(rows)),))


def _judged(name: str, limit: _Limit, measures: Mapping[str, float]) -> Row | None:
    key = {"c1": "c1_pairs_share"}.get(name, f"{name}_share" if limit.share else name)
    if key not in measures:
        return None
    value = measures[key]
    level: Level = "bad" if value > limit.bad else "watch" if value > limit.watch else "good"
    word = {"good": "fine", "watch": "watch", "bad": limit.word}[level]
    shown = _percent if limit.share else number
    watch, bad = (_percent(end) if limit.share else f"{end:g}" for end in (limit.watch, limit.bad))
    bounds = f"✗ > {bad}" if watch == bad else f"▲ > {watch}, ✗ > {bad}"
    return Row(
        cells=(limit.label, shown(value), _count(name, key, measures), bounds, limit.why),
        level=level,
        word=word,
    )


def _count(name: str, key: str, measures: Mapping[str, float]) -> str:
    counted = {"c1": "c1_pairs"}.get(name, name)
    if counted in measures and key != counted:
        return f"{measures[counted]:,.0f}"
    if name.startswith("identity") and "test_proteins" in measures:
        return f"{measures[key] * measures['test_proteins']:,.0f}"
    return "–"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


_NETWORK_METRICS = {
    "graph_similarity": ("graph similarity", "1"),
    "relative_density": ("relative density", "1"),
    "degree_mmd": ("degree MMD", "0"),
    "clustering_mmd": ("clustering MMD", "0"),
    "spectral_mmd": ("spectral MMD", "0"),
    "degree_mmd_ratio": ("degree MMD, ratio", "1 or less"),
    "clustering_mmd_ratio": ("clustering MMD, ratio", "1 or less"),
    "spectral_mmd_ratio": ("spectral MMD, ratio", "1 or less"),
}


def network_metrics_section(
    found: Mapping[str, Mapping[str, float]],
    *,
    function: Mapping[str, Mapping[str, float]] | None = None,
    notes: Sequence[str] = (),
) -> Section:
    """Compares the predicted network with the true one.

    Args:
        found: By the heading of each column, such as `bfs, at 0.5`: values by metric.
        function: The same for the metrics on complexes and essential proteins.
        notes: Where pairs are called, and what was left out.
    """
    tables = []
    if found:
        names = [name for name in _NETWORK_METRICS if any(name in values for values in found.values())]
        rows = tuple(Row(cells=(*_NETWORK_METRICS[name], *_across(found, name))) for name in names)
        heads = columns(["metric"], ["best", *found])
        tables.append(Table(caption="Predicted against true network", columns=heads, rows=rows))
    if function:
        listed = dict.fromkeys(name for values in function.values() for name in values)
        rows = tuple(Row(cells=(name.replace("_", " "), *_across(function, name))) for name in listed)
        heads = columns(["metric"], function)
        tables.append(Table(caption="Complexes and essential proteins", columns=heads, rows=rows))
    text = (
        "Similarity and density compare subgraph by subgraph; an MMD compares all subgraphs as two samples. "
        "A ratio is the MMD over that of two samples of the true network: 1 means as near as the truth is to "
        "itself.",
        *(f"{note[:1].upper()}{note[1:]}." for note in notes),
    )
    return Section(text=text, tables=tuple(tables))


def _across(found: Mapping[str, Mapping[str, float]], name: str) -> list[str]:
    return [number(values[name]) if name in values else "–" for values in found.values()]
