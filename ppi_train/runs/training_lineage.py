"""Training pairs and sequences of a run and its ancestors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ppi_train.config.schema import EvalConfig, FinetuneConfig, TrainConfig
from ppi_train.data.fasta import read_fasta
from ppi_train.data.pairs import PairTable, pairs_from_ids
from ppi_train.errors import UserError
from ppi_train.runs.checkpoints import ResolvedCheckpoint
from ppi_train.runs.config import original_config
from ppi_train.runs.datasets import DEFAULT_DATASET, prepare
from ppi_train.runs.leakage import lineage_of, logged_pairs, ordered_pairs
from ppi_train.tracking.runs import find_run

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainingLineage:
    """The training data of a run and its ancestors.

    Attributes:
        table: All training pairs, with the label that was used last.
        sequences: Sequences of the proteins, by accession, as far as they could be found.
        notes: What could not be read, and why.
    """

    table: PairTable
    sequences: dict[str, str]
    notes: tuple[str, ...]


def training_lineage(
    resolved: ResolvedCheckpoint, config: EvalConfig, *, with_sequences: bool
) -> TrainingLineage | None:
    """Reads the available training data of a run and its ancestors.

    Returns None if the training pairs of none of these runs can be read.

    Args:
        resolved: The run.
        config: Gives the present folder of data sets.
        with_sequences: Whether sequences are read too.
    """
    tables, notes = [], []
    sequences: dict[str, str] = {}
    for run_id in lineage_of(resolved):
        try:
            run = find_run(run_id)
            tables.append(logged_pairs(run, "train"))
        except UserError as error:
            notes.append(f"the training pairs of run {run_id} cannot be read: {error.what}")
            continue
        if not with_sequences:
            continue
        try:
            trained = original_config(run)
            assert isinstance(trained, TrainConfig | FinetuneConfig)
            sequences |= _sequences(trained, config)
        except UserError as error:
            notes.append(f"the training sequences of run {run_id} cannot be read: {error.what}")
    for note in notes:
        logger.warning("%s", note)
    if not tables:
        return None
    source = f"training pairs of run {resolved.run.run_id}"
    if len(tables) > 1:
        source += f" and {len(tables) - 1} before it"
    return TrainingLineage(table=joined(tables, source), sequences=sequences, notes=tuple(notes))


def joined(tables: Sequence[PairTable], source: str) -> PairTable:
    """Joins labelled tables into one.

    A pair in several tables gets the label of the last one.
    """
    if len(tables) == 1:
        return replace(tables[0], source=source)
    labels: dict[tuple[str, str], int] = {}
    for table in tables:
        assert table.labels is not None
        labels |= dict(zip(ordered_pairs(table), table.labels.tolist(), strict=True))
    a, b = zip(*labels, strict=True)
    return pairs_from_ids(a, b, np.array(list(labels.values())), source)


def _sequences(trained: TrainConfig | FinetuneConfig, config: EvalConfig) -> dict[str, str]:
    """The sequences that a run was trained on.

    Empty if the run was given its own pairs with embeddings, but no FASTA.
    """
    if trained.fasta:
        return dict(read_fasta(trained.fasta).sequences)
    if trained.train_pairs:
        return {}
    wanted = replace(config, dataset=trained.dataset or DEFAULT_DATASET, data_seed=trained.data_seed)
    return dict(read_fasta(prepare(wanted, ("train",)).splits["train"].fasta).sequences)
