"""The `sync` mode: sends unsent journal records to the tracking server."""

from __future__ import annotations

import logging
from pathlib import Path

from ppi_train.config.loading import logged_parameters
from ppi_train.errors import JournalError, TrackingError
from ppi_train.modes.execute import PipelineResult
from ppi_train.runs.configs import SyncConfig
from ppi_train.tracking.outbox.store import NAME
from ppi_train.tracking.outbox.sync import replay
from ppi_train.tracking.run import DEFAULT_FOLDER, TrackedRun

logger = logging.getLogger(__name__)


def run(config: SyncConfig, tracked: TrackedRun) -> PipelineResult:
    """Sends the records of each journal.

    A journal that cannot be sent does not stop the others.

    Raises:
        JournalError: the given path is not a journal.
        TrackingError: some journals could not be sent, or records were refused.
    """
    tracked.identify()
    tracked.log_parameters(logged_parameters(config))
    named = Path(config.sync.journal or DEFAULT_FOLDER)
    journals = [path for path in find_journals(named) if path.parent.name != tracked.run_id]
    if config.sync.journal and not journals and not named.is_dir():
        raise JournalError("there is no such journal", where=named.absolute())
    problems: list[str] = []
    records = 0
    for path in journals:
        try:
            sent = replay(path, experiment_id=tracked.experiment_id, end=True)
        except TrackingError as error:
            problems.append(f"{path}: {error.what}")
            logger.error("%s", error)
            continue
        records += sent.records
        problems += [f"{path}: refused: {why}" for why in sent.refused]
        logger.info("run %s: %d records sent from %s", sent.run_id, sent.records, path)
    tracked.log_metrics({"sync/journals": len(journals), "sync/records": records})
    if problems:
        raise TrackingError(
            f"{len(problems)} of what {len(journals)} journals hold could not be sent",
            where=named.absolute(),
            got="; ".join(problems[:10]),
            remedy="fix the problems listed above, and run sync again",
        )
    logger.info("%d journals, %d records sent", len(journals), records)
    return PipelineResult(run_id=tracked.run_id, metrics={"sync/records": records})


def find_journals(place: Path) -> list[Path]:
    """The journal at a path, or all journals in a folder.

    Journals are given by their real paths, without duplicates.
    """
    if place.is_file():
        return [place.resolve()]
    found = [place / NAME, *sorted(place.glob(f"*/{NAME}"))]
    return list(dict.fromkeys(path.resolve() for path in found if path.is_file()))
