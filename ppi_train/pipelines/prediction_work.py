"""Makes a table of scored pairs: block by block into parts, and of these one file that is moved into place.

The blocks, and the rows that they give, follow from the proteins and the options alone, so that an
interrupted and continued prediction has the bytes of one that was not. How many blocks make a part
follows from the time they take, which the finished table does not show.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ppi_train.data.disk_space import disk_space, free_bytes
from ppi_train.data.edge_list import write_edges
from ppi_train.data.prediction_file import PredictionWriter
from ppi_train.data.prediction_parts import PredictionParts, held_prediction
from ppi_train.errors import ConfigError
from ppi_train.training.pair_grid import PairGrid, PairList
from ppi_train.training.progress import Progress
from ppi_train.training.scan import EncodedProteins, Scan, ThresholdScan, TopScan

logger = logging.getLogger(__name__)

# A kill loses at most this, and the block at work.
PART_SECONDS = 5.0
# Of a scan's time, what writing parts may take.
WRITING_SHARE = 0.1
# Rows in memory: 16 bytes each.
_PART_ROWS = 4 << 20
# Best partners in memory, of all proteins: 160 MB, and some times that when they are sorted in the end.
_MOST_PARTNERS = 20_000_000
# Of a row: its scores, which no compressor shortens.
_ROW_BYTES = 8
# Changes with what the rows of a table follow from.
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What is to be made.

    Attributes:
        output: The table.
        edges: The network beside it; None for none.
        overwrite: Whether files that exist are replaced.
        proteins: Accessions by number.
        pairs: What is scored.
        top_k: Partners kept of each protein; None: all.
        min_probability: Pairs below are not kept; None: all are.
        uncertainty: Whether the standard deviation of the logit is wanted, where the model has one.
        origin: What the scores follow from, beside all this: digests by name.
        about: What else the table is to say of itself.
    """

    output: Path
    edges: Path | None = None
    overwrite: bool = False
    proteins: tuple[str, ...]
    pairs: PairGrid | PairList
    top_k: int | None = None
    min_probability: float | None = None
    uncertainty: bool = True
    origin: Mapping[str, object] = field(default_factory=dict)
    about: Mapping[str, object] = field(default_factory=dict)

    @property
    def job(self) -> dict[str, object]:
        """All that the rows follow from."""
        grid = self.pairs if isinstance(self.pairs, PairGrid) else None
        return {
            **self.origin,
            "version": _VERSION,
            "top_k": self.top_k if grid else None,
            "min_probability": self.min_probability,
            "include_self": grid.include_self if grid else None,
            "uncertainty": self.uncertainty,
            "block": grid.side if grid else None,
        }

    @property
    def keeps_all(self) -> bool:
        return not self.min_probability and not (self.top_k and isinstance(self.pairs, PairGrid))

    def scan(self, encoded: EncodedProteins, *, uncertainty: bool) -> Scan:
        """What scores the pairs and keeps those that are wanted."""
        if self.top_k and isinstance(self.pairs, PairGrid):
            return TopScan(
                encoded,
                self.pairs,
                self.top_k,
                min_probability=self.min_probability,
                uncertainty=uncertainty,
            )
        return ThresholdScan(
            encoded, self.pairs, min_probability=self.min_probability, uncertainty=uncertainty
        )


@dataclass(frozen=True, kw_only=True)
class PredictionCounts:
    """What was done: pairs in all, those scored now, rows kept, and the seconds that scoring took."""

    pairs: int
    scored: int
    kept: int
    seconds: float


def make_prediction(prediction: Prediction, encode: Callable[[], EncodedProteins]) -> PredictionCounts:
    """Scores the pairs and writes the table, and the network beside it if one is wanted.

    Args:
        prediction: What is to be made.
        encode: Gives the encoded proteins; called once it is clear that they are needed.

    Raises:
        ConfigError: there is a file that is not to be replaced, parts of another prediction lie there,
            or another process works on it; more best partners are asked for than memory holds.
        CheckpointError: the model gives scores that are not finite.
        StorageError: the disk is full; finished parts are kept, and the next call goes on from them.
    """
    _refuse_too_many(prediction)
    with held_prediction(prediction.output, prediction.job, overwrite=prediction.overwrite) as parts:
        work = _Work(prediction, parts)
        with disk_space(prediction.output, lambda: work.bytes_left, kept=lambda: work.kept):
            return work.run(encode())


