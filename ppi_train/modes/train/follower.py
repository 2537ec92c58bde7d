"""What the other ranks of a training do; `python -m ppi_train.modes.train.follower STORE RANK SIZE FIRST`.

They have no tracked run and write no checkpoint: they are told what to train, and compute their share.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from ppi_train.config.places import with_copies
from ppi_train.errors import DataError, RankError, UserError
from ppi_train.modes.train.processes import Plan, started_rank
from ppi_train.modes.train.resume import job_of
from ppi_train.tracking.run import mark_lost
from ppi_train.training.ranks import ProcessGroup

logger = logging.getLogger(__name__)
FORMAT = "%(asctime)s %(levelname).1s %(message)s"


def follow(group: ProcessGroup, *, log: bool = False) -> None:
    """Takes part in trainings until the first rank has no more.

    Args:
        group: The ranks.
        log: Whether to log to a file in the folder of each run.

    Raises:
        UserError: a training has failed; RankError, if another rank was lost.
    """
    plan: Plan | None = None
    try:
        while (plan := group.from_first(lambda: plan)) is not None:
            with _logging_to(plan.log_of(group.rank)) if log else nullcontext():
                _take_part(group, plan)
    except RankError as error:
        if plan and plan.server and not group.first_has_left():
            # Nobody else can say so: the first rank has the runs, and was lost.
            os.environ["MLFLOW_TRACKING_URI"] = plan.server
            for run_id in plan.runs:
                mark_lost(run_id, str(error))
        raise


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter(FORMAT, datefmt="%H:%M:%S"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def _take_part(group: ProcessGroup, plan: Plan) -> None:
    if plan.server:
        os.environ["MLFLOW_TRACKING_URI"] = plan.server
    problem: UserError | None = None
    try:
        job = job_of(with_copies(plan.config))
        changed = [name for name, digest in plan.digests.items() if job.digests.get(name) != digest]
        if changed:
            problem = DataError(f"this process reads other data than the first one: {', '.join(changed)}")
    except UserError as error:
        problem = error
    group.agree(problem)
    group.folder = plan.shared
    job.follow(group)
    shutil.rmtree(plan.shared, ignore_errors=True)  # the first rank may be on another machine


def follow_launcher(group: ProcessGroup) -> None:
    """Takes part as a rank that a launcher such as torchrun has started.

    Its terminal is that of the first rank too: it logs to a file in the folder of the run.
    """
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.ERROR)
    follow(group, log=True)


def main(store: str, rank: int, size: int, first: int) -> int:
    """Takes part as a rank that the first one has started; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format=FORMAT, datefmt="%H:%M:%S")
    try:
        with started_rank(store, rank, size, first) as group:
            follow(group)
    except UserError as error:
        logger.error("%s", error)
        return error.exit_code
    except KeyboardInterrupt:
        logger.info("stopped")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
