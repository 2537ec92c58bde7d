"""The `prepare_data` mode: fetches a benchmark or writes the built-in example."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ppi_train.config.loading import logged_parameters
from ppi_train.config.options import DatasetOptions
from ppi_train.config.schema import PrepareDataConfig
from ppi_train.data.benchmarks.prepare import Dataset, prepare_dataset
from ppi_train.data.pairs import PairTable, read_pairs
from ppi_train.modes.execute import PipelineResult
from ppi_train.tracking.run import TrackedDataset, TrackedRun

logger = logging.getLogger(__name__)

DEFAULT_DATASET = "example"


def prepare(config: DatasetOptions, splits: Sequence[str]) -> Dataset:
    """The files of a data set's splits, fetched or generated if absent."""
    mirror = config.mirror or os.environ.get("PPI_TRAIN_MIRROR") or None
    return prepare_dataset(
        config.dataset or DEFAULT_DATASET,
        data_dir=Path(config.data_dir),
        mirror=mirror,
        splits=splits,
        data_seed=config.data_seed,
    )


def tracked_dataset(name: str, split: str, table: PairTable) -> TrackedDataset:
    """A split as a run records it."""
    return TrackedDataset(
        name=f"{name}/{split}", context=split, digest=table.digest, source=table.source, size=len(table)
    )


def run(config: PrepareDataConfig, tracked: TrackedRun) -> PipelineResult:
    """Prepares the splits and records each with its digest."""
    name = config.dataset or DEFAULT_DATASET
    config = replace(config, dataset=name)
    tracked.identify(dataset=name)
    tracked.log_parameters(logged_parameters(config))
    dataset = prepare(config, config.splits)
    metrics: dict[str, float] = {}
    outputs: dict[str, str] = {}
    datasets: list[TrackedDataset] = []
    for name, split in dataset.splits.items():
        table = read_pairs(split.pairs)
        datasets.append(tracked_dataset(dataset.name, name, table))
        metrics |= {f"data/{name}_pairs": len(table), f"data/{name}_proteins": len(table.proteins)}
        outputs[name] = str(split.pairs)
        logger.info(
            "%s: %s pairs, %s positive, %s proteins: %s",
            name, f"{len(table):,}", f"{table.positives:,}", f"{len(table.proteins):,}", split.pairs,
        )  # fmt: skip
    tracked.log_datasets(datasets)
    tracked.log_metrics(metrics)
    return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs=outputs)
