"""How much the best of several trials flatters itself, by bootstrap.

The best of n trials is chosen on the validation pairs, and its metric there is partly luck: of n equally good
trials the best one's value is too good by some standard errors. In each resample of the pairs the best trial
is chosen by its metric on the resample, and measured again on the pairs outside of it; what it loses is
compared with what all trials lose on average, which removes the noise that the trials share.

The raw loss is too large: the pairs outside of a resample are its complement, so that luck on the one is bad
luck on the other. It is multiplied by 0.632, the share of the pairs that a resample holds, as in the .632
estimator (Efron 1983, "Estimating the error rate of a prediction rule", JASA 78). For Gaussian metrics the
product is 0.89 times the true optimism if all trials are equally good, and tends to 1.26 times where the
trials differ by more than their standard errors, and the optimism itself tends to 0.

Pairs are drawn, not proteins, so that the intervals are narrower than those of `bootstrap`.

Legend of shapes: t trials, n pairs, r resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.base_rate import BASE_RATES
from ppi_train.evaluation.bootstrap import interval
from ppi_train.evaluation.pair_metrics import BOUNDS, Floats, Labels, checked_scores
from ppi_train.evaluation.weighted_metrics import WeightedRanking
from ppi_train.io.allocator import keep_freed_memory

Metric = Literal["auroc", "auprc", "auprc_1to100", "loss"]

LEAST_OF_CLASS = 2
"""Pairs of each class that there must be: a resample and the pairs outside of it both need one."""

_SHARE_DRAWN = 0.632
_NORMAL_95 = 1.96


@dataclass(frozen=True, kw_only=True)
class BestOfMany:
    """The best of n trials, and the expected optimism of its metric.

    Attributes:
        best: Position of the best trial.
        optimism: How much better its metric is than on new pairs, in units of the metric; positive means too
            good, also of the loss. 0 of a single trial.
        low, high: 95% interval of `optimism` by the number of resamples.
        values: (t,) the metric of each trial on all pairs.
        intervals: (t, 2) the ends of its 95% interval.
        tied: (t,) whether the 95% interval of its difference to the best trial on the same pairs contains 0.
    """

    best: int
    optimism: float
    low: float
    high: float
    values: Floats
    intervals: Floats
    tied: npt.NDArray[np.bool_]

    @property
    def n_trials(self) -> int:
        return len(self.values)


def best_of_many(
    logits: npt.NDArray[Any], labels: npt.NDArray[Any], *, metric: Metric, resamples: int = 200, seed: int
) -> BestOfMany:
    """Estimates the optimism of choosing the best of several trials.

    40 trials on 60,000 pairs with 200 resamples take about 12 s of one core.

    Args:
        logits: (t, n) of the same pairs by each trial.
        labels: (n,) 0 or 1, at least `LEAST_OF_CLASS` of each.
        metric: `loss`, the mean log loss, is best when lowest.
        resamples: How many times the pairs are drawn.
        seed: The same seed gives the same result.

    Raises:
        DataError: Shapes differ, a label is neither 0 nor 1, one class only, or a logit is not finite.
    """
    assert resamples > 1, resamples
    assert len(logits), "no trial"
    scores, truth = [], np.empty(0, dtype=np.int8)
    for row in logits:
        values, truth = checked_scores(row, labels)
        scores.append(values)
    assert np.bincount(truth, minlength=2).min() >= LEAST_OF_CLASS, "too few pairs of a class"
    keep_freed_memory()
    drawn = _draws(truth, resamples, np.random.default_rng(seed))
    points, inside, outside = (
        np.stack(found, axis=0)
        for found in zip(*(_of_trial(row, truth, drawn, metric) for row in scores), strict=True)
    )
    better = -1.0 if metric == "loss" else 1.0
    lost = better * (inside - outside)
    chosen = (better * inside).argmax(axis=0)
    luck = _SHARE_DRAWN * (lost[chosen, np.arange(resamples)] - lost.mean(axis=0))
    optimism, error = float(luck.mean()), _NORMAL_95 * float(luck.std(ddof=1)) / resamples**0.5
    bounds = BOUNDS["log_loss" if metric == "loss" else metric]
    ends = [
        interval(float(point), resampled, resampled, confidence=0.95, bounds=bounds)
        for point, resampled in zip(points, inside, strict=True)
    ]
    best = int((better * points).argmax())
    behind = np.quantile(inside[best] - inside, (0.025, 0.975), axis=1)
    return BestOfMany(
        best=best,
        optimism=optimism,
        low=optimism - error,
        high=optimism + error,
        values=points,
        intervals=np.array(ends),
        tied=(behind[0] <= 0) & (behind[1] >= 0),
    )


def _draws(labels: Labels, resamples: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """How often each pair is drawn, (r, n); both classes are inside and outside of each draw."""
    size = labels.size
    drawn: list[npt.NDArray[np.uint8]] = []
    while len(drawn) < resamples:
        times = np.bincount(rng.integers(0, size, size), minlength=size).astype(np.uint8)
        if all(0 < labels[part].sum() < part.sum() for part in (times > 0, times == 0)):
            drawn.append(times)
    return np.stack(drawn)


def _of_trial(
    scores: Floats, labels: Labels, drawn: npt.NDArray[np.uint8], metric: Metric
) -> tuple[float, Floats, Floats]:
    """The metric on all pairs, and on those inside (r,) and outside (r,) of each draw."""
    measure = _measure(scores, labels, metric)
    inside = np.array([measure(times.astype(np.float64)) for times in drawn])
    outside = np.array([measure((times == 0).astype(np.float64)) for times in drawn])
    return measure(np.ones(labels.size)), inside, outside


def _measure(scores: Floats, labels: Labels, metric: Metric) -> Callable[[Floats], float]:
    """A function from weights (n,) to the metric of the weighted pairs."""
    if metric == "loss":
        costs = np.logaddexp(0.0, scores) - labels * scores
        return lambda weights: float(weights @ costs / weights.sum())
    ranking = WeightedRanking(scores, labels)
    if metric == "auprc_1to100":
        rate = BASE_RATES["1to100"]
        return lambda weights: ranking.average_precision_at(weights[ranking.order].astype(np.int64), rate)
    return lambda weights: ranking(weights[ranking.order].astype(np.int64))[metric]
