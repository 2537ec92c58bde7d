"""Intervals of AUROC and AUPRC from how much each pair moves them.

With thousands of pairs of both classes a metric of a resample is its value plus, for each pair, the change of
its weight times its influence: the derivative of the metric by that weight (the infinitesimal jackknife,
Efron 1982, "The jackknife, the bootstrap and other resampling plans", chapter 6; of AUROC alone DeLong,
DeLong & Clarke-Pearson 1988, Biometrics 44). So the variance that `bootstrap` aims at, over each two pairs
with a protein in common, is a sum (Aronow, Samii & Assenova 2015), and a resample is a sum over proteins. It
takes one sort of the pairs, whatever the number of resamples.

The influence on the difference of two models is the difference of their influences on the same pairs.

Legend of shapes: n pairs, g distinct scores from the highest to the lowest, p proteins, r resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.pair_metrics import Floats, Labels
from ppi_train.evaluation.ranking import Ranking
from ppi_train.io.allocator import keep_freed_memory

LEAST_OF_CLASS = 4096
"""Pairs of the rarer class from which on influences are added up."""
LEAST_PROTEINS = 512
"""Proteins from which on influences are added up: the effective number (Kish 1965), in which hubs count less.

Where few proteins have most of the pairs, the ends of intervals were up to a quarter of a width off.
"""
MANY_PAIRS, LEAST_OF_MANY = 1 << 20, 1024
"""Of so many pairs, which take many minutes to resample, fewer of the rarer class are enough."""


@dataclass(frozen=True, kw_only=True)
class Influence:
    """Ranking metrics of scored pairs, and the influence of each pair.

    Attributes:
        points: The metrics by name: `auroc`, `auprc`.
        of_pairs: By name (n,), the derivative of the metric by the weight of each pair, of weight 1 now. The
            sum is 0, since only the ratios of weights matter.
    """

    points: dict[str, float]
    of_pairs: dict[str, Floats]

    @classmethod
    def of(cls, scores: npt.NDArray[Any], labels: Labels) -> Influence:
        """Measures pairs of both classes.

        Args:
            scores: (n,) finite.
            labels: (n,) 0 or 1.
        """
        order = np.argsort(scores)[::-1]
        ordered, positive = scores[order], labels[order]
        ranking = Ranking.of_sorted(ordered, positive)
        points = {"auroc": ranking.auroc(), "auprc": ranking.average_precision()}
        group = np.repeat(np.arange(ranking.called.size), np.diff(ranking.called, prepend=0))
        of_pairs = {}
        for name, of_groups in (
            ("auroc", _on_auroc(ranking, points["auroc"])),
            ("auprc", _on_auprc(ranking, points["auprc"])),
        ):
            of_pairs[name] = np.empty(order.size)
            of_pairs[name][order] = of_groups[group, positive]
        return cls(points=points, of_pairs=of_pairs)


def _on_auroc(ranking: Ranking, auroc: float) -> Floats:
    """The influence (g, 2) of a negative and of a positive pair of each score."""
    gained, missed = ranking.gained, ranking.missed
    positives, negatives = int(ranking.found[-1]), int(missed.sum())
    # of the positive pairs, the share that a negative one is below; of the negative, that a positive is above
    below = (ranking.found - gained / 2) / positives
    above = 1 - (np.cumsum(missed) - missed / 2) / negatives
    return np.stack([(below - auroc) / negatives, (above - auroc) / positives], axis=1)


def _on_auprc(ranking: Ranking, auprc: float) -> Floats:
    """The influence (g, 2) of a negative and of a positive pair of each score."""
    gained, called = ranking.gained, ranking.called
    precision = ranking.found / called
    # a pair is among those called for each positive pair of its score or a lower one
    adds = np.cumsum((gained / called)[::-1])[::-1]
    takes = np.cumsum((gained * precision / called)[::-1])[::-1]
    return np.stack([-takes, precision - auprc + adds - takes], axis=1) / float(ranking.found[-1])


def has_enough_pairs(labels: Labels, pairs: npt.NDArray[Any]) -> bool:
    """Whether pairs are so many that a resample is its sum of influences.

    Args:
        labels: (n,) 0 or 1.
        pairs: (n, 2) numbers of proteins.
    """
    positives = int(np.count_nonzero(labels))
    least = LEAST_OF_CLASS if labels.size < MANY_PAIRS else LEAST_OF_MANY
    if min(positives, labels.size - positives) < least:
        return False
    partners = np.bincount(pairs.reshape(-1)).astype(np.float64)
    return bool(partners.sum() ** 2 >= LEAST_PROTEINS * (partners @ partners))


def deviations(
    of_pairs: Sequence[Floats], pairs: npt.NDArray[Any], *, resamples: int, seed: int
) -> Iterator[Floats]:
    """Draws deviations (r,) of metrics, with the variance over shared proteins.

    Each draw is one of proteins with replacement, the same for all metrics. Its deviations are scaled to the
    variance in which each two pairs with a protein in common count once, but at least to that of drawn pairs.

    Args:
        of_pairs: The influence (n,) of each pair, by metric.
        pairs: (n, 2) numbers of proteins.
        resamples: Number of draws.
        seed: The same seed gives the same draws.
    """
    keep_freed_memory()
    present = np.flatnonzero(_present(pairs))
    rng = np.random.default_rng(seed)
    of_proteins = np.stack([_of_proteins(influence, pairs)[present] for influence in of_pairs])
    drawn = np.empty((len(of_proteins), resamples))
    for place in range(resamples):
        proteins = rng.integers(0, present.size, present.size)
        for sums, moves in zip(of_proteins, drawn, strict=True):
            moves[place] = sums.take(proteins).sum()
    itself = pairs[:, 0] == pairs[:, 1]
    for influence, sums, draws in zip(of_pairs, of_proteins, drawn, strict=True):
        over_pairs, over_proteins = float(influence @ influence), float(sums @ sums)
        # over its two proteins a pair has counted twice; that of a protein with itself has one
        twice = over_pairs - float(influence[itself] @ influence[itself])
        wanted = max(over_proteins - twice, over_pairs)
        yield (draws - sums.sum()) * np.sqrt(wanted / over_proteins if over_proteins else 0.0)


def _present(pairs: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Whether each number of a protein is in a pair."""
    present = np.zeros(int(pairs.max()) + 1, bool)
    for side in pairs.T:
        present[side] = True
    return present


def _of_proteins(influence: Floats, pairs: npt.NDArray[Any]) -> Floats:
    """The influence of each protein: that of its pairs, with itself once."""
    a, b = pairs.T
    size = int(pairs.max()) + 1
    of_proteins: Floats = np.bincount(a, influence, minlength=size).astype(np.float64, copy=False)
    of_proteins += np.bincount(b, np.where(a == b, 0.0, influence), minlength=size)
    return of_proteins
