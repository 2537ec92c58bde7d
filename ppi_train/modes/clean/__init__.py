"""The `clean` mode: lists what fills the disk, and frees what can be made again."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ppi_train.config.loading import logged_parameters
from ppi_train.errors import StorageError
from ppi_train.modes.base import PipelineResult
from ppi_train.modes.clean.items import (
    REMEDIES,
    Item,
    items_of_checkpoints,
    items_of_data,
    items_of_runs,
)
from ppi_train.modes.clean.removal import active_run, remove
from ppi_train.runs.checkpoints import checkpoint_cache
from ppi_train.runs.configs import CleanConfig
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)

_MOST_LINES = 20
_DAY = 24 * 3600.0
# A run has these open, or is about to open them.
_USED_BY_RUNS = ("downloads", "embeddings", "parts", "similarity", "checkpoints")


def run(config: CleanConfig, tracked: TrackedRun) -> PipelineResult:
    """Lists all, and removes the kinds that `free` names.

    Raises:
        StorageError: something could not be removed; all else was.
    """
    tracked.identify()
    tracked.log_parameters(logged_parameters(config))
    options = config.clean
    data_dir, output_dir = Path(options.data_dir), Path(options.output_dir)
    found = [*items_of_data(data_dir), *items_of_runs(output_dir), *items_of_checkpoints(checkpoint_cache())]
    items = [item for item in found if item.path.name != tracked.run_id]
    if options.older_than_days is not None:
        items = _with_young_kept(items, options.older_than_days)
    _show(items)
    freed, problems = _free(items, options.free or (), active_run(output_dir, tracked.run_id))
    listed = sum(item.size for item in items)
    metrics = {"clean/listed_bytes": float(listed), "clean/freed_bytes": float(freed)}
    tracked.log_metrics(metrics)
    if problems:
        raise StorageError(
            f"{len(problems)} of what was to be freed could not be removed",
            where=data_dir.absolute(),
            got="; ".join(problems[:10]),
            remedy="make it writable, or remove it by hand",
        )
    if options.free:
        logger.info("%s freed", _size(freed))
    else:
        logger.info("nothing was removed; to free some: free=KIND,KIND of %s", ", ".join(config.clean.KINDS))
    return PipelineResult(run_id=tracked.run_id, metrics=metrics)


def _with_young_kept(items: Iterable[Item], days: int) -> list[Item]:
    oldest = time.time() - days * _DAY
    young = f"changed within {days} days"
    return [replace(item, keep=item.keep or (young if item.modified > oldest else "")) for item in items]


def _show(items: Sequence[Item]) -> None:
    """Logs the items of each kind, the largest first."""
    for kind, remedy in REMEDIES.items():
        found = sorted((item for item in items if item.kind == kind), key=lambda item: -item.size)
        if not found:
            continue
        total = sum(item.size for item in found)
        logger.info("%s: %d, %s; %s", kind, len(found), _size(total), remedy)
        for item in found[:_MOST_LINES]:
            if kind == "foreign":
                logger.info("  %s", item.path)
                continue
            age = max(0.0, time.time() - item.modified) / _DAY
            kept = f"; kept: {item.keep}" if item.keep else ""
            logger.info("  %9s %5.0f days  %s%s", _size(item.size), age, item.path, kept)
        if len(found) > _MOST_LINES:
            logger.info("  and %d more", len(found) - _MOST_LINES)


def _free(items: Iterable[Item], kinds: Sequence[str], active: Path | None) -> tuple[int, list[str]]:
    """Removes what may be removed; gives the bytes, and what could not be removed."""
    freed, problems = 0, []
    for item in items:
        if item.kind not in kinds or item.keep:
            continue
        if active and item.kind in _USED_BY_RUNS:
            kept = f"run {active.name} is in progress, and may use it"
        else:
            try:
                kept = remove(item)
            except OSError as error:
                problems.append(f"{item.path}: {error.strerror}")
                continue
        if kept:
            logger.warning("%s is kept: %s", item.path, kept)
        else:
            freed += item.size
            logger.info("removed: %s", item.path)
    return freed, problems


def _size(size: float) -> str:
    units = ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        del units[0]
    return f"{size:.0f} B" if units[0] == "B" else f"{size:.1f} {units[0]}"
