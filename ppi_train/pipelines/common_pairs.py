"""Several models on the pairs that all of them could score."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from ppi_train.errors import DataError
from ppi_train.pipelines.leakage import ordered_pairs, unordered_pairs
from ppi_train.pipelines.scored_split import ScoredSplit

logger = logging.getLogger(__name__)


def on_common_pairs(several: Sequence[ScoredSplit]) -> list[ScoredSplit]:
    """All on the pairs that all could score: with `missing=drop` their caches may differ.

    All come from one table, so that what is left of each has the same order.

    Raises:
        DataError: no pair is left.
    """
    if len({one.table.digest for one in several}) == 1:
        return list(several)
    common = set.intersection(*(unordered_pairs(one.table) for one in several))
    if not common:
        raise DataError(
            "no pair is left that all models can score",
            where=several[0].table.source,
            remedy="give a fasta with the sequences of all proteins, or compare fewer runs",
        )
    logger.warning("comparing on the %s pairs that all models can score", f"{len(common):,}")
    kept = [one.where(np.array([pair in common for pair in ordered_pairs(one.table)])) for one in several]
    assert len({one.table.digest for one in kept}) == 1, "one pair table with two sets of labels"
    return kept
