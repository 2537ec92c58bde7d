"""Bootstrap resamples of pairs that share proteins, and intervals from them.

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

Legend of shapes: n pairs, r resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.pair_metrics import Floats, Labels


class Resample(NamedTuple):
    """Weights (n,) of the pairs, by drawn proteins and by drawn pairs."""

    by_protein: Floats
    by_pair: Floats


def resample(pairs: npt.NDArray[Any], labels: Labels, *, resamples: int, seed: int) -> Iterator[Resample]:
    """Draws proteins and pairs; draws without both classes are repeated.

    Args:
        pairs: (n, 2) numbers of proteins; which numbers does not matter.
        labels: (n,) 0 or 1, both present.
        resamples: Number of resamples.
        seed: The same seed gives the same draws.
    """
    rng = np.random.default_rng(seed)
    proteins, numbers = np.unique(pairs, return_inverse=True)
    a, b = np.ascontiguousarray(numbers.reshape(-1, 2).T)
    itself = np.flatnonzero(a == b)

    def of_proteins() -> Floats:
        times = _draw(rng, proteins.size)
        weights: Floats = times[a] * times[b]
        weights[itself] = times[a[itself]]
        return weights

    for _ in range(resamples):
        yield Resample(
            by_protein=_of_both(of_proteins, labels), by_pair=_of_both(lambda: _draw(rng, len(a)), labels)
        )


def _draw(rng: np.random.Generator, size: int) -> Floats:
    """Counts how often each of `size` items is drawn, in `size` draws."""
    # drawing each item and counting is the exact multinomial, and faster than `rng.multinomial`
    return np.bincount(rng.integers(0, size, size), minlength=size).astype(np.float64)


def _of_both(draw: Callable[[], Floats], labels: Labels) -> Floats:
    """Repeats a draw until both classes have a weight, as AUROC requires."""
    while True:
        weights = draw()
        if 0 < weights @ labels < weights.sum():
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
