"""How much of what a model says of single proteins is to be taken off its logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.pair_metrics import Floats, sigmoid

# As if a hundred pairs, of a deviation as large as that of the logits, had said that nothing is to be taken
# off: the few pairs of a small set must not decide.
_PRIOR = 25.0
_WEAK = 1e-3
_STEPS = 50


def fitted_share(logits: npt.NDArray[Any], singles: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    """The share of `singles` that is best taken off the logits of pairs, from 0 to 1.

    By logistic regression of the labels on both: that weight of `singles` relative to that of the logits
    which makes the log loss smallest, with a normal prior around 0.

    Args:
        logits: (n,).
        singles: (n,), what is said of both proteins of each pair together, in units of the logits.
        labels: (n,) 0 or 1.

    Returns:
        0 where nothing can be fitted: one class only, logits that are all equal or say nothing, or numbers
        that are not finite, as those of a training that diverges.
    """
    z, s, truth = (np.asarray(values, np.float64) for values in (logits, singles, labels))
    if not (z.size and np.isfinite(z).all() and np.isfinite(s).all() and np.ptp(truth)):
        return 0.0
    unit = float(z.std())
    if unit == 0:
        return 0.0
    x = np.column_stack([(z - z.mean()) / unit, (s - s.mean()) / unit, np.ones(len(z))])
    of_logits, of_singles, _ = _logistic_regression(x, truth, np.array([_WEAK, _PRIOR, _WEAK]))
    return float(np.clip(-of_singles / of_logits, 0, 1)) if of_logits > 0 else 0.0


def _logistic_regression(x: Floats, truth: Floats, precision: Floats) -> Floats:
    """Weights (f,) of features (n, f), by Newton's method, with a normal prior of these precisions (f,)."""

    def loss(weights: Floats) -> float:
        z = x @ weights
        return float(np.sum(np.logaddexp(0, z) - truth * z) + precision @ weights**2 / 2)

    weights, least = np.zeros(x.shape[1]), loss(np.zeros(x.shape[1]))
    for _ in range(_STEPS):
        p = sigmoid(x @ weights)
        gradient = x.T @ (p - truth) + precision * weights
        curvature = (x * (p * (1 - p))[:, None]).T @ x + np.diag(precision)
        step = np.linalg.solve(curvature, gradient)
        while loss(weights - step) > least and np.abs(step).max() > 1e-10:
            step = step / 2
        weights = weights - step
        least = loss(weights)
        if np.abs(step).max() < 1e-8:
            break
    return weights
