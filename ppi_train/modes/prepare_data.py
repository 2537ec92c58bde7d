"""The `prepare_data` mode: fetches a benchmark or writes the built-in example."""

from __future__ import annotations

import logging

from ppi_train.config.loading import logged_parameters
from ppi_train.config.options import SPLIT_NAMES, DatasetOptions
from ppi_train.data.benchmarks import NotInMirrorError
from ppi_train.data.pairs import read_pairs
from ppi_train.modes.base import PipelineResult
from ppi_train.runs.configs import PrepareDataConfig
from ppi_train.runs.datasets import DEFAULT_DATASET, prepare, tracked_dataset
from ppi_train.tracking.run import TrackedDataset, TrackedRun

logger = logging.getLogger(__name__)


def run(config: PrepareDataConfig, tracked: TrackedRun) -> PipelineResult:
    """Prepares the splits and records each with its digest.

    Unless splits are named, those whose files the mirror lacks are left out, with a warning.

    Raises:
        DataError: as in `prepare_dataset`.
    """
    name = config.data.dataset or DEFAULT_DATASET
    config = config.replace(dataset=name)
    tracked.identify(dataset=name)
    splits = config.splits.splits or _available(config.data, tracked)
    tracked.log_parameters(logged_parameters(config.replace(splits=splits)))
    dataset = prepare(config.data, splits)
    metrics: dict[str, float] = {}
    outputs: dict[str, str] = {}
    datasets: list[TrackedDataset] = []
    for name, split in dataset.splits.items():
        table = read_pairs(split.pairs)
        datasets.append(tracked_dataset(dataset.name, name, table))
        metrics |= {f"data/{name}_pairs": len(table), f"data/{name}_proteins": len(table.proteins)}
        outputs[name] = str(split.pairs)
        logger.info("%s: %s: %s", name, table.summary, split.pairs)
    tracked.log_datasets(datasets)
    tracked.log_metrics(metrics)
    then = (f"train_only -P dataset={dataset.name}",) if {"train", "validation"} <= outputs.keys() else ()
    return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs=outputs, then=then)


def _available(data: DatasetOptions, tracked: TrackedRun) -> tuple[str, ...]:
    """Prepares every split that it can, and says which files the mirror lacks."""
    absent: dict[str, NotInMirrorError] = {}
    for split in SPLIT_NAMES:
        try:
            prepare(data, (split,))
        except NotInMirrorError as error:
            absent[split] = error
    if len(absent) == len(SPLIT_NAMES):
        raise absent[SPLIT_NAMES[0]]
    notes = [f"{split}: {error.what}: {error.where}" for split, error in absent.items()]
    for note in notes:
        logger.warning("NOT PREPARED: %s", note)
    if notes:
        tracked.set_tags({"ppi.left_out": "\n".join(notes)})
    return tuple(split for split in SPLIT_NAMES if split not in absent)
