"""Bootstrap confidence intervals of the pair metrics.

Both proteins and pairs are resampled; `resampling` explains how, and why both. A thousand resamples of 50,000
pairs are affordable since nothing is sorted twice; see `weighted_metrics`.

Legend of shapes: n pairs, g groups of equal score in ascending order, r resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.pair_metrics import BOUNDS, Floats, Labels, checked_probabilities, checked_scores
from ppi_train.evaluation.resampling import interval, resample
from ppi_train.evaluation.weighted_metrics import ScoreGroups, WeightedPairMetrics, ranking_of_counts

# Weights (r, 2, g) to the metrics, each (r,).
Measure = Callable[[Floats], dict[str, Floats]]

_CELLS_AT_ONCE = 1 << 17  # weights per chunk: 1 MiB of float64 stays near the processor, and bounds memory


def bootstrap_intervals(
    probabilities: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    pairs: npt.NDArray[Any],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """Computes the confidence interval of each pair metric.

    1,000 resamples of 52,000 pairs take some seconds. A resample without one of the classes has no AUROC; it
    is drawn again, so that the intervals are conditional on both classes being present (this matters only
    for a handful of pairs).

    Args:
        probabilities: (n,) between 0 and 1.
        labels: (n,) 0 or 1.
        pairs: (n, 2) numbers of the proteins of each pair.
        resamples: How many times proteins and pairs are drawn.
        confidence: Share of the resamples between the two ends.
        seed: The same seed gives the same intervals.

    Returns:
        Lower and upper end by metric, the names of `pair_metrics`.

    Raises:
        DataError: As in `pair_metrics`.
    """
    values, truth = checked_probabilities(probabilities, labels)
    groups = ScoreGroups.of(values, truth)
    return _intervals(groups, WeightedPairMetrics(groups.values), truth, pairs, resamples, confidence, seed)


def ranking_intervals(
    scores: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    pairs: npt.NDArray[Any],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """Computes the intervals of `auroc` and `auprc` alone.

    For scores of any kind; takes a third of the time of `bootstrap_intervals`.
    """
    values, truth = checked_scores(scores, labels)
    groups = ScoreGroups.of(values, truth)
    return _intervals(groups, ranking_of_counts, truth, pairs, resamples, confidence, seed)


def _intervals(
    groups: ScoreGroups,
    measure: Measure,
    labels: Labels,
    pairs: npt.NDArray[Any],
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, tuple[float, float]]:
    assert resamples > 0, resamples
    assert 0 < confidence < 1, confidence
    assert pairs.shape == (labels.size, 2), pairs.shape
    points = measure(groups.counts()[None])
    at_once = max(1, _CELLS_AT_ONCE // (4 * groups.values.size))
    # alternating: by protein, by pair
    results: dict[str, list[Floats]] = {name: [] for name in points}
    draws = resample(pairs, labels, resamples=resamples, seed=seed)
    while chunk := list(islice(draws, at_once)):
        counts = np.stack([groups.counts(weights) for draw in chunk for weights in draw])
        for name, found in measure(counts).items():
            results[name].append(found)
    found_by_name = {name: np.concatenate(found) for name, found in results.items()}
    return {
        name: interval(
            float(points[name][0]), found[::2], found[1::2], confidence=confidence, bounds=BOUNDS[name]
        )
        for name, found in found_by_name.items()
    }
