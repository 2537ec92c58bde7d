"""The data set that a config names, and what a run records of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ppi_train.config.options import DatasetOptions
from ppi_train.data.benchmarks.prepare import Dataset, prepare_dataset
from ppi_train.data.pairs import PairTable
from ppi_train.tracking.run import TrackedDataset

DEFAULT_DATASET = "example"


def prepare(data: DatasetOptions, splits: Sequence[str]) -> Dataset:
    """The files of a data set's splits, fetched or generated if absent."""
    mirror = data.mirror or os.environ.get("PPI_TRAIN_MIRROR") or None
    return prepare_dataset(
        data.dataset or DEFAULT_DATASET,
        data_dir=Path(data.data_dir),
        mirror=mirror,
        splits=splits,
        data_seed=data.data_seed,
    )


def tracked_dataset(name: str, split: str, table: PairTable) -> TrackedDataset:
    """A split as a run records it."""
    return TrackedDataset(
        name=f"{name}/{split}", context=split, digest=table.digest, source=table.source, size=len(table)
    )
