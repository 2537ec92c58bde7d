"""Restriction of several scored splits to their common pairs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from ppi_train.errors import DataError
from ppi_train.runs.lineage import ordered_pairs, unordered_pairs
from ppi_train.runs.scored_split import ScoredSplit

logger = logging.getLogger(__name__)


def on_common_pairs(several: Sequence[ScoredSplit]) -> list[ScoredSplit]:
    """Restricts scored splits to the pairs that all models could score.

    With `missing=drop` the scored pairs may differ, as the caches of the models may differ. All splits come
    from one table, so the remaining pairs of each have the same order.

    Raises:
        DataError: no pair is left.
    """
    if len({scored.table.digest for scored in several}) == 1:
        return list(several)
    common = set.intersection(*(unordered_pairs(scored.table) for scored in several))
    if not common:
        raise DataError(
            "no pair is left that all models can score",
            where=several[0].table.source,
            remedy="give a fasta with the sequences of all proteins, or compare fewer runs",
        )
    logger.warning("comparing on the %s pairs that all models can score", f"{len(common):,}")
    kept = [
        scored.where(np.array([pair in common for pair in ordered_pairs(scored.table)])) for scored in several
    ]
    assert len({scored.table.digest for scored in kept}) == 1, "one pair table with two sets of labels"
    return kept
