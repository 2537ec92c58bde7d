"""Execution of a mode by name, the Python form of `mlflow run`."""

from __future__ import annotations

import errno
import importlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppi_train.config.groups import ModeConfig
from ppi_train.config.loading import load_config
from ppi_train.errors import ConfigError, StorageError
from ppi_train.runs.configs import MODES
from ppi_train.tracking.run import DEFAULT_FOLDER, TrackedRun, Tracking

logger = logging.getLogger(__name__)

# Two names of one mode.
ALIASES = {"pretrain_only": "train_only", "main": "full_pipeline"}
_MODULES = {
    "full_pipeline": "full_pipeline.full_pipeline",
    "prepare_data": "prepare_data",
    "split": "split",
    "audit": "audit",
    "train_embedder": "train_embedder",
    "embed": "embed",
    "import_embeddings": "import_embeddings",
    "train_only": "train.train_only",
    "finetune_from_pretrain": "train.finetune",
    "resume": "train.resume",
    "sync": "sync",
    "eval_only": "eval_only.evaluate",
    "compare": "compare",
    "predict": "predict.predict",
    "explain": "explain",
    "promote": "promote",
    "rollback": "rollback",
}
# Modes whose work is done in other runs or in the registry.
_NO_SYSTEM_METRICS = ("full_pipeline", "resume", "sync", "rollback")
# To the user, an exhausted quota is a full disk.
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, kw_only=True)
class PipelineResult:
    """Result of a mode: its run, last metrics and output files.

    `exit_code` is that of the command: 0, or 3 for a promotion that was refused.
    """

    run_id: str
    exit_code: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)


Pipeline = Callable[..., PipelineResult]


def execute_pipeline(mode: str, config: ModeConfig | Mapping[str, object]) -> PipelineResult:
    """Runs a mode inside one tracked run.

    Args:
        mode: A name among `ppi_train.runs.configs.MODES`.
        config: The mode's typed config, or its parameters by name.

    Raises:
        UserError: the mode or the config is wrong, or the run ended on a user's mistake; the run is
            then FAILED, with the message in its tag `ppi.error`.
    """
    if mode not in MODES:
        raise ConfigError("there is no such run mode", got=mode, expected=", ".join(MODES))
    if not isinstance(config, ModeConfig):
        config, warnings = load_config(MODES[mode], config)
        for warning in warnings:
            logger.warning("%s", warning)
    canonical = ALIASES.get(mode, mode)
    module = importlib.import_module(f"ppi_train.modes.{_MODULES[canonical]}")
    pipeline: Pipeline = module.run
    measured = canonical not in _NO_SYSTEM_METRICS
    with TrackedRun(canonical, system_metrics=measured, tracking=tracking_of(config)) as run, _room_on_disk():
        return pipeline(config, run)


def tracking_of(config: ModeConfig) -> Tracking:
    """The tracking options of a config, with defaults for missing parameters."""
    values: dict[str, Any] = config.values
    return Tracking(
        folder=Path(values.get("output_dir") or DEFAULT_FOLDER),
        flush_seconds=values.get("tracking_flush_seconds", Tracking.flush_seconds),
        offline=values.get("offline", False),
    )


@contextmanager
def _room_on_disk() -> Iterator[None]:
    """Reports a full disk as a user error, wherever it occurs."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StorageError(
            "the disk is full",
            where=error.filename,
            remedy="make room; a training run is then continued: mlflow run . -e resume -P run_id=...",
        ) from error
