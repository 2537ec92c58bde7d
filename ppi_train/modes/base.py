"""What every mode has in common: its result, and how its run is tracked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppi_train.config.groups import ModeConfig

if TYPE_CHECKING:
    from ppi_train.tracking.run import Tracking


@dataclass(frozen=True, kw_only=True)
class PipelineResult:
    """Result of a mode: its run, last metrics and output files.

    `exit_code` is that of the command: 0, or 3 for a promotion that was refused. `url` is the run's page in
    the MLflow UI, or the command that shows a store without a server; `places` are lines that say where it is
    seen. `then` has commands that may come next, without their common start
    `mlflow run . --env-manager local -e`.
    """

    run_id: str
    exit_code: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    places: tuple[str, ...] = ()
    then: tuple[str, ...] = ()


ModeFunction = Callable[..., PipelineResult]
"""What runs a mode: `(config, tracked_run) -> PipelineResult`."""


def prediction_with(model: str) -> str:
    """The command that predicts with a model, `run_id=...` or another."""
    return f"predict -P {model} -P fasta=YOUR.fasta -P all_pairs=true -P top_k=10 -P output=partners.tsv"


def promotion_of(run_id: str) -> str:
    """The command that promotes a training run."""
    return f"promote -P run_id={run_id} -P registered_model=ppi"


def tracking_of(config: ModeConfig) -> Tracking:
    """The tracking options of a config, with defaults for missing parameters."""
    from ppi_train.tracking.run import DEFAULT_FOLDER, Tracking  # mlflow, which `--help` does without

    values: dict[str, Any] = config.values
    return Tracking(
        folder=Path(values.get("output_dir") or DEFAULT_FOLDER),
        flush_seconds=values.get("tracking_flush_seconds", Tracking.flush_seconds),
        offline=values.get("offline", False),
    )
