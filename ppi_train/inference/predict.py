"""Scoring of all pairs of many proteins, into a network or a table.

A network keeps the pairs above a threshold in memory. For a table, blocks are scored into parts, which are
assembled into one file that is then moved into place. The blocks and their rows depend on the proteins and
the options alone, so that an interrupted and continued prediction has the same bytes as an uninterrupted one.
The number of blocks in a part depends on the time they take; this has no effect on the finished table.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ppi_train.errors import ConfigError
from ppi_train.evaluation.network import Network, network_from_pairs
from ppi_train.features import Features
from ppi_train.inference.output import PredictionWriter, check_names, write_edges
from ppi_train.inference.output_parts import PredictionParts, held_prediction
from ppi_train.inference.pair_grid import PairGrid, PairList, cell_proteins, cell_values
from ppi_train.inference.scan import EncodedProteins, Scan, ThresholdScan, TopScan, score_cells
from ppi_train.inference.scoring import encode_all
from ppi_train.io.files import disk_space, free_bytes
from ppi_train.io.progress import Progress
from ppi_train.models.base import PairModel

logger = logging.getLogger(__name__)

# A killed process loses at most this much work, and the current block.
PART_SECONDS = 5.0
# Share of a scan's time that writing parts may take.
WRITING_SHARE = 0.1
# Rows in memory: 16 bytes each.
_PART_ROWS = 4 << 20
# Best partners of all proteins in memory: 160 MB, and a few times that when they are sorted at the end.
_MOST_PARTNERS = 20_000_000
# Bytes of a row: its scores, which do not compress.
_ROW_BYTES = 8
# To be increased when the rows of a table change for the same inputs.
_VERSION = 3


@dataclass(frozen=True, kw_only=True)
class PredictedPairs:
    """Scored pairs with a logit of at least `least`.

    Attributes:
        proteins: All proteins that were paired.
        pairs: (m, 2) numbers of proteins.
        logits: (m,) float32.
        least: Logits below were not kept.
        scored: How many pairs were scored.
        seconds: How long that took.
    """

    proteins: tuple[str, ...]
    pairs: np.ndarray
    logits: np.ndarray
    least: float
    scored: int
    seconds: float

    def network(self, threshold: float) -> Network:
        """The network of the pairs at or above a logit.

        The threshold must not be below `least`.
        """
        assert threshold >= self.least, f"{threshold} is below {self.least}"
        # In float64: a threshold just above a score would be that score in float32.
        logits = self.logits.astype(np.float64)
        return network_from_pairs(self.proteins, self.pairs, logits, threshold=threshold)


@torch.inference_mode()
def predict_pairs(
    model: PairModel,
    features: Features,
    proteins: tuple[str, ...],
    *,
    include_self: bool,
    least: float,
    device: torch.device,
) -> PredictedPairs:
    """Scores all pairs among some proteins, and keeps those above a threshold.

    Memory holds one block of a million logits at a time, and the kept pairs: 20 bytes each.

    Args:
        model: In evaluation mode.
        features: Of the proteins, in their order.
        proteins: Their accessions.
        include_self: Whether a protein is paired with itself as well.
        least: The lowest logit of a pair that is kept.
        device: Where the model is.

    Raises:
        CheckpointError: the model gives scores that are not finite.
    """
    begun = time.perf_counter()
    encoded = EncodedProteins(model=model, states=encode_all(model, features), device=device)
    grid = PairGrid(shared=len(proteins), include_self=include_self)
    pairs, kept_logits = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    with Progress(grid.pairs) as progress:
        for number, block in enumerate(grid.blocks):
            a, b, logits, _ = score_cells(encoded, grid, number, uncertainty=False)
            kept, repeated = logits >= least, grid.repeated(block, device)
            chosen = (kept if repeated is None else kept & ~repeated).flatten().nonzero().squeeze(1)
            ends = [proteins_of.cpu().numpy() for proteins_of in cell_proteins(a, b, chosen)]
            pairs.append(np.stack(ends, axis=1))
            kept_logits.append(cell_values(logits, chosen).float().cpu().numpy())
            progress.advance(grid.pairs_in(number))
    return PredictedPairs(
        proteins=proteins,
        pairs=np.concatenate(pairs),
        logits=np.concatenate(kept_logits),
        least=least,
        scored=grid.pairs,
        seconds=time.perf_counter() - begun,
    )


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Pairs to score, and options of the output.

    Attributes:
        output: Path of the table.
        edges: Path of the network; None for no network.
        overwrite: Whether existing files are replaced.
        proteins: Accessions by number.
        pairs: The pairs to score.
        top_k: Partners kept of each protein; None: all.
        min_probability: Pairs below this probability are not kept; None: all are.
        uncertainty: Whether to write the standard deviation of the logit, if the model has one.
        origin: Digests, by name, of everything else that the scores depend on.
        about: Further metadata of the table.
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
        """Everything that determines the rows of the table."""
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
        """The scan that scores the pairs and selects those to keep."""
        least = self.min_probability
        if self.top_k and isinstance(self.pairs, PairGrid):
            # Two lists have their numbers list by list, and not in the order of accessions.
            ranks = np.argsort(np.argsort(np.array(self.proteins, dtype=object)))
            return TopScan(
                encoded,
                self.pairs,
                self.top_k,
                ranks=ranks,
                min_probability=least,
                uncertainty=uncertainty,
            )
        return ThresholdScan(encoded, self.pairs, min_probability=least, uncertainty=uncertainty)


@dataclass(frozen=True, kw_only=True)
class PredictionCounts:
    """Counts of a finished prediction, and the duration of scoring.

    `pairs` is the total; `scored` are those of this process; `kept` are the rows of the table.
    """

    pairs: int
    scored: int
    kept: int
    seconds: float


def make_prediction(prediction: Prediction, encode: Callable[[], EncodedProteins]) -> PredictionCounts:
    """Scores the pairs and writes the table, and the network if requested.

    Args:
        prediction: Pairs and options.
        encode: Encodes the proteins; called only after the checks have passed.

    Raises:
        ConfigError: an output file exists and may not be replaced, unfinished parts of another prediction
            are in its folder, another process works on it, or `top_k` is too large for the memory.
        DataError: the network's format cannot have a protein's accession.
        CheckpointError: the model gives scores that are not finite.
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
    """A prediction in progress, and its parts."""

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
        """Scores the blocks of one part, and returns the next block's number."""
        for number in range(self._parts.done, len(self._pairs.blocks)):
            scan.score(number)
            progress.advance(self._pairs.pairs_in(number))
            if scan.held >= _PART_ROWS or time.perf_counter() >= ends:
                break
        return number + 1

    def _assemble(self, scan: Scan, *, uncertainty: bool) -> int:
        """Writes the table and the network, and returns the number of rows."""
        wanted, whole = self._wanted, self._parts.whole
        about = {**wanted.job, **wanted.about}
        with PredictionWriter(whole, wanted.proteins, about, uncertainty=uncertainty) as writer:
            for rows in scan.result(self._parts.columns()):
                writer.add(rows.columns)
        self._parts.about_to_replace([path for path in (wanted.output, wanted.edges) if path])
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
        """Upper limit of bytes still to be written, for parts and table."""
        return (2 * self._pairs.pairs - self._done_pairs) * _ROW_BYTES

    @property
    def kept(self) -> str:
        done, pairs = self._done_pairs, self._pairs.pairs
        return f"{done:,} of {pairs:,} pairs are scored, and kept next to the output"
