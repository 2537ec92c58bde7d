"""What `eval_only` writes and prints of evaluated networks."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ppi_train.evaluation.network.curve import ThresholdCurve
from ppi_train.evaluation.pair_metrics import sigmoid
from ppi_train.io.files import write_file
from ppi_train.modes.eval_only.networks import EvaluatedNetwork, PredictedNetwork
from ppi_train.tracking.run import TrackedDataset, TrackedRun

logger = logging.getLogger(__name__)


def log_network(
    evaluated: EvaluatedNetwork,
    tracked: TrackedRun,
    folder: Path,
    *,
    model_id: str | None,
    dataset: TrackedDataset,
) -> None:
    """Logs the metrics, writes and uploads `network.json`, and prints the table.

    A tracking store rejects an infinite value, or replaces it by the largest number. Infinite values are
    therefore only in the file, and a warning names them.
    """
    infinite = sorted(name for name, value in evaluated.metrics.items() if not math.isfinite(value))
    finite = {name: value for name, value in evaluated.metrics.items() if math.isfinite(value)}
    tracked.log_metrics(finite, model_id=model_id, dataset=dataset)
    path = folder / "network.json"
    write_file(path, (json.dumps(_record(evaluated), indent=2, allow_nan=False) + "\n").encode())
    tracked.log_file(path)
    logger.info("%s", network_text(evaluated))
    if infinite:
        logger.warning("infinite, and in network.json alone: %s", ", ".join(infinite))


def _record(evaluated: EvaluatedNetwork) -> dict[str, object]:
    """The results as JSON values; infinite numbers as text."""
    networks = {suffix[1:] or "at_0.5": called for suffix, called in evaluated.called.items()}
    return {
        "proteins": len(evaluated.truth.proteins),
        "scored_pairs": evaluated.scored,
        "true_edges": evaluated.truth.edges,
        "true_function": dict(evaluated.true_function),
        "notes": list(evaluated.notes),
        "noise": evaluated.noise,
        "estimated_edges": evaluated.estimated_edges,
        "expected_edges": evaluated.how,
        **{name: _called_record(called) for name, called in networks.items()},
    } | (_curve_record(evaluated.curve) if evaluated.curve else {})


def _called_record(called: PredictedNetwork) -> dict[str, object]:
    kinds = {
        kind: {
            "overall": _plain(measured.overall),
            "by_size": {size: _plain(values) for size, values in measured.by_size.items()},
        }
        for kind, measured in called.by_kind.items()
    }
    return {
        "threshold_logit": called.threshold,
        "threshold": called.probability,
        "edges": called.network.edges,
        "node_sets": kinds,
        "function": dict(called.function),
    }


def _curve_record(curve: ThresholdCurve) -> dict[str, object]:
    points = [
        {
            "threshold_logit": float(threshold),
            "threshold": float(sigmoid(threshold)),
            "edges": int(edges),
            "node_sets": {
                kind: _plain({name: float(values[place]) for name, values in found.items()})
                for kind, found in curve.by_kind.items()
            },
        }
        for place, (threshold, edges) in enumerate(zip(curve.thresholds, curve.edges, strict=True))
    ]
    every_pair = {kind: _plain(found) for kind, found in curve.everything.items()}
    return {"over_thresholds": points, "every_pair": every_pair}


def _plain(values: Mapping[str, float]) -> dict[str, float | str]:
    return {name: value if math.isfinite(value) else "infinite" for name, value in values.items()}


def network_text(evaluated: EvaluatedNetwork) -> str:
    """A readable table of the metrics at all thresholds."""
    columns = list(evaluated.called.values())
    lines = [
        f"network of {len(evaluated.truth.proteins):,} proteins, {evaluated.truth.edges:,} edges in truth",
        _row("", list(evaluated.headings), "truth"),
        _row("edges", [f"{called.network.edges:,}" for called in columns], f"{evaluated.truth.edges:,}"),
    ]
    for kind, measured in evaluated.half.by_kind.items():
        for name in measured.overall:
            values = [_number(called.by_kind[kind].overall[name]) for called in columns]
            lines.append(_row(f"{kind} {name}", values, _PERFECT.get(name, "")))
    for name, true in evaluated.true_function.items():
        lines.append(_row(name, [_number(called.function[name]) for called in columns], _number(true)))
    return "\n".join([*lines, *(f"  {sentence}" for sentence in network_sentences(evaluated))])


def network_sentences(evaluated: EvaluatedNetwork) -> list[str]:
    """What the thresholds follow from, each without its stop."""
    found = []
    if evaluated.matched:
        found.append("matched: validation pairs are called as densely as the true network has edges")
    if evaluated.expected:
        found.append(f"expected: {evaluated.how}")
    for kind in evaluated.curve.by_kind if evaluated.curve else ():
        assert evaluated.curve
        best = evaluated.curve.best(kind)
        found.append(
            f"over all thresholds the highest graph similarity is {best['graph_similarity']:.3f} ({kind}), "
            f"at a relative density of {best['relative_density']:.2f}; that of calling every pair is "
            f"{evaluated.curve.everything[kind]['graph_similarity']:.3f}"
        )
    if evaluated.estimated_edges is not None:
        found.append(
            f"by the scores alone, {evaluated.estimated_edges:,.0f} edges are expected; far from "
            f"{evaluated.truth.edges:,}, the probabilities do not hold for these proteins"
        )
    return found


def _number(value: float) -> str:
    return f"{value:,.4f}" if abs(value) < 100 else f"{value:,.0f}"


# Metrics of a network compared with itself.
_PERFECT = {"graph_similarity": "1", "relative_density": "1"} | {
    f"{name}_mmd": "0" for name in ("degree", "clustering", "spectral")
}


def _row(label: str, values: Sequence[str], truth: str) -> str:
    return f"  {label:40}" + "".join(f"{cell:>17}" for cell in [*values, truth])
