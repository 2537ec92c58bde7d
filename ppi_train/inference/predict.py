"""Scoring of pairs into a table.

Blocks are scored into parts, which are assembled into one file that is then moved into place. The blocks and
their rows depend on the proteins and the options alone, so that an interrupted and continued prediction has
the same bytes as an uninterrupted one. The number of blocks in a part depends on the time they take; this has
no effect on the finished table.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ppi_train.errors import ConfigError
from ppi_train.inference.export import SEPARATORS, NodeTexts, check_names, write_edges, write_text
from ppi_train.inference.output import Annotations, PredictionWriter
from ppi_train.inference.output_parts import PredictionParts, held_prediction
from ppi_train.inference.pair_grid import PairGrid, PairList
from ppi_train.inference.scan import EncodedProteins, Scan, ScoredPairs, ThresholdScan, TopScan
from ppi_train.io.files import disk_space, free_bytes
from ppi_train.io.progress import Progress

logger = logging.getLogger(__name__)

# A killed process loses at most this much work, and the current block.
PART_SECONDS = 5.0
# Share of a scan's time that writing parts may take.
WRITING_SHARE = 0.1
# Rows in memory: 20 bytes each.
_PART_ROWS = 4 << 20
# Best partners of all proteins in memory: 160 MB, and a few times that when they are sorted at the end.
_MOST_PARTNERS = 20_000_000
# Bytes of a row: its scores, which do not compress; and as text, with two accessions.
_ROW_BYTES = 12
_TEXT_BYTES = 60
# The best pairs of a queried protein that are returned, and of how many proteins.
_SHOWN_PAIRS, _SHOWN_PROTEINS = 10, 5
# The highest scores that are returned.
_HIGHEST = 1000
# To be increased when the rows of a table change for the same inputs.
_VERSION = 4


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Pairs to score, and options of the output.

    Attributes:
        output: Path of the table; its suffix gives the format.
        edges: Path of the network; None for no network.
        overwrite: Whether existing files are replaced.
        proteins: Accessions by number.
        pairs: The pairs to score.
        queries: How many proteins, from the first on, have their partners ranked; None: the pairs are in no
            order of their scores, except with `top_k`.
        top_k: Partners kept of each protein, or of each query; None: all.
        min_probability: Pairs below this probability are not kept; None: all are.
        uncertainty: Whether to write the standard deviation of the logit, if the model has one.
        annotations: What is known of the proteins and pairs, for further columns.
        origin: Digests, by name, of everything else that the scores depend on.
        about: Further metadata of the table.
    """

    output: Path
    edges: Path | None = None
    overwrite: bool = False
    proteins: tuple[str, ...]
    pairs: PairGrid | PairList
    queries: int | None = None
    top_k: int | None = None
    min_probability: float | None = None
    uncertainty: bool = True
    annotations: Annotations = field(default_factory=Annotations)
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
            "queries": self.queries,
            "excluded": grid.excluded.digest if grid and grid.excluded else None,
            "min_probability": self.min_probability,
            "include_self": grid.include_self if grid else None,
            "uncertainty": self.uncertainty,
            "block": grid.side if grid else None,
        }

    @property
    def best_of_each(self) -> int | None:
        """Number of partners that are ranked of each protein or query; None: the pairs are not ranked."""
        if not isinstance(self.pairs, PairGrid):
            return None
        return self.top_k or (None if self.queries is None else len(self.proteins))

    @property
    def keeps_all(self) -> bool:
        return not self.min_probability and self.best_of_each is None

    def scan(self, encoded: EncodedProteins, *, uncertainty: bool) -> Scan:
        """The scan that scores the pairs and selects those to keep."""
        least, best = self.min_probability, self.best_of_each
        if best is not None and isinstance(self.pairs, PairGrid):
            # Two lists have their numbers list by list, and not in the order of accessions.
            ranks = np.argsort(np.argsort(np.array(self.proteins, dtype=object)))
            return TopScan(
                encoded,
                self.pairs,
                best,
                ranks=ranks,
                queries=self.queries,
                min_probability=least,
                uncertainty=uncertainty,
            )
        return ThresholdScan(encoded, self.pairs, min_probability=least, uncertainty=uncertainty)