def _refuse_too_many(prediction: Prediction) -> None:
    proteins, top_k = len(prediction.proteins), prediction.top_k or 0
    most = max(1, _MOST_PARTNERS // proteins)
    if isinstance(prediction.pairs, PairGrid) and min(top_k, proteins) > most:
        raise ConfigError(
            "top_k is too large for so many proteins: the best partners are kept in memory",
            got=f"top_k={top_k} for {proteins:,} proteins",
            expected=f"at most {most:,}",
            remedy="give a smaller top_k, or min_probability alone",
        )


class _Work:
    """A prediction and its parts."""

    def __init__(self, prediction: Prediction, parts: PredictionParts) -> None:
        self._wanted, self._parts, self._pairs = prediction, parts, prediction.pairs

    def run(self, encoded: EncodedProteins) -> PredictionCounts:
        wanted, started_with = self._wanted, self._done_pairs
        if started_with:
            logger.info("going on: %s of %s pairs are scored", f"{started_with:,}", f"{self._pairs.pairs:,}")
        self._warn_of_space()
        uncertainty = wanted.uncertainty and encoded.have_uncertainty(len(wanted.proteins))
        scan = wanted.scan(encoded, uncertainty=uncertainty)
        begun = time.perf_counter()
        self._score(scan)
        seconds = time.perf_counter() - begun
        kept = self._assemble(scan, uncertainty=uncertainty)
        return PredictionCounts(
            pairs=self._pairs.pairs, scored=self._pairs.pairs - started_with, kept=kept, seconds=seconds
        )

    @property
    def _done_pairs(self) -> int:
        return sum(map(self._pairs.pairs_in, range(self._parts.done)))

    def _score(self, scan: Scan) -> None:
        if scan.cumulative and self._parts.done:
            scan.restore(self._parts.last())
        writing = 0.0
        with Progress(self._pairs.pairs, done=self._done_pairs) as progress:
            while self._parts.done < len(self._pairs.blocks):
                ends = time.perf_counter() + max(PART_SECONDS, writing / WRITING_SHARE)
                stop = self._score_some(scan, ends, progress)
                begun = time.perf_counter()
                self._parts.add(stop, scan.take(), cumulative=scan.cumulative)
                writing = time.perf_counter() - begun

    def _score_some(self, scan: Scan, ends: float, progress: Progress) -> int:
        """Scores blocks for as long as a part lasts, at least one; gives the number of the next one."""
        for number in range(self._parts.done, len(self._pairs.blocks)):
            scan.score(number)
            progress.advance(self._pairs.pairs_in(number))
            if scan.held >= _PART_ROWS or time.perf_counter() >= ends:
                break
        return number + 1

    def _assemble(self, scan: Scan, *, uncertainty: bool) -> int:
        """Writes the table from what was kept, then the network from the table; gives the number of rows."""
        wanted, whole = self._wanted, self._parts.whole
        about = {**wanted.job, **wanted.about}
        with PredictionWriter(whole, wanted.proteins, about, uncertainty=uncertainty) as writer:
            for some in scan.result(self._parts.columns()):
                writer.add(some.columns)
        if wanted.edges:
            write_edges(wanted.edges, whole)
        whole.replace(wanted.output)
        self._parts.discard()
        return writer.rows

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
        """What is still to be written at most: the pairs left, and then the table beside the parts."""
        return (2 * self._pairs.pairs - self._done_pairs) * _ROW_BYTES

    @property
    def kept(self) -> str:
        done, pairs = self._done_pairs, self._pairs.pairs
        return f"{done:,} of {pairs:,} pairs are scored, and kept beside the output"
