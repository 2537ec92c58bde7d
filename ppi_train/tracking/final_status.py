"""Keeps the status of a run after `mlflow run` has ended.

`mlflow run` sets the status of its run by the exit code alone, FAILED for any but 0, even if the run has
already set another status itself (MLflow 3.17 compares the text of the status with numbers). To keep killed
runs and refused promotions distinct from failed runs, a separate process sets the status again afterwards:
`python -m ppi_train.tracking.final_status RUN STATUS PID`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import mlflow

# Seconds for `mlflow run` to end after its command; it contacts the server twice.
_LONGEST_WAIT = 60.0
_SETTLING = 10.0


def keep_status(run_id: str, status: str) -> None:
    """Starts the process that sets the status after our parent has ended."""
    command = [sys.executable, "-m", "ppi_train.tracking.final_status", run_id, status, str(os.getppid())]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()}
    quiet = subprocess.DEVNULL
    subprocess.Popen(
        command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )


def main(run_id: str, status: str, parent: int) -> None:
    """Waits for the parent to end, then keeps the status set."""
    until = time.monotonic() + _LONGEST_WAIT
    while _lives(parent) and time.monotonic() < until:
        time.sleep(0.1)
    client = mlflow.MlflowClient()
    until = time.monotonic() + _SETTLING
    while time.monotonic() < until:
        found = client.get_run(run_id).info.status
        if found == "RUNNING":
            return  # another process continues the run
        if found != status:
            client.set_terminated(run_id, status)
        time.sleep(0.5)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
