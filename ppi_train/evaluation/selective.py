"""Selective prediction: precision if only the most certain pairs are kept.

El-Yaniv & Wiener 2010, "On the foundations of noise-free selective classification".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ppi_train.evaluation.pair_metrics import THRESHOLD

_FRACTIONS = np.arange(1, 21) / 20


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
        uncertainty: (n,), lower is more certain; pairs of equal value keep their order in the table.
    """
    order = np.argsort(uncertainty, kind="stable")
    called = (probabilities >= THRESHOLD)[order]
    right = np.cumsum(called & (labels[order] == 1))
    kept = np.maximum(1, np.round(_FRACTIONS * len(order)).astype(int)) - 1
    with np.errstate(invalid="ignore"):
        precision = right[kept] / np.cumsum(called)[kept]
    return KeptPrecision(_FRACTIONS, precision)
