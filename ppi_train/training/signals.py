"""Deferred handling of Ctrl-C and SIGTERM during training.

Signals are delivered between two steps, where the training state is consistent.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# `mlflow run` reacts to Ctrl-C, which we receive too, with its own SIGTERM: that is no second request.
PATIENCE = 5.0


class Interruption:
    """A context manager that defers signals until the loop calls `deliver`.

    A second signal, after `PATIENCE` seconds, takes effect at once.

    Outside the main thread, where Python allows no handlers, signals are not deferred.
    """

    def __init__(self) -> None:
        self.pending: int | None = None
        self._noted_at = 0.0
        self._previous: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.pending is None:
            self.pending, self._noted_at = number, time.monotonic()
        elif time.monotonic() - self._noted_at >= PATIENCE:
            self.raise_if_requested()

    def raise_if_requested(self) -> None:
        """Passes the noted signal, if any, to its previous handler.

        Raises:
            KeyboardInterrupt: or what the previous handler raises.
        """
        if self.pending is None:
            return
        number, self.pending = self.pending, None
        handler = self._previous.get(number)
        self._restore()
        if callable(handler):
            handler(number, None)
        raise KeyboardInterrupt

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.raise_if_requested()  # a signal after the last step, which the loop no longer checked
        self._restore()
