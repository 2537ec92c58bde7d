"""Writes the table and the network of the pairs that a scan keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppi_train.inference.export import SEPARATORS, NodeTexts, write_edges, write_text
from ppi_train.inference.output import PredictionWriter
from ppi_train.inference.output_folder import FolderWriter, put_in_place
from ppi_train.inference.output_parts import PredictionParts
from ppi_train.inference.prediction import Prediction
from ppi_train.inference.scan import KeptPairs, ScoredPairs

# The best pairs of a queried protein that are returned, and of how many proteins.
_SHOWN_PAIRS, _SHOWN_PROTEINS = 10, 5
# The highest scores that are returned.
_HIGHEST = 1000


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """Counts of a written table; see `PredictionCounts`."""

    rows: int
    marked: Mapping[str, int]
    best: Mapping[int, Sequence[tuple[int, float]]]
    highest: np.ndarray


def assemble(wanted: Prediction, kept: KeptPairs, parts: PredictionParts, *, uncertainty: bool) -> Assembled:
    """Writes the table and the network, moves them into place and removes the parts.

    Args:
        wanted: The prediction.
        kept: Its pairs.
        parts: All parts of it.
        uncertainty: Whether the pairs have one.
    """
    identities = _identities(wanted, kept)

    def writer(path: Path) -> PredictionWriter:
        return PredictionWriter(
            path,
            wanted.proteins,
            about,
            uncertainty=uncertainty,
            annotations=wanted.annotations,
            identities=identities,
        )

    about, whole = {**wanted.job, **wanted.about}, parts.new_whole()
    best = _BestPairs(min(wanted.queries or 0, _SHOWN_PROTEINS))
    with FolderWriter(whole, about, writer) if wanted.folder else writer(whole) as table:
        for rows in kept.rows():
            table.add(rows.columns)
            best.add(rows)
    finished = _in_format(whole, wanted.output)
    parts.about_to_replace([path for path in (wanted.output, wanted.edges) if path])
    if wanted.edges:
        genes, lengths = wanted.annotations.texts.get("gene", ()), wanted.annotations.lengths
        write_edges(wanted.edges, whole, NodeTexts(proteins=wanted.proteins, genes=genes, lengths=lengths))
    put_in_place(finished, wanted.output)
    parts.discard()
    return Assembled(rows=table.rows, marked=table.marked, best=best.found, highest=best.highest[::-1])


def _identities(wanted: Prediction, kept: KeptPairs) -> np.ndarray | None:
    """The identity of each kept protein with its nearest training protein."""
    identity_of = wanted.annotations.identities
    if identity_of is None:
        return None
    found = np.full(len(wanted.proteins), np.nan, np.float32)
    # Of the kept pairs alone: the search takes longer than scoring.
    proteins = kept.proteins()
    found[proteins] = identity_of(proteins)
    return found


def _in_format(whole: Path, output: Path) -> Path:
    """The table in the format of the output, next to the whole table."""
    if whole.is_dir() or output.suffix not in SEPARATORS:
        return whole
    text = whole.with_suffix(output.suffix)
    with text.open("wb") as sink:
        write_text(sink, whole, SEPARATORS[output.suffix])
    return text


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
