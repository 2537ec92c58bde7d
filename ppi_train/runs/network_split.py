"""A network divided among train, validation and test, as options say."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ppi_train.data.pairs import PairTable
from ppi_train.data.similarity import similarity_clusters
from ppi_train.data.splits import DrawnSplit, SplitHelp, SplitPlan, draw_split
from ppi_train.evaluation.overlap import sequences_of
from ppi_train.io.progress import Progress

logger = logging.getLogger(__name__)

FEW_EDGES = 200
"""Fewer edges on a side are warned of: the 95% interval of an AUROC is then wider than some 0.1."""


def divide_network(
    edges: PairTable,
    plan: SplitPlan,
    known_of: SplitHelp,
    *,
    sequences: Mapping[str, str] | None,
    max_identity: float,
) -> DrawnSplit:
    """Divides a network, by clusters of similar sequences where the plan says so.

    Args:
        edges: The positive pairs.
        plan: How they are divided.
        known_of: What else is known of them, without clusters.
        sequences: By accession; None if there are none.
        max_identity: For clusters.

    Raises:
        DataError: the network cannot be divided like that, or a sequence is missing.
    """
    # Looked up for every method, as audits of the result need all of them.
    found = sequences_of(edges, sequences) if sequences is not None else None
    if plan.method != "clustered":
        return draw_split(edges, plan, known_of)
    assert found is not None  # the schema requires a FASTA
    return draw_split(edges, plan, replace(known_of, clusters=_clusters(found, max_identity)))


def _clusters(sequences: Sequence[str], max_identity: float) -> np.ndarray:
    logger.info("clustering %s proteins", f"{len(sequences):,}")
    with Progress(len(sequences), unit="protein") as progress:
        clusters = similarity_clusters(sequences, max_identity, advance=progress.advance)
    sizes = np.bincount(clusters)
    logger.info("%s clusters, the largest of %s proteins", f"{len(sizes):,}", f"{sizes.max():,}")
    return clusters


def small_sides(split: DrawnSplit, plan: SplitPlan, edges: int) -> list[str]:
    """Warnings of sides with few edges, on which metrics are uncertain.

    Args:
        split: The result.
        plan: How it was made.
        edges: How many edges there were.
    """
    shares = {
        "validation": ("val_fraction", plan.val_fraction),
        "test": ("test_fraction", plan.test_fraction),
    }
    instead = ", or take the method random, which drops none" if split.dropped else ""
    lines = []
    for side, (name, fraction) in shares.items():
        positives = split.tables[side].positives
        if positives < FEW_EDGES:
            lines.append(
                f"{side} has only {positives:,} of the {edges:,} edges (split by {plan.method}, "
                f"{name}={fraction:g}; {split.dropped:,} dropped between sides): metrics on so few are "
                f"uncertain; give a larger {name}{instead}"
            )
    return lines
