"""The use of processor, memory, disk, network and GPU, logged like any other metric.

MLflow's own thread for this ends when the server is away for a moment; this one logs to the journal.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

logger = logging.getLogger(__name__)


class SystemMetrics:
    """A thread that measures every so many seconds, until it is stopped.

    Args:
        run_id: The run; one that is continued goes on with its steps.
        log: Takes metrics by name and a step.
        seconds: Between two measurements.
        continued: Whether to ask the server for the last step.
    """

    def __init__(
        self,
        run_id: str,
        log: Callable[[Mapping[str, float], int], None],
        *,
        seconds: float,
        continued: bool,
    ) -> None:
        self._measures = SystemMetricsMonitor(run_id, resume_logging=continued)
        self._step = self._measures._logging_step
        self._log, self._seconds = log, seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="system metrics", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            while True:
                self._measures.collect_metrics()
                if self._stopped.wait(self._seconds):
                    return
                found = self._measures.aggregate_metrics()
                self._log({f"system/{name}": float(value) for name, value in found.items()}, self._step)
                self._step += 1
                for one in self._measures.monitors:
                    one.clear_metrics()
        except Exception:
            logger.warning("the use of processor and memory is no longer logged", exc_info=True)

    def stop(self) -> None:
        """Ends the thread; nothing is logged after this."""
        self._stopped.set()
        self._thread.join()
