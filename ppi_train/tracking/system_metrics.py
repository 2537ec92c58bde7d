"""System metrics: use of processor, memory, disk, network and GPU.

They are logged like any other metric. MLflow's own thread for this ends when the server is unavailable for a
moment; this one logs to the journal.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

import mlflow
from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

logger = logging.getLogger(__name__)


class SystemMetrics:
    """A thread that measures at regular intervals until it is stopped.

    Args:
        run_id: The run; if it is continued, its steps continue too.
        log: Called with metrics by name and a step.
        seconds: Seconds between two measurements.
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
        self._monitors = _monitors()
        self._step = _next_step(run_id) if continued else 0
        self._log, self._seconds = log, seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="system metrics", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            while True:
                for monitor in self._monitors:
                    monitor.collect_metrics()
                if self._stopped.wait(self._seconds):
                    return
                found: dict[str, float] = {}
                for monitor in self._monitors:
                    means = monitor.aggregate_metrics()
                    found |= {f"system/{name}": float(mean) for name, mean in means.items()}
                    monitor.clear_metrics()
                self._log(found, self._step)
                self._step += 1
        except Exception:
            logger.warning("the use of processor and memory is no longer logged", exc_info=True)

    def stop(self) -> None:
        """Stops the thread; nothing is logged afterwards."""
        self._stopped.set()
        self._thread.join()


def _monitors() -> list[BaseMetricsMonitor]:
    """The monitors of all devices that this machine has."""
    found: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    for of_gpu in (GPUMonitor, ROCMMonitor):
        try:
            return [*found, of_gpu()]
        except Exception:
            # The library or a device of that vendor is missing.
            logger.debug("no %s", of_gpu.__name__, exc_info=True)
    return found


def _next_step(run_id: str) -> int:
    run = mlflow.MlflowClient().get_run(run_id)
    # The latest point of each metric; MLflow has no public attribute for their steps.
    steps = [metric.step for metric in run.data._metric_objs if metric.key.startswith("system/")]
    return max(steps, default=-1) + 1
