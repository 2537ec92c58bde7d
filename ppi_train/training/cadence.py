"""Timing of periodic uploads of the training state."""

from __future__ import annotations

import time

from ppi_train.config.interval import Interval


class Cadence:
    """Reports when an interval since the last `start` is over."""

    def __init__(self, interval: Interval) -> None:
        self._interval = interval
        self.start(0)

    def start(self, step: int) -> None:
        """Restarts the interval at this step and the present time."""
        self._last_step, self._last_time = step, time.monotonic()

    def due(self, step: int) -> bool:
        if self._interval.steps is not None:
            return step - self._last_step >= self._interval.steps
        assert self._interval.seconds is not None
        return time.monotonic() - self._last_time >= self._interval.seconds
