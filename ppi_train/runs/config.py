"""Configs that are made from others, or that an earlier run logged."""

from __future__ import annotations

from typing import TypeVar

from ppi_train.config.fields import describe_fields
from ppi_train.config.groups import ModeConfig
from ppi_train.config.loading import config_values, load_config
from ppi_train.errors import CheckpointError
from ppi_train.runs.configs import MODES, FinetuneConfig, TrainConfig, TrainEmbedderConfig
from ppi_train.tracking.runs import RunInfo

# Paths, saving intervals and memory limits do not affect the result; input files count by their digests.
_PLACES = frozenset(
    {"data_dir", "output_dir", "mirror", "fasta", "embeddings", "checkpoint_every", "cache_memory_mb"}
    | {"tracking_flush_seconds", "offline", "processes"}
    | {"train_pairs", "val_pairs", "test_pairs", "text_fasta", "exclude_fasta", "exclude_pairs"}
    | {"node_sets", "complexes", "essential", "non_essential"}
    | {"network", "id_map", "known"}
)

C = TypeVar("C", bound=ModeConfig)
Resumable = TrainConfig | FinetuneConfig | TrainEmbedderConfig


def part_of(config: ModeConfig, schema: type[C], **changes: object) -> C:
    """A config of another mode: the values of the options that both have, with changes."""
    known = schema().values
    shared = {name: value for name, value in config.values.items() if name in known}
    return schema.of(**(shared | changes))


def values_of_result(config: ModeConfig) -> dict[str, object]:
    """The values by name that a result depends on, without unset ones."""
    return {name: value for name, value in config_values(config).items() if name not in _PLACES}


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
