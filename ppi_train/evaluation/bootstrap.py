"""Bootstrap intervals of the metrics of scored pairs.

A model errs on a protein as much as on a pair: the pairs of a protein are right or wrong together. Drawing
pairs alone treats them as independent, and gives intervals that are too narrow. So proteins are drawn with
replacement, and a pair weighs the product of how often its two proteins were drawn, the pair of a protein
with itself as often as that: the pigeonhole bootstrap (Owen 2007, "The pigeonhole bootstrap", Annals of
Applied Statistics 1; for pairs within one set of nodes Davezies, D'Haultfoeuille & Guyonvarch 2021,
"Empirical process results for exchangeable arrays", Annals of Statistics 49).

Its variance is right for what proteins bring in, and three times too large for what each pair brings in by
itself: the product of two draws, each about Poisson, has the variance 3. (Owen also shows that it is too
large, and calls it conservative.) The right variance counts each two pairs with a protein in common, and each
pair with itself, once (Aronow, Samii & Assenova 2015, "Cluster-robust variance estimation for dyadic data",
Political Analysis 23). This is the variance over drawn proteins minus twice that over drawn pairs. So pairs
are drawn as well, and the deviations of the first are shrunk to that variance; but never below that of drawn
pairs, which is the result if no two pairs share a protein.

A thousand resamples of 50,000 pairs are affordable since nothing is sorted twice; see `weighted_metrics`. Of
more pairs, AUROC and AUPRC have the same intervals from sums; see `influence`.

Legend of shapes: n pairs, r resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.grouped_resamples import Cells
from ppi_train.evaluation.influence import Influence, deviations, has_enough_pairs
from ppi_train.evaluation.pair_metrics import (
    BOUNDS,
    Floats,
    Labels,
    checked_probabilities,
    checked_scores,
    ranking_metrics,
    sigmoid,
)
from ppi_train.evaluation.weighted_metrics import (
    Positions,
    WeightedPairMetrics,
    WeightedRanking,
    Weights,
)
from ppi_train.io.allocator import keep_freed_memory

GROUPED_FROM = 1 << 19
"""Pairs from which on resamples are of groups of nearly equal scores."""

# Pairs of a class that are looked at before all of them are.
_FEW = 64


class Resample(NamedTuple):
    """How often each pair counts, (n,), by drawn proteins and by drawn pairs."""

    by_protein: Weights
    by_pair: Weights


class Estimate(NamedTuple):
    """A metric and the ends of its interval."""

    value: float
    low: float
    high: float


def resample(
    pairs: npt.NDArray[Any], labels: Labels, *, resamples: int, seed: int, order: Positions | None = None
) -> Iterator[Resample]:
    """Draws proteins and pairs; draws without both classes are repeated.

    Args:
        pairs: (n, 2) numbers of proteins; which numbers does not matter.
        labels: (n,) 0 or 1, both present.
        resamples: Number of resamples.
        seed: The same seed gives the same draws.
        order: (n,) the order in which the weights are wanted, which does not change the draws; None: that of
            the pairs.
    """
    rng = np.random.default_rng(seed)
    numbers, count = _numbered(pairs)
    if order is not None:
        numbers, labels = numbers[order], labels[order]
    a, b = np.ascontiguousarray(numbers.T)
    itself = np.flatnonzero(a == b)
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]

    def of_proteins() -> Weights:
        times = _draw(rng, count)
        weights: Weights = times.take(a)
        weights *= times.take(b)
        weights[itself] = times[a[itself]]
        return weights

    def of_pairs() -> Weights:
        times = _draw(rng, len(a))
        return times if order is None else times.take(order)

    for _ in range(resamples):
        yield Resample(by_protein=_of_both(of_proteins, classes), by_pair=_of_both(of_pairs, classes))


def _numbered(pairs: npt.NDArray[Any]) -> tuple[Positions, int]:
    """The proteins of pairs (n, 2), numbered from 0 in the order of their numbers, and how many there are."""
    present = np.zeros(int(pairs.max()) + 1, bool)
    present[pairs.reshape(-1)] = True
    rank = np.cumsum(present) - 1
    return rank[pairs], int(rank[-1]) + 1


def _draw(rng: np.random.Generator, size: int) -> Weights:
    """Counts how often each of `size` items is drawn, in `size` draws."""
    # drawing each item and counting is the exact multinomial, and faster than `rng.multinomial`
    times: Weights = np.bincount(rng.integers(0, size, size), minlength=size)
    return times


def _of_both(draw: Callable[[], Weights], classes: Sequence[Positions]) -> Weights:
    """Repeats a draw until both classes have a weight, as AUROC requires."""
    while True:
        weights = draw()
        if all(weights[rows[:_FEW]].any() or weights[rows].any() for rows in classes):
            return weights


def interval(
    point: float, by_protein: Floats, by_pair: Floats, *, confidence: float, bounds: tuple[float, float]
) -> tuple[float, float]:
    """The interval of a metric, which always contains its value.

    Args:
        point: The metric of the pairs as they are.
        by_protein, by_pair: (r,) the metric of the resamples.
        confidence: Share of the resamples between the two ends.
        bounds: The lowest and highest possible value of the metric.
    """
    tail = (1 - confidence) / 2
    # Relative to their own median: resampling makes some metrics worse, such as calibration errors, and the
    # interval should show only the spread, not that shift.
    ends = np.quantile(by_protein, (tail, 1 - tail)) - np.median(by_protein)
    low, high = np.clip(point + shrinkage(by_protein, by_pair) * ends, *bounds)
    return float(low), float(high)


def shrinkage(by_protein: Floats, by_pair: Floats) -> float:
    """Factor on the deviations by protein; the module docstring explains it."""
    variance, of_pairs = float(by_protein.var()), float(by_pair.var())
    return float(np.sqrt(max(variance - 2 * of_pairs, of_pairs) / variance)) if variance else 1.0


def bootstrap_intervals(
    scores: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    pairs: npt.NDArray[Any],
    *,
    are_logits: bool = False,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """Computes the confidence interval of each pair metric.

    1,000 resamples of 52,000 pairs take some seconds. A resample without one of the classes has no AUROC; it
    is drawn again, so that the intervals are conditional on both classes being present (this matters only
    for a handful of pairs).

    Args:
        scores: (n,) probabilities, or logits if `are_logits`, as in `pair_metrics`.
        labels: (n,) 0 or 1.
        pairs: (n, 2) numbers of the proteins of each pair.
        are_logits: As in `pair_metrics`.
        resamples: How many times proteins and pairs are drawn.
        confidence: Share of the resamples between the two ends.
        seed: The same seed gives the same intervals.

    Returns:
        Lower and upper end by metric, the names of `pair_metrics`.

    Raises:
        DataError: As in `pair_metrics`.
    """
    check = checked_scores if are_logits else checked_probabilities
    values, truth = check(scores, labels)
    kind = _metrics_of_logits if are_logits else WeightedPairMetrics
    return _intervals(kind, values, truth, pairs, resamples, confidence, seed)


def _metrics_of_logits(logits: Floats, labels: Labels) -> WeightedPairMetrics:
    return WeightedPairMetrics(sigmoid(logits), labels, logits=logits)


def ranking_estimates(
    scores: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    pairs: npt.NDArray[Any],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int,
) -> dict[str, Estimate]:
    """Computes `auroc` and `auprc` with their intervals, for scores of any kind.

    The intervals are from sums of influences where there are pairs enough, else from resamples. Arguments and
    errors are those of `bootstrap_intervals`.
    """
    values, truth = checked_scores(scores, labels)
    if has_enough_pairs(truth, pairs):
        points, drawn = _by_influence(values, truth, pairs, resamples, seed)
        ends = {
            name: interval(points[name], moves, moves, confidence=confidence, bounds=BOUNDS[name])
            for name, moves in drawn.items()
        }
    else:
        points = ranking_metrics(values, truth)
        ends = _intervals(WeightedRanking, values, truth, pairs, resamples, confidence, seed)
    return {name: Estimate(point, *ends[name]) for name, point in points.items()}


def _by_influence(
    scores: Floats, labels: Labels, pairs: npt.NDArray[Any], resamples: int, seed: int
) -> tuple[dict[str, float], dict[str, Floats]]:
    """The metrics of pairs, and deviations (r,) of each."""
    found = Influence.of(scores, labels)
    drawn = deviations(list(found.of_pairs.values()), pairs, resamples=resamples, seed=seed)
    return found.points, dict(zip(found.of_pairs, drawn, strict=True))


def _intervals(
    kind: Callable[[Floats, Labels], WeightedRanking],
    scores: npt.NDArray[Any],
    labels: Labels,
    pairs: npt.NDArray[Any],
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, tuple[float, float]]:
    assert resamples > 0, resamples
    assert 0 < confidence < 1, confidence
    assert pairs.shape == (labels.size, 2), pairs.shape
    keep_freed_memory()
    measure = kind(scores, labels)
    points = measure(np.ones(labels.size, np.int64))
    measured: list[tuple[dict[str, float], dict[str, float]]] = []
    if labels.size >= GROUPED_FROM:
        cells = Cells.of(scores, labels, *_numbered(pairs))
        measure = kind(cells.scores, cells.labels)
        for weights in cells.draws(resamples, seed):
            by_protein, by_pair = (measure(of_cells[measure.order]) for of_cells in weights)
            measured.append((by_protein, by_pair))
    else:
        draws = resample(pairs, labels, resamples=resamples, seed=seed, order=measure.order)
        measured = [(measure(draw.by_protein), measure(draw.by_pair)) for draw in draws]
    ends = {}
    for name, point in points.items():
        by_protein, by_pair = np.array([[found[name] for found in draw] for draw in measured]).T
        ends[name] = interval(point, by_protein, by_pair, confidence=confidence, bounds=BOUNDS[name])
    return ends
