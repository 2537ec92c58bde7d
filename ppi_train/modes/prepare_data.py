"""The `prepare_data` mode: fetches a benchmark or writes the built-in example."""

from __future__ import annotations

import logging

from ppi_train.config.loading import logged_parameters
from ppi_train.data.pairs import read_pairs
from ppi_train.modes.base import PipelineResult
from ppi_train.runs.configs import PrepareDataConfig
from ppi_train.runs.datasets import DEFAULT_DATASET, prepare, tracked_dataset
from ppi_train.tracking.run import TrackedDataset, TrackedRun

logger = logging.getLogger(__name__)


def run(config: PrepareDataConfig, tracked: TrackedRun) -> PipelineResult:
    """Prepares the splits and records each with its digest."""
    name = config.data.dataset or DEFAULT_DATASET
    config = config.replace(dataset=name)
    tracked.identify(dataset=name)
    tracked.log_parameters(logged_parameters(config))
    dataset = prepare(config.data, config.splits.splits)
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
    return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs=outputs)
