"""Paired bootstrap: does one model rank the same pairs better than another?

Efron & Tibshirani 1993, "An introduction to the bootstrap", chapter 13, on the difference of two
metrics: each resample draws the same pairs for both models, so that what makes a draw easy or hard
for both cancels, and the interval of the difference is narrower than the two intervals would suggest.
Proteins are drawn as well as pairs; see `resampling`.

Legend of shapes: n pairs, g groups of equal score in ascending order, r resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.pair_metrics import Floats, checked_scores, ranking_metrics
from ppi_train.evaluation.resampling import interval, resample
from ppi_train.evaluation.weighted_metrics import ScoreGroups, ranking_of_counts

METRICS = ("auprc", "auroc")


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """One metric of two models on the same pairs.

    `difference` is candidate minus holder; `low` and `high` are the ends of its interval.
    """

    candidate: float
    holder: float
    difference: float
    low: float
    high: float


def paired_differences(
    candidate: npt.NDArray[Any],
    holder: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    pairs: npt.NDArray[Any],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> dict[str, PairedDifference]:
    """Computes the differences of two models' ranking metrics, with intervals.

    1,000 resamples of 52,000 pairs take some seconds; only one resample is in memory at a time. A resample
    without one of the classes is drawn again, as in `bootstrap_intervals`.

    Args:
        candidate: (n,) scores of one model: logits or probabilities, only their order counts.
        holder: (n,) scores of the other model for the same pairs, in the same order.
        labels: (n,) 0 or 1.
        pairs: (n, 2) numbers of the proteins of each pair.
        resamples: How many times proteins and pairs are drawn.
        confidence: Share of the resamples between the two ends.
        seed: The same seed gives the same intervals.

    Returns:
        The comparison by metric, `auprc` and `auroc`. The values of the two models are sklearn's.

    Raises:
        DataError: Shapes differ, a label is neither 0 nor 1, one class only, or a score is not finite.
    """
    assert resamples > 0, resamples
    assert 0 < confidence < 1, confidence
    scores, truth = [], np.empty(0, dtype=np.int8)
    for model_scores in (candidate, holder):
        values, truth = checked_scores(model_scores, labels)
        scores.append(values)
    assert pairs.shape == (truth.size, 2), pairs.shape
    points = [ranking_metrics(model_scores, truth) for model_scores in scores]
    groups = [ScoreGroups.of(model_scores, truth) for model_scores in scores]
    # alternating: by protein, by pair
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    for draw in resample(pairs, truth, resamples=resamples, seed=seed):
        for weights in draw:
            ours, theirs = (_ranked(model_groups, weights) for model_groups in groups)
            for name in METRICS:
                found[name].append(ours[name] - theirs[name])
    differences = {name: points[0][name] - points[1][name] for name in METRICS}
    ends = {
        name: interval(
            differences[name],
            np.array(found[name][::2]),
            np.array(found[name][1::2]),
            confidence=confidence,
            bounds=(-1.0, 1.0),
        )
        for name in METRICS
    }
    return {
        name: PairedDifference(
            candidate=points[0][name],
            holder=points[1][name],
            difference=differences[name],
            low=ends[name][0],
            high=ends[name][1],
        )
        for name in METRICS
    }


def _ranked(groups: ScoreGroups, weights: Floats) -> dict[str, float]:
    found = ranking_of_counts(groups.counts(weights)[None])
    return {name: float(values[0]) for name, values in found.items()}
