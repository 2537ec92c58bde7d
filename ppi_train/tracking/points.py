"""Which metric points a run has at the server already, so that none is logged twice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import mlflow

from ppi_train.tracking.records import Point

# How a SQL store keeps an infinite value.
_LARGEST = 1.7976931348623157e308


class LoggedPoints:
    """The points of each metric of a run, asked for when the metric is first met."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._client = mlflow.MlflowClient()
        self._steps: dict[str, set[int]] = {}

    def drop_known_steps(self, points: Iterable[Point]) -> list[Point]:
        """Those points whose step of their metric the run does not have."""
        return [one for one in points if one.step not in self._steps_of(one.name)]

    def drop_known(self, points: Sequence[Point]) -> list[Point]:
        """Those points that the run does not have exactly so, by the server's word of this moment."""
        there = {
            (name, *_identity(one.value, one.timestamp, one.step))
            for name in {one.name for one in points}
            for one in self._client.get_metric_history(self._run_id, name)
        }
        return [
            one for one in points if (one.name, *_identity(one.value, one.timestamp, one.step)) not in there
        ]

    def note(self, points: Iterable[Point]) -> None:
        """Says that the run has these points now."""
        for one in points:
            if one.name in self._steps:
                self._steps[one.name].add(one.step)

    def forget(self, points: Iterable[Point]) -> None:
        """Says that nobody knows whether the run has these points: the server is to be asked again."""
        for one in points:
            self._steps.pop(one.name, None)

    def _steps_of(self, name: str) -> set[int]:
        if name not in self._steps:
            history = self._client.get_metric_history(self._run_id, name)
            self._steps[name] = {int(point.step) for point in history}
        return self._steps[name]


def _identity(value: float, timestamp: int, step: int) -> tuple[float | str, int, int]:
    """What a point is compared by: NaN equals itself, and infinity what a store makes of it."""
    plain = "nan" if math.isnan(value) else max(-_LARGEST, min(_LARGEST, value))
    return plain, int(timestamp), int(step)
