"""Ctrl-C and SIGTERM, held back until training stands between two steps, where its state is whole."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# `mlflow run` answers Ctrl-C, which reaches us too, with a SIGTERM of its own: that is no second wish.
PATIENCE = 5.0


class Interruption:
    """A context manager: a signal is noted, for the loop to `deliver`; one that comes later strikes at once.

    Outside the main thread, where Python allows no handlers, nothing is held back.
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
            self.deliver()

    def deliver(self) -> None:
        """Lets the noted signal do what it would have done, if there is one.

        Raises:
            KeyboardInterrupt: or what the handler that stood before raises.
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
            self.deliver()  # it came after the last step, too late to be asked for
        self._restore()
