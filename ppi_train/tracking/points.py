"""Which metric points an interrupted run has already, so that none is logged twice."""

from __future__ import annotations

from collections.abc import Mapping

import mlflow


class LoggedPoints:
    """The steps of each metric of a run, asked for when the metric is first met."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._client = mlflow.MlflowClient()
        self._steps: dict[str, set[int]] = {}

    def drop_known(self, metrics: Mapping[str, float], step: int) -> dict[str, float]:
        """Those of a step's metrics that the run does not have yet; they count as logged from now on."""
        new = {name: value for name, value in metrics.items() if step not in self._steps_of(name)}
        for name in new:
            self._steps[name].add(step)
        return new

    def _steps_of(self, name: str) -> set[int]:
        if name not in self._steps:
            history = self._client.get_metric_history(self._run_id, name)
            self._steps[name] = {int(point.step) for point in history}
        return self._steps[name]
