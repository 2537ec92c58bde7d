"""Check for test pairs that a model or its ancestors trained on."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from ppi_train.data.pairs import PairTable, read_pairs
from ppi_train.errors import DataError, UserError
from ppi_train.runs.checkpoints import ResolvedCheckpoint
from ppi_train.tracking.runs import FoundRun, download_artifact, find_run

logger = logging.getLogger(__name__)

Pairs = set[tuple[str, str]]


def refuse_leakage(candidate: ResolvedCheckpoint, table: PairTable, *, allowed: bool) -> int:
    """Counts the test pairs in the training data of candidate and ancestors.

    Raises:
        DataError: there are such pairs, or a run's training pairs cannot be read, and this is not
            `allowed`.
    """
    test = unordered_pairs(table)
    shared: Pairs = set()
    for run_id in lineage_of(candidate):
        try:
            shared |= test & training_pairs(run_id)
        except UserError as error:
            if not allowed:
                raise DataError(
                    "the training pairs cannot be read, so leakage cannot be ruled out",
                    where=f"run {run_id}",
                    got=error.what,
                    remedy="restore the run, or give allow_leakage=true",
                ) from None
            logger.warning("the training pairs of run %s cannot be read: %s", run_id, error.what)
    if not shared:
        return 0
    count = f"{len(shared):,} of {len(test):,} test pairs are among the training pairs"
    if not allowed:
        raise DataError(
            f"{count} of the candidate",
            where=table.source,
            got=", ".join("-".join(pair) for pair in sorted(shared)[:5]),
            expected="test pairs that neither the run nor its ancestors were trained on",
            remedy="test on other pairs; or give allow_leakage=true, which tags the version",
        )
    logger.warning("%s: allowed, and recorded in a tag", count)
    return len(shared)


def lineage_of(resolved: ResolvedCheckpoint) -> list[str]:
    """IDs of a run's ancestors, oldest first, followed by its own ID."""
    return [*resolved.read().description.get("lineage", ()), resolved.run.run_id]


def training_pairs(run_id: str) -> Pairs:
    """The training pairs that a run logged."""
    return unordered_pairs(logged_pairs(find_run(run_id), "train"))


def logged_pairs(run: FoundRun, split: str) -> PairTable:
    """The pairs of a split that a training run logged.

    Args:
        run: The training run.
        split: `train` or `validation`.

    Raises:
        TrackingError: the run has no such file, or the server does not answer.
        DataError: their digest differs from the one that the run recorded.
    """
    with tempfile.TemporaryDirectory() as folder:
        table = read_pairs(download_artifact(run, f"pairs/{split}.parquet", Path(folder)))
    logged = [digest for name, digest in run.datasets.items() if name.rpartition("/")[2] == split]
    if logged and table.digest[:36] not in logged:
        # Otherwise anyone with write access to the artifacts could hide that a test pair was trained on.
        raise DataError(
            f"the {split} pairs among the run's artifacts are not those that it read",
            where=f"pairs/{split}.parquet of {run}",
            got=f"digest {table.digest[:36]}",
            expected=f"digest {logged[0]}",
            remedy="find out who replaced them",
        )
    return table


def unordered_pairs(table: PairTable) -> Pairs:
    """The distinct pairs of a table."""
    return set(ordered_pairs(table))


def ordered_pairs(table: PairTable) -> list[tuple[str, str]]:
    """Sorted accessions of each pair, in the order of the table."""
    names = table.proteins
    return [(min(names[a], names[b]), max(names[a], names[b])) for a, b in table.index.tolist()]
