"""The data set that a config names, and its record in a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ppi_train.config.options import DatasetOptions
from ppi_train.data.benchmarks.prepare import Dataset, prepare_dataset
from ppi_train.data.pairs import PairTable
from ppi_train.errors import addressed
from ppi_train.tracking.run import TrackedDataset

DEFAULT_DATASET = "example"


def mirror_of(data: DatasetOptions) -> str | None:
    """The folder or server to fetch from in place of the internet, if any."""
    return data.mirror or os.environ.get("PPI_TRAIN_MIRROR") or None


def training_fastas(data: DatasetOptions) -> list[Path]:
    """The FASTAs of a data set's training and validation pairs, each once."""
    dataset = prepare(data, ("train", "validation"))
    return sorted({split.fasta for split in dataset.splits.values()})


def prepare(data: DatasetOptions, splits: Sequence[str]) -> Dataset:
    """The files of a data set's splits, fetched or generated if absent."""
    return prepare_dataset(
        data.dataset or DEFAULT_DATASET,
        data_dir=Path(data.data_dir),
        mirror=mirror_of(data),
        splits=splits,
        data_seed=data.data_seed,
    )


def tracked_dataset(name: str, split: str, table: PairTable) -> TrackedDataset:
    """A split as a run records it."""
    return TrackedDataset(
        name=f"{name}/{split}",
        context=split,
        digest=table.digest,
        source=addressed(table.source),
        size=len(table),
    )
