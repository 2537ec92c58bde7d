"""The run that MLFLOW_RUN_ID names: written to, used as a parent, or refused."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass

import mlflow
from mlflow.entities import Run, RunStatus
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT

from ppi_train.errors import TrackingError
from ppi_train.tracking.runs import get_run

VARIABLE = "MLFLOW_RUN_ID"
MODE_TAG = "ppi.mode"
_REMEDY = f"unset {VARIABLE}, so that a new run is made"


@dataclass(frozen=True, kw_only=True)
class GivenRun:
    """A run that has not ended. If it is `shared`, a mode makes its own run nested in it."""

    run: Run
    shared: bool


def find_given_run(mode_names: Collection[str]) -> GivenRun | None:
    """Looks the run of MLFLOW_RUN_ID up, without changing it; None if the variable is not set.

    A run is shared if a mode uses it already, or if `mlflow run` made it for a command that is not one of
    our modes: such a command may contain several of them.

    Args:
        mode_names: The name and the aliases of the mode that is to run.

    Raises:
        TrackingError: the run has ended, was deleted, or is unknown to the server.
    """
    run_id = os.environ.get(VARIABLE)
    if not run_id:
        return None
    run = get_run(run_id, named_by=VARIABLE, remedy=_REMEDY)
    if RunStatus.is_terminated(RunStatus.from_string(run.info.status)):
        raise TrackingError(
            f"the run that {VARIABLE} names has ended, and is left as it is",
            where=mlflow.get_tracking_uri(),
            got=f"run {run_id} ({run.info.run_name}, {run.info.status})",
            expected="a run that is RUNNING",
            remedy=_REMEDY,
        )
    entry_point = run.data.tags.get(MLFLOW_PROJECT_ENTRY_POINT)
    shared = MODE_TAG in run.data.tags or (entry_point is not None and entry_point not in mode_names)
    return GivenRun(run=run, shared=shared)


def was_free(run: Run, at: int) -> bool:
    """Whether the run was RUNNING at a time, in milliseconds since the Unix epoch, and no mode has used it.

    An offline process could not ask the server for that when it began.
    """
    return MODE_TAG not in run.data.tags and was_running(run, at)


def was_running(run: Run, at: int) -> bool:
    """Whether a run had not ended at a time, in milliseconds since the Unix epoch."""
    return not run.info.end_time or bool(run.info.end_time >= at)
