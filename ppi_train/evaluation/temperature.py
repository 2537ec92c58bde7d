"""Temperature scaling: calibrates probabilities on the validation pairs.

Guo et al. 2017, "On calibration of modern neural networks": all logits are divided by the temperature T
that makes the log loss of the validation pairs smallest. The order of the pairs stays as it is, and so do all
metrics that follow from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.pair_metrics import sigmoid

LOWEST, HIGHEST = 0.05, 20.0


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
    from scipy.optimize import brentq  # a quarter of a second to import

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
    return float(np.exp(-brentq(slope, low, high, xtol=1e-9)))
