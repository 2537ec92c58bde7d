"""The `rollback` mode: moves an alias back to its previous version."""

from __future__ import annotations

import logging

from ppi_train.config.loading import logged_parameters
from ppi_train.modes.base import PipelineResult, prediction_with
from ppi_train.runs.configs import RollbackConfig
from ppi_train.tracking.registry.aliases import rollback
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)


def run(config: RollbackConfig, tracked: TrackedRun) -> PipelineResult:
    """Swaps the alias and `previous_<alias>`.

    Raises:
        TrackingError: no such registered model or alias, or the alias has no previous version.
    """
    assert config.registry.registered_model is not None  # the schema requires it
    name, alias = config.registry.registered_model, config.registry.alias
    tracked.identify(registered_model=name)
    tracked.log_parameters(logged_parameters(config))
    now, before = rollback(name, alias)
    tracked.set_tags({"ppi.registered_version": now.version})
    tracked.describe(f"`models:/{name}@{alias}` went from version {before.version} back to {now.version}.")
    logger.info("models:/%s@%s went from version %s back to %s", name, alias, before.version, now.version)
    then = (prediction_with(f"model_uri=models:/{name}@{alias}"),)
    return PipelineResult(run_id=tracked.run_id, outputs={"version": now.version}, then=then)
