"""Intervals of the differences of two models' metrics on the same pairs.

A paired bootstrap (Efron & Tibshirani 1993, "An introduction to the bootstrap", chapter 13): each resample
draws the same pairs for both models, so that what makes a draw easy or hard for both cancels, and the
interval of the difference is narrower than the two intervals would suggest. Of thousands of pairs of both
classes a resample is a sum of influences; see `influence`.

Legend of shapes: n pairs, r resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.bootstrap import interval, resample
from ppi_train.evaluation.influence import Influence, deviations, has_enough_pairs
from ppi_train.evaluation.pair_metrics import Floats, Labels, checked_scores, ranking_metrics
from ppi_train.evaluation.weighted_metrics import WeightedRanking
from ppi_train.io.allocator import keep_freed_memory

METRICS = ("auprc", "auroc")

Resampled = tuple[Floats, Floats]
"""A metric of the resamples (r,), by drawn proteins and by drawn pairs."""


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

    def metrics(self, name: str) -> dict[str, float]:
        """The difference and the ends of its interval, as a run logs them."""
        return {
            f"{name}_difference": self.difference,
            f"{name}_difference_ci_low": self.low,
            f"{name}_difference_ci_high": self.high,
        }

    @property
    def cells(self) -> tuple[str, str]:
        """The difference and its interval as text."""
        return f"{self.difference:+.4f}", f"{self.low:+.4f} to {self.high:+.4f}"


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

    Only one resample is in memory at a time. A resample without one of the classes is drawn again, as in
    `bootstrap_intervals`.

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
    if has_enough_pairs(truth, pairs):
        points, resampled = _by_influence(scores, truth, pairs, resamples, seed)
    else:
        points = [ranking_metrics(model_scores, truth) for model_scores in scores]
        resampled = _by_resamples(scores, truth, pairs, resamples, seed)
    ours, theirs = points
    differences = {}
    for name in METRICS:
        difference = ours[name] - theirs[name]
        low, high = interval(difference, *resampled[name], confidence=confidence, bounds=(-1.0, 1.0))
        differences[name] = PairedDifference(
            candidate=ours[name], holder=theirs[name], difference=difference, low=low, high=high
        )
    return differences


def _by_resamples(
    scores: Sequence[Floats], labels: Labels, pairs: npt.NDArray[Any], resamples: int, seed: int
) -> dict[str, Resampled]:
    """The differences of resamples, by metric."""
    keep_freed_memory()
    rankings = [WeightedRanking(model_scores, labels) for model_scores in scores]
    # alternating: by protein, by pair
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    for draw in resample(pairs, labels, resamples=resamples, seed=seed):
        for weights in draw:
            ours, theirs = (ranking(weights[ranking.order]) for ranking in rankings)
            for name in METRICS:
                found[name].append(ours[name] - theirs[name])
    return {name: (np.array(values[::2]), np.array(values[1::2])) for name, values in found.items()}


def _by_influence(
    scores: Sequence[Floats], labels: Labels, pairs: npt.NDArray[Any], resamples: int, seed: int
) -> tuple[list[dict[str, float]], dict[str, Resampled]]:
    """The metrics of both models, and deviations of their differences, by metric."""
    ours, theirs = (Influence.of(model_scores, labels) for model_scores in scores)
    of_pairs = [ours.of_pairs[name] - theirs.of_pairs[name] for name in METRICS]
    moves = deviations(of_pairs, pairs, resamples=resamples, seed=seed)
    resampled = {name: (drawn, drawn) for name, drawn in zip(METRICS, moves, strict=True)}
    return [ours.points, theirs.points], resampled
