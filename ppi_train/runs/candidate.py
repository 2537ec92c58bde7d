"""Resolution of a run ID or a registered model to its checkpoint."""

from __future__ import annotations

from ppi_train.config.options import EvaluatedRunOptions
from ppi_train.runs.checkpoints import ResolvedCheckpoint, resolve_checkpoint
from ppi_train.tracking.registry.versions import resolve_model_uri


def resolve_candidate(config: EvaluatedRunOptions) -> ResolvedCheckpoint:
    """The checkpoint that `run_id` or `model_uri` names."""
    return resolve_checkpoint(candidate_run_id(config))


def candidate_run_id(config: EvaluatedRunOptions) -> str:
    """The run that `run_id` or `model_uri` names."""
    if config.model_uri:
        run_id, _ = resolve_model_uri(config.model_uri)
        return run_id
    assert config.run_id is not None  # the schema requires one of the two
    return config.run_id
