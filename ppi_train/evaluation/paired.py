"""Whether one model ranks the same pairs better than another: the paired bootstrap over pairs.

Efron & Tibshirani 1993, "An introduction to the bootstrap", chapter 13, on the difference of two
metrics: each resample draws the same pairs for both models, so that what makes a draw easy or hard
for both cancels, and the interval of the difference is narrower than the two intervals would suggest.
As in `bootstrap`, pairs that share a protein are not independent: the interval is a lower bound.

Legend of shapes: n pairs, g groups of equal score in ascending order, r resamples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.bootstrap import ScoreGroups, weighted_auroc, weighted_average_precision
from ppi_train.evaluation.pair_metrics import Floats, Labels, checked_scores, ranking_metrics

METRICS = {"auprc": weighted_average_precision, "auroc": weighted_auroc}


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
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> dict[str, PairedDifference]:
    """Compares two models; 1,000 resamples of 52,000 pairs take a few seconds, and memory for one.

    A resample without one of the classes is drawn again, as in `bootstrap_intervals`.

    Args:
        candidate: (n,) scores of one model: logits or probabilities, only their order counts.
        holder: (n,) scores of the other model for the same pairs, in the same order.
        labels: (n,) 0 or 1.
        resamples: How many times the pairs are drawn.
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
    for one in (candidate, holder):
        values, truth = checked_scores(one, labels)
        scores.append(values)
    points = [ranking_metrics(one, truth) for one in scores]
    groups = [ScoreGroups.of(one, truth) for one in scores]
    differences: dict[str, Floats] = {name: np.empty(resamples) for name in METRICS}
    for place, draw in enumerate(_draws(truth, resamples, seed)):
        ours, theirs = (one.counts(one.codes[draw]) for one in groups)
        for name, metric in METRICS.items():
            differences[name][place] = metric(ours[0], ours[1]) - metric(theirs[0], theirs[1])
    tail = (1 - confidence) / 2
    ends = {name: np.quantile(differences[name], (tail, 1 - tail)) for name in METRICS}
    return {
        name: PairedDifference(
            candidate=points[0][name],
            holder=points[1][name],
            difference=points[0][name] - points[1][name],
            low=float(ends[name][0]),
            high=float(ends[name][1]),
        )
        for name in METRICS
    }


def _draws(labels: Labels, resamples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Row numbers (n,) of each resample; all hold both classes."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        while True:
            draw = rng.integers(0, labels.size, labels.size)
            if 0 < int(np.count_nonzero(labels[draw])) < labels.size:
                break
        yield draw
