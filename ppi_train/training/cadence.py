"""When the state of training is next brought to a safe place."""

from __future__ import annotations

import time

from ppi_train.config.interval import Interval


class Cadence:
    """Says when an interval is over; counts from its last `start`."""

    def __init__(self, interval: Interval) -> None:
        self._interval = interval
        self.start(0)

    def start(self, step: int) -> None:
        """Counts anew from this step and from now."""
        self._last_step, self._last_time = step, time.monotonic()

    def due(self, step: int) -> bool:
        if self._interval.steps is not None:
            return step - self._last_step >= self._interval.steps
        assert self._interval.seconds is not None
        return time.monotonic() - self._last_time >= self._interval.seconds
