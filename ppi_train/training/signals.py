"""Deferred handling of Ctrl-C, SIGTERM and SIGHUP during training.

Signals take effect between two steps, where the training state is consistent.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from ppi_train.io.terminal import ending_signals, leave_lost_terminal
from ppi_train.training.callbacks import Callback

if TYPE_CHECKING:
    from ppi_train.training.trainer import Trainer

# `mlflow run` reacts to Ctrl-C, which we receive too, with its own SIGTERM: that is no second request.
PATIENCE = 5.0


class Interruption(Callback):
    """Stops training after the current step on Ctrl-C, SIGTERM or SIGHUP.

    The signal reaches its previous handler when training has ended, with its state in `last`. A second
    signal, after `PATIENCE` seconds, takes effect at once. It should be the last callback, so that the
    others see how training ended.

    Signals that the process was started to ignore stay ignored. Outside the main thread, where Python allows
    no handlers, signals are not deferred.
    """

    def __init__(self) -> None:
        self._pending: int | None = None
        self._noted_at = 0.0
        self._previous: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def on_start(self, trainer: Trainer) -> None:  # noqa: ARG002
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in ending_signals()}

    def on_step_end(self, trainer: Trainer) -> None:
        if self._pending is not None:
            trainer.stop()

    def on_end(self, trainer: Trainer, error: BaseException | None) -> None:  # noqa: ARG002
        if error is None:
            self.raise_if_requested()
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGHUP:
            leave_lost_terminal()
        if self._pending is None:
            self._pending, self._noted_at = number, time.monotonic()
        elif time.monotonic() - self._noted_at >= PATIENCE:
            self.raise_if_requested()

    def raise_if_requested(self) -> None:
        """Passes the noted signal, if any, to its previous handler.

        Raises:
            KeyboardInterrupt: or what the previous handler raises.
        """
        if self._pending is None:
            return
        number, self._pending = self._pending, None
        handler = self._previous.get(number)
        self._restore()
        if callable(handler):
            handler(number, None)
        raise KeyboardInterrupt

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
