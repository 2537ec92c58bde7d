"""Progress of long work, with rate and remaining time.

A bar on a terminal, plain log lines elsewhere.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType

from tqdm.auto import tqdm

from ppi_train.io.terminal import terminal_may_be_lost

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0
_shown: ContextVar[bool] = ContextVar("progress_shown", default=True)


@contextmanager
def progress_shown(wanted: bool) -> Iterator[None]:
    """Shows progress bars in a block, or none."""
    token = _shown.set(wanted)
    try:
        yield
    finally:
        _shown.reset(token)


class Progress:
    """Counts units of work towards a total; a context manager.

    Args:
        total: Units of the whole run.
        done: Units that an earlier part of the run has done.
        unit: What is counted, in the singular.
    """

    def __init__(self, total: int, *, done: int = 0, unit: str = "pair") -> None:
        self._bar = tqdm(
            total=total,
            initial=done,
            unit=unit,
            unit_scale=True,
            dynamic_ncols=True,
            disable=not (_shown.get() and (sys.stderr.isatty() or _in_notebook())),
        )
        self._total, self._done, self._unit = total, done, unit
        self._started_at, self._start = time.monotonic(), done
        self._last_line = self._started_at

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the bar as it is and ends its line."""
        self._bar.close()

    def advance(self, units: int) -> None:
        self._done += units
        self._bar.update(units)
        if self._bar.disable and time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            logger.info("%s", self.line())

    def line(self) -> str:
        """`40% of 1.6M pairs, 52,000 pairs/s, 00:18 left`."""
        elapsed = max(time.monotonic() - self._started_at, 1e-9)
        rate = (self._done - self._start) / elapsed
        left = tqdm.format_interval((self._total - self._done) / rate) if rate else "?"
        share = 100 * self._done / max(self._total, 1)
        total = tqdm.format_sizeof(self._total)
        return f"{share:.0f}% of {total} {self._unit}s, {rate:,.0f} {self._unit}s/s, {left} left"

    def say(self, message: str) -> None:
        """Prints a line without breaking the progress bar."""
        if self._bar.disable:
            logger.info("%s", message)
        else:
            with terminal_may_be_lost():
                self._bar.write(message, file=sys.stderr)


def _in_notebook() -> bool:
    """Whether tqdm has chosen the bar of a notebook."""
    return any("notebook" in base.__module__ for base in tqdm.__mro__)
