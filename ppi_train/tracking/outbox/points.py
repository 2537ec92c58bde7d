"""Which metric points a run has at the server already, so that none is logged twice."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeAlias

import mlflow

from ppi_train.tracking.outbox.records import Point

# How a SQL store keeps an infinite value.
_LARGEST = 1.7976931348623157e308
# Step, timestamp and value.
_Identity: TypeAlias = tuple[int, int, float | str]


class LoggedPoints:
    """The points of each metric of a run, asked for when the metric is first met."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._client = mlflow.MlflowClient()
        self._known: dict[str, set[_Identity]] = {}

    def drop_known_steps(self, points: Iterable[Point]) -> list[Point]:
        """Those points whose step of their metric the run does not have."""
        return [one for one in points if one.step not in {step for step, *_ in self._of(one.name)}]

    def drop_known(self, points: Iterable[Point]) -> list[Point]:
        """Those points that the run does not have exactly so."""
        return [
            one for one in points if _identity(one.step, one.timestamp, one.value) not in self._of(one.name)
        ]

    def note(self, points: Iterable[Point]) -> None:
        """Says that the run has these points now."""
        for one in points:
            if one.name in self._known:
                self._known[one.name].add(_identity(one.step, one.timestamp, one.value))

    def forget(self, points: Iterable[Point]) -> None:
        """Says that nobody knows whether the run has these points: the server is to be asked again."""
        for one in points:
            self._known.pop(one.name, None)

    def _of(self, name: str) -> set[_Identity]:
        if name not in self._known:
            history = self._client.get_metric_history(self._run_id, name)
            self._known[name] = {_identity(one.step, one.timestamp, one.value) for one in history}
        return self._known[name]


def _identity(step: int, timestamp: int, value: float) -> _Identity:
    """What a point is compared by: NaN equals itself, and infinity what a store makes of it."""
    plain = "nan" if math.isnan(value) else max(-_LARGEST, min(_LARGEST, value))
    return int(step), int(timestamp), plain
