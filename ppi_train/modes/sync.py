"""The `sync` mode: sends unsent records of runs to the tracking server."""

from __future__ import annotations

import logging
from pathlib import Path

from ppi_train.config.loading import logged_parameters
from ppi_train.errors import JournalError, TrackingError, UserError, first_line
from ppi_train.modes.base import PipelineResult
from ppi_train.runs.configs import SyncConfig
from ppi_train.tracking.outbox.store import LEGACY_NAME, NAME
from ppi_train.tracking.outbox.sync import sync_outbox
from ppi_train.tracking.run import DEFAULT_FOLDER, TrackedRun

logger = logging.getLogger(__name__)


def run(config: SyncConfig, tracked: TrackedRun) -> PipelineResult:
    """Sends the records of each outbox.

    An outbox that cannot be sent does not stop the others.

    Raises:
        JournalError: there is nothing at the given path.
        TrackingError: some outboxes could not be sent, or records were refused.
    """
    tracked.identify()
    tracked.log_parameters(logged_parameters(config))
    named = Path(config.sync.journal or DEFAULT_FOLDER)
    outboxes = [path for path in find_outboxes(named) if path.parent.name != tracked.run_id]
    if config.sync.journal and not outboxes and not named.is_dir():
        raise JournalError("there is no such journal", where=named.absolute())
    problems: list[str] = []
    records = 0
    for path in outboxes:
        try:
            sent = sync_outbox(path, experiment_id=tracked.experiment_id, end=True)
        except (UserError, OSError) as error:
            problems.append(f"{path}: {first_line(error)}")
            logger.error("%s", error)
            continue
        records += sent.records
        problems += [f"{path}: refused: {why}" for why in sent.refused]
        logger.info("run %s: %d records sent from %s", sent.run_id, sent.records, path)
    tracked.log_metrics({"sync/journals": len(outboxes), "sync/records": records})
    if problems:
        raise TrackingError(
            f"{len(problems)} of what {len(outboxes)} outboxes have could not be sent",
            where=named.absolute(),
            got="; ".join(problems[:10]),
            remedy="fix the problems listed above, and run sync again",
        )
    logger.info("%d outboxes, %d records sent", len(outboxes), records)
    return PipelineResult(run_id=tracked.run_id, metrics={"sync/records": records})


def find_outboxes(place: Path) -> list[Path]:
    """The outbox at a path, or all in a folder, by their real paths, without duplicates.

    The journals of version 0.2 are among them, so that they are named.
    """
    if place.is_file():
        return [place.resolve()]
    names = (NAME, f"*/{NAME}", LEGACY_NAME, f"*/{LEGACY_NAME}")
    found = [path for name in names for path in sorted(place.glob(name)) if path.is_file()]
    return list(dict.fromkeys(path.resolve() for path in found))
