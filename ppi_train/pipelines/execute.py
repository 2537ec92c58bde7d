"""Runs a mode by its name: the Python form of `mlflow run . -e <mode>`."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ppi_train.config.loading import load_config
from ppi_train.config.schema import MODES, Section
from ppi_train.errors import ConfigError
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)

# Two names of one mode; `main` is the training mode until the whole pipeline has more stages.
ALIASES = {"pretrain_only": "train_only", "main": "train_only"}
_MODULES = {"train_only": "train", "eval_only": "evaluate", "embed": "embed", "prepare_data": "prepare_data"}


@dataclass(frozen=True, kw_only=True)
class PipelineResult:
    """What a mode returns: the run that tracked it, its last metrics, and the files that it made."""

    run_id: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)


Pipeline = Callable[..., PipelineResult]


def execute_pipeline(mode: str, config: Section | Mapping[str, object]) -> PipelineResult:
    """Runs a mode inside one tracked run.

    Args:
        mode: A name among `ppi_train.config.schema.MODES`.
        config: The mode's typed config, or its parameters by name.

    Raises:
        UserError: the mode or the config is wrong, or the run ended on a user's mistake; the run is
            then FAILED, with the message in its tag `ppi.error`.
    """
    if mode not in MODES:
        raise ConfigError("there is no such run mode", got=mode, expected=", ".join(MODES))
    if not isinstance(config, Section):
        config, warnings = load_config(MODES[mode], config)
        for warning in warnings:
            logger.warning("%s", warning)
    canonical = ALIASES.get(mode, mode)
    module = importlib.import_module(f"ppi_train.pipelines.{_MODULES[canonical]}")
    pipeline: Pipeline = module.run
    with TrackedRun(canonical) as run:
        return pipeline(config, run)
