"""Scoring of pairs into a table.

The blocks of pairs are scored in numbered tasks, in this process or by the workers of a pool. Each writes a
part; the parts are merged in order into a table that is then moved into place. The blocks, tasks and rows
depend on the proteins and the options alone, so that the table has the same bytes for any number of workers,
and after any interruption.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from ppi_train.checkpoints import Checkpoint
from ppi_train.errors import ConfigError
from ppi_train.inference.assemble import assemble
from ppi_train.inference.export import SEPARATORS, check_names
from ppi_train.inference.output_parts import PredictionParts, held_prediction
from ppi_train.inference.prediction import Prediction, PredictionCounts
from ppi_train.inference.scan import EncodedProteins
from ppi_train.inference.shared_scan import HeldScan, SharedScan, score_task, share_scan, shared_scan
from ppi_train.io.files import disk_space, free_bytes
from ppi_train.io.progress import Progress
from ppi_train.parallel.pool import LocalPool, Pool, check_files_visible

logger = logging.getLogger(__name__)

# Best partners of all proteins in memory: 160 MB, and a few times that when they are sorted at the end.
_MOST_PARTNERS = 20_000_000
# Bytes of a row: its scores, which do not compress; and as text, with two accessions.
_ROW_BYTES = 12
_TEXT_BYTES = 60


@dataclass(frozen=True, kw_only=True)
class Workers:
    """A pool whose workers are other processes.

    Attributes:
        pool: Runs the tasks.
        checkpoint: Of the model that they score with.
        device: On which each of them scores.
    """

    pool: Pool
    checkpoint: Checkpoint
    device: str


def make_prediction(
    prediction: Prediction, encode: Callable[[], EncodedProteins], workers: Workers | None = None
) -> PredictionCounts:
    """Scores the pairs and writes the table, and the network if requested.

    Args:
        prediction: Pairs and options.
        encode: Encodes the proteins; called only after the checks have passed.
        workers: Who does the tasks; None: this process.

    Raises:
        ConfigError: an output exists and may not be replaced, unfinished parts of another prediction
            are in its folder, another process works on it, or `top_k` is too large for the memory.
        DataError: the network's format cannot have a protein's accession.
        CheckpointError: the model gives scores that are not finite.
        ClusterError: a worker does not see the folder of parts, or see `Pool.run`.
        StorageError: the disk is full; finished parts are kept, and the next call continues from them.
    """
    _refuse_too_many(prediction)
    if prediction.edges:
        check_names(prediction.edges, prediction.proteins)
    with held_prediction(
        prediction.output, prediction.job, overwrite=prediction.overwrite, edges=prediction.edges
    ) as parts:
        work = _Work(prediction, parts)
        with disk_space(prediction.output, lambda: work.bytes_left, kept=lambda: work.kept):
            return work.run(encode, workers)


def _refuse_too_many(prediction: Prediction) -> None:
    ranked = len(prediction.proteins) if prediction.queries is None else prediction.queries
    kept = min(prediction.best_of_each or 0, len(prediction.proteins))
    most = max(1, _MOST_PARTNERS // ranked)
    if kept > most:
        raise ConfigError(
            "top_k is too large for so many proteins: the best partners are kept in memory",
            got=f"top_k={prediction.top_k or 'all'} for {ranked:,} proteins",
            expected=f"at most {most:,}",
            remedy="give a smaller top_k, or min_probability alone",
        )


class _Work:
    """A prediction in progress, and its parts."""

    def __init__(self, prediction: Prediction, parts: PredictionParts) -> None:
        self._wanted, self._parts, self._pairs = prediction, parts, prediction.pairs
        # Those of each task; not known before the proteins are encoded.
        self._task_pairs: list[int] = []

    def run(self, encode: Callable[[], EncodedProteins], workers: Workers | None) -> PredictionCounts:
        job = self._held(encode()) if workers is None else self._shared(encode, workers)
        scan = job.opened()
        self._task_pairs = [sum(map(self._pairs.pairs_in, blocks)) for blocks in scan.tasks]
        started_with = self._done_pairs
        if started_with:
            logger.info("going on: %s of %s pairs are scored", f"{started_with:,}", f"{self._pairs.pairs:,}")
        self._warn_of_space()
        begun = time.perf_counter()
        tasks = self._score(job, LocalPool() if workers is None else workers.pool)
        seconds = time.perf_counter() - begun
        written = assemble(
            self._wanted, scan.collect(self._parts.columns), self._parts, uncertainty=scan.uncertainty
        )
        return PredictionCounts(
            pairs=self._pairs.pairs,
            scored=self._pairs.pairs - started_with,
            tasks=tasks,
            kept=written.rows,
            marked=written.marked,
            best=written.best,
            highest=written.highest,
            seconds=seconds,
        )

    def _held(self, encoded: EncodedProteins) -> HeldScan:
        return HeldScan(self._wanted.plan(encoded).scan(encoded), self._parts.folder)

    def _shared(self, encode: Callable[[], EncodedProteins], workers: Workers) -> SharedScan:
        folder = self._parts.folder.absolute()
        file = shared_scan(folder)
        if file is None:
            encoded = encode()
            file = share_scan(folder, self._wanted.plan(encoded), workers.checkpoint, encoded)
        check_files_visible(workers.pool, [file])
        return SharedScan(file, folder, workers.device)

    @property
    def _done_pairs(self) -> int:
        return sum(self._task_pairs[number] for number in self._parts.done) if self._task_pairs else 0

    def _score(self, job: HeldScan | SharedScan, pool: Pool) -> int:
        """Does the tasks without a part, and returns how many these are."""
        left = [number for number in range(len(self._task_pairs)) if number not in self._parts.done]
        with Progress(self._pairs.pairs, done=self._done_pairs) as progress:
            for number, path in pool.run(score_task, job, left):
                self._parts.add(path)
                progress.advance(self._task_pairs[number])
        return len(left)

    def _warn_of_space(self) -> None:
        if not self._wanted.keeps_all:
            return
        left, free = self.bytes_left, free_bytes(self._wanted.output)
        if left > free:
            logger.warning(
                "about %s MB are to be written and %s MB are free: %s; min_probability or top_k keep less",
                f"{left / 1e6:,.1f}", f"{free / 1e6:,.1f}", self._wanted.output.absolute().parent,
            )  # fmt: skip

    @property
    def bytes_left(self) -> int:
        """Upper limit of bytes still to be written, for parts and table."""
        text = self._pairs.pairs * _TEXT_BYTES if self._wanted.output.suffix in SEPARATORS else 0
        return (2 * self._pairs.pairs - self._done_pairs) * _ROW_BYTES + text

    @property
    def kept(self) -> str:
        done, pairs = self._done_pairs, self._pairs.pairs
        return f"{done:,} of {pairs:,} pairs are scored, and kept next to the output"
