"""Expected precision where interactions are as rare as in real networks.

A test set in which half of the pairs interact flatters a model: of all pairs of a proteome, one in hundreds
does. A calibrated probability holds at the share of interacting pairs of the set that it was calibrated on.
At another share, the odds are multiplied by the ratio of the prior odds (Saerens, Latinne & Decaestecker
2002, "Adjusting the outputs of a classifier to new a priori probabilities", Neural Computation 14, eq. 2.4),
as long as the pairs of each class look the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.ranking import Floats

BASE_RATES: Mapping[str, float] = {"1to100": 1 / 101, "1to1000": 1 / 1001}
"""Share of interacting pairs, by the ratio of interacting to other pairs as in names of metrics."""

TOPS = (100, 1000)
"""How many of the highest probabilities are looked at."""


@dataclass(frozen=True)
class ExpectedRight:
    """How many of the highest-scored pairs interact by their probabilities.

    `right` is a number of pairs, and not a whole one; `precision` is its share of the `top` pairs.
    """

    top: int
    right: float

    @property
    def precision(self) -> float:
        return self.right / self.top


def shifted(probabilities: npt.ArrayLike, prevalence: float, base_rate: float) -> Floats:
    """Calibrated probabilities at another share of interacting pairs.

    Args:
        probabilities: (n,) calibrated, from 0 to 1; 0 and 1 stay as they are.
        prevalence: Share of interacting pairs where they were calibrated, between 0 and 1.
        base_rate: The share to shift them to, between 0 and 1.

    >>> shifted([0.5, 0.99], 0.5, 1 / 101).round(3).tolist()
    [0.01, 0.497]
    """
    for name, share in (("prevalence", prevalence), ("base_rate", base_rate)):
        if not 0 < share < 1:
            raise ValueError(f"{name} is {share}, not between 0 and 1")
    values = np.asarray(probabilities, np.float64)
    positive = values * (base_rate / prevalence)
    negative = (1 - values) * ((1 - base_rate) / (1 - prevalence))
    return np.asarray(positive / (positive + negative))


def expected_right(
    probabilities: npt.ArrayLike, prevalence: float, base_rate: float, tops: Sequence[int] = TOPS
) -> list[ExpectedRight]:
    """The expected number of interacting pairs among those of highest probability.

    Args:
        probabilities: (n,) calibrated; only the highest ones are needed, in any order.
        prevalence: Share of interacting pairs where they were calibrated, between 0 and 1.
        base_rate: The share among the pairs that the highest were chosen from, between 0 and 1.
        tops: Numbers of pairs; those above n are left out.
    """
    highest = np.sort(shifted(probabilities, prevalence, base_rate))[::-1]
    sums = np.cumsum(highest)
    return [ExpectedRight(top, float(sums[top - 1])) for top in tops if top <= len(highest)]


def expected_metrics(probabilities: npt.ArrayLike, prevalence: float) -> dict[str, float]:
    """The expected precision at each of `BASE_RATES`, by the name of its metric.

    Arguments are those of `expected_right`. A name is such as `expected/precision_at_100_1to1000`.
    """
    return {
        f"expected/precision_at_{found.top}_{name}": found.precision
        for name, rate in BASE_RATES.items()
        for found in expected_right(probabilities, prevalence, rate)
    }


def expected_text(probabilities: npt.ArrayLike, prevalence: float) -> str | None:
    """A line for the log: how many of the highest-scored pairs are expected to interact; None for too few.

    >>> expected_text([0.99] * 100, 0.5)
    'expected to interact, of the 100 pairs of highest score: 50 at 1:100, 9 at 1:1000'
    """
    right: dict[int, list[str]] = {}
    for name, rate in BASE_RATES.items():
        for found in expected_right(probabilities, prevalence, rate):
            right.setdefault(found.top, []).append(f"{found.right:,.0f} at {name.replace('to', ':')}")
    parts = [f"of the {top:,} pairs of highest score: {', '.join(counts)}" for top, counts in right.items()]
    return f"expected to interact, {'; '.join(parts)}" if parts else None
