"""What a user gives in place of a data set, made into ordinary tables and one FASTA.

That is a downloaded network, tables of interactions only, or several FASTAs. Everything that follows works on
the tables, and needs not know where they came from.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from ppi_train.data.pairs import read_pairs
from ppi_train.data.splits import GIVEN
from ppi_train.runs.configs import AuditConfig, PipelineConfig, TrainConfig
from ppi_train.runs.drawn_negatives import lacks_negatives, with_drawn_negatives
from ppi_train.runs.network_source import fasta_paths, joined_fasta
from ppi_train.runs.prepared_network import prepare_network
from ppi_train.runs.prepared_tables import PreparedTables
from ppi_train.tracking.run import TrackedRun

C = TypeVar("C", TrainConfig, PipelineConfig, AuditConfig)

_SIDE_OF = {"train_pairs": "train", "val_pairs": "validation", "test_pairs": "test"}


def with_own_data(config: C, tracked: TrackedRun) -> C:
    """A config of ordinary tables in place of what the user gave, which the run records.

    Raises:
        DataError: a file is wrong, the network cannot be divided, or no negatives can be drawn.
    """
    fasta = config.values["fasta"]
    data_dir = Path(config.data.data_dir)
    if isinstance(fasta, str) and not config.source.network:
        config = config.replace(fasta=joined_fasta(fasta, data_dir))
    fastas = fasta_paths(str(fasta)) if fasta else []
    if config.source.network:
        prepared = prepare_network(config.source, config.division, fastas, data_dir)
        _record(prepared, tracked, network=config.source.network)
        return config.replace(network=None, fasta=prepared.fasta, **_tables(config, prepared))
    if isinstance(config, AuditConfig):
        return config
    given = {name: str(path) for name in _SIDE_OF if (path := config.values.get(name))}
    if not (given and config.division.negatives):
        return config
    paths = {_SIDE_OF[name]: path for name, path in given.items()}
    drawn = with_drawn_negatives(paths, config.source, config.division, fastas, data_dir)
    if drawn is None:
        return config
    _record(drawn, tracked)
    return config.replace(**{name: drawn.path(_SIDE_OF[name]) for name in given})


def draws_training_negatives(config: PipelineConfig) -> bool:
    """Whether the negatives of the first training are drawn, and none come from the user's own files.

    Raises:
        DataError: as `with_own_data`.
    """
    fastas = fasta_paths(config.cache.fasta or "")
    if config.source.network:
        prepared = prepare_network(config.source, config.division, fastas, Path(config.data.data_dir))
        return bool(prepared.record["negatives"] != GIVEN)
    if not config.pairs.train_pairs:
        return True
    return bool(config.division.negatives) and lacks_negatives(
        read_pairs(config.pairs.train_pairs, labels="optional")
    )


def _tables(config: C, prepared: PreparedTables) -> dict[str, str | None]:
    """The tables of the network by the parameter that takes them."""
    known = [name for name in _SIDE_OF if name in config.values]
    if isinstance(config, PipelineConfig) and config.finetune.finetunes:
        known.remove("test_pairs")  # the model of the last stage is tested on the data of that stage
    return {name: prepared.path(_SIDE_OF[name]) for name in known}


def _record(prepared: PreparedTables, tracked: TrackedRun, *, network: str = "") -> None:
    prepared.log()
    for path in prepared.artifacts:
        tracked.log_file(path, "network")
    tags = {"ppi.prepared_tables": prepared.folder.name}
    if network:
        tracked.log_parameters({"prepared.network": network})
        tags |= {"ppi.network": Path(network).name, "ppi.network_layout": str(prepared.record["layout"])}
    tracked.set_tags(tags)