@dataclass(frozen=True, kw_only=True)
class PredictionCounts:
    """Counts of a finished prediction, and the duration of scoring.

    Attributes:
        pairs: The pairs that were scored, of which `scored` by this process.
        kept: Rows of the table.
        marked: How many of the rows have each mark.
        best: The best partners of the first few queries, by the query's number: numbers of the partners, and
            the probabilities.
        highest: (h,) float32, the highest logits of the table, descending; a thousand at most.
        seconds: How long scoring took.
    """

    pairs: int
    scored: int
    kept: int
    marked: Mapping[str, int]
    best: Mapping[int, Sequence[tuple[int, float]]]
    highest: np.ndarray
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
        best = _BestPairs(min(wanted.queries or 0, _SHOWN_PROTEINS))
        writer = self._assemble(scan, best, uncertainty=uncertainty)
        return PredictionCounts(
            pairs=self._pairs.pairs,
            scored=self._pairs.pairs - started_with,
            kept=writer.rows,
            marked=writer.marked,
            best=best.found,
            highest=best.highest[::-1],
            seconds=seconds,
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

    def _assemble(self, scan: Scan, best: _BestPairs, *, uncertainty: bool) -> PredictionWriter:
        """Writes the table and the network."""
        wanted, whole = self._wanted, self._parts.whole
        with PredictionWriter(
            whole,
            wanted.proteins,
            {**wanted.job, **wanted.about},
            uncertainty=uncertainty,
            annotations=wanted.annotations,
            identities=self._identities(scan),
        ) as writer:
            for rows in scan.result(self._parts.columns()):
                writer.add(rows.columns)
                best.add(rows)
        table = self._in_format(whole)
        self._parts.about_to_replace([path for path in (wanted.output, wanted.edges) if path])
        if wanted.edges:
            genes, lengths = wanted.annotations.texts.get("gene", ()), wanted.annotations.lengths
            write_edges(
                wanted.edges, whole, NodeTexts(proteins=wanted.proteins, genes=genes, lengths=lengths)
            )
        table.replace(wanted.output)
        self._parts.discard()
        return writer

    def _identities(self, scan: Scan) -> np.ndarray | None:
        """The identity of each kept protein with its nearest training protein."""
        identity_of = self._wanted.annotations.identities
        if identity_of is None:
            return None
        found = np.full(len(self._wanted.proteins), np.nan, np.float32)
        # Of the kept pairs alone: the search takes longer than scoring.
        kept = scan.proteins(self._parts.columns())
        found[kept] = identity_of(kept)
        return found

    def _in_format(self, whole: Path) -> Path:
        """The table in the format of the output, next to the whole table."""
        suffix = self._wanted.output.suffix
        if suffix not in SEPARATORS:
            return whole
        text = whole.with_suffix(suffix)
        with text.open("wb") as sink:
            write_text(sink, whole, SEPARATORS[suffix])
        return text

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


class _BestPairs:
    """The first partners of each of the first few proteins, of pairs that come in order; and the best scores.

    Attributes:
        found: Numbers and probabilities of the partners, by number of the protein.
        highest: (h,) the highest logits, ascending.
    """

    def __init__(self, queries: int) -> None:
        self.found: dict[int, list[tuple[int, float]]] = {query: [] for query in range(queries)}
        self.highest = np.empty(0, np.float32)

    def add(self, rows: ScoredPairs) -> None:
        for query, best in self.found.items():
            first = np.flatnonzero((rows.a == query) | (rows.b == query))[: _SHOWN_PAIRS - len(best)]
            partners = np.where(rows.a == query, rows.b, rows.a)[first]
            best += zip(partners.tolist(), rows.probability[first].tolist(), strict=True)
        logits = np.concatenate([self.highest, rows.logit])
        if len(logits) > _HIGHEST:
            logits = np.partition(logits, -_HIGHEST)[-_HIGHEST:]
        self.highest = np.sort(logits)
