"""Calibration, selective precision, and agreement of two models.

Temperature scaling calibrates probabilities on the validation pairs (Guo et al. 2017, "On calibration of
modern neural networks"): all logits are divided by the temperature T that makes the log loss of the
validation pairs smallest. The order of the pairs stays as it is, and so do all metrics that follow from it.

Selective precision is that of the most certain pairs (El-Yaniv & Wiener 2010, "On the foundations of
noise-free selective classification").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.pair_metrics import THRESHOLD, Floats, Labels, sigmoid

LOWEST, HIGHEST = 0.05, 20.0

_FRACTIONS = np.arange(1, 21) / 20


def fitted_temperature(logits: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    """Finds the temperature of least log loss, between `LOWEST` and `HIGHEST`.

    The log loss is convex in 1/T, so that its only minimum lies where its slope, mean((sigmoid(z/T) - y) z),
    turns from negative to positive. If it does not within the range, the nearer end is taken: the lowest if
    every pair is on the right side of 0, the highest if the logits carry no information or are misleading.

    Args:
        logits: (n,) finite.
        labels: (n,) 0 or 1.

    Returns:
        1, which changes nothing, where nothing can be fitted: one class only, or all logits equal.
    """
    values, truth = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    if not values.size or np.ptp(truth) == 0 or np.ptp(values) == 0:
        return 1.0

    def slope(log_inverse: float) -> float:
        return float(np.mean((sigmoid(values * np.exp(log_inverse)) - truth) * values))

    low, high = -float(np.log(HIGHEST)), -float(np.log(LOWEST))
    if slope(low) >= 0:
        return HIGHEST
    if slope(high) <= 0:
        return LOWEST
    return float(np.exp(-_root(slope, low, high)))


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """The place, within 1e-9, where a function turns from negative at `low` to positive at `high`.

    By false position in the Illinois form (Dowell & Jarratt 1971): scipy.optimize takes a quarter of a second
    to import.
    """
    at_low, at_high = function(low), function(high)
    last = 0.0
    while high - low > 1e-9:
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        # Both ends come nearer: a step from an end that has come close is at least half the tolerance.
        middle = min(max(middle, low + 5e-10), high - 5e-10)
        found = function(middle)
        if found == 0:
            return middle
        if found < 0:
            low, at_low, at_high = middle, found, at_high / 2 if last < 0 else at_high
        else:
            high, at_high, at_low = middle, found, at_low / 2 if last > 0 else at_low
        last = found
    return (low + high) / 2


@dataclass(frozen=True)
class KeptPrecision:
    """The precision at each fraction of pairs kept; both arrays (20,).

    The precision is nan where it is not defined.
    """

    fractions: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]

    def at(self, fraction: float) -> float:
        """The precision at the nearest of the fractions."""
        return float(self.precision[np.argmin(np.abs(self.fractions - fraction))])


def precision_by_kept(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int8], uncertainty: npt.NDArray[np.float64]
) -> KeptPrecision:
    """Precision of the calls at `THRESHOLD` among the most certain pairs.

    Args:
        probabilities, labels: (n,).
        uncertainty: (n,), lower is more certain. Of pairs of equal value that are not all kept, the kept
            share of their calls counts, so that the order of the table has no influence.
    """
    called = probabilities >= THRESHOLD
    _, group, sizes = np.unique(uncertainty, return_inverse=True, return_counts=True)
    kept = np.maximum(1, np.round(_FRACTIONS * len(called)))
    ends = np.concatenate([[0], np.cumsum(sizes)])

    def kept_of(chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        counts = np.bincount(group, weights=chosen, minlength=len(sizes))
        shares: npt.NDArray[np.float64] = np.interp(kept, ends, np.concatenate([[0], np.cumsum(counts)]))
        return shares

    with np.errstate(invalid="ignore"):
        precision = kept_of(called & (labels == 1)) / kept_of(called)
    return KeptPrecision(_FRACTIONS, precision)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement of two models on the same pairs.

    Attributes:
        rank_correlation: Spearman's; NaN where a model gives all pairs the same score.
        same_calls: Share of the pairs with the same call from both models at the threshold.
        first_alone, second_alone: Share of the pairs that only this model calls correctly.
    """

    rank_correlation: float
    same_calls: float
    first_alone: float
    second_alone: float


def agreement(first: Floats, second: Floats, labels: npt.NDArray[np.integer] | Labels) -> Agreement:
    """Compares the probabilities (n,) of two models for pairs with labels (n,)."""
    from scipy.stats import rankdata  # a third of a second to import

    first_ranks, second_ranks = rankdata(first), rankdata(second)
    spread = first_ranks.std() * second_ranks.std()
    covariance = float(np.mean((first_ranks - first_ranks.mean()) * (second_ranks - second_ranks.mean())))
    right = [(values >= THRESHOLD) == (labels == 1) for values in (first, second)]
    return Agreement(
        rank_correlation=covariance / float(spread) if spread else float("nan"),
        same_calls=float(np.mean(right[0] == right[1])),
        first_alone=float(np.mean(right[0] & ~right[1])),
        second_alone=float(np.mean(right[1] & ~right[0])),
    )
