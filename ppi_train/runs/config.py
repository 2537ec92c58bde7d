"""The config that an earlier run logged."""

from __future__ import annotations

from ppi_train.config.fields import describe_fields
from ppi_train.config.loading import load_config
from ppi_train.errors import CheckpointError
from ppi_train.runs.configs import MODES, FinetuneConfig, TrainConfig, TrainEmbedderConfig
from ppi_train.tracking.runs import RunInfo

Resumable = TrainConfig | FinetuneConfig | TrainEmbedderConfig


def original_config(run: RunInfo) -> Resumable:
    """The config of a training run, from the parameters that it logged.

    Raises:
        CheckpointError: the run was interrupted before it logged them.
    """
    schema = MODES[str(run.mode)]
    logged = {spec.name: run.parameters.get(spec.parameter) for spec in describe_fields(schema)}
    if all(value is None for value in logged.values()):
        raise CheckpointError(
            "the run was interrupted before its parameters were logged: there is nothing to continue",
            where=run,
            remedy="start it again",
        )
    original, _ = load_config(schema, logged)
    assert isinstance(original, Resumable)
    return original
