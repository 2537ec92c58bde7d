"""Audits a test set against a training set."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ppi_train.data.pairs import PairTable
from ppi_train.data.similarity.search import cached_similar, find_similar
from ppi_train.errors import DataError
from ppi_train.evaluation.overlap import (
    JointPairs,
    Neighbours,
    audit_text,
    degree_scores,
    identity_measures,
    nearest_scores,
    overlap_measures,
    proteins_seen,
)
from ppi_train.evaluation.pair_metrics import ranking_metrics
from ppi_train.io.files import write_file
from ppi_train.io.progress import Progress
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)
METRIC_PREFIX = "audit"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Overlap of test and training set, and scores of trivial baselines.

    Attributes:
        measures: Single numbers by name; without the AUROC and AUPRC of the baselines where the test set has
            one class only.
        baselines: The scores of the trivial baselines, each (m,), in the order of the test pairs; a higher
            score means more likely to interact, and scores have no unit.
        seen: (m,) how many proteins of each test pair occur in training: 2, 1, 0 for C1, C2, C3.
    """

    measures: Mapping[str, float]
    baselines: Mapping[str, np.ndarray]
    seen: np.ndarray

    @property
    def metrics(self) -> dict[str, float]:
        """The measures as a run logs them."""
        return {f"{METRIC_PREFIX}/{name}": float(value) for name, value in self.measures.items()}


def audit_tables(
    train: PairTable,
    test: PairTable,
    sequences: Mapping[str, str] | None,
    *,
    data_dir: Path | None = None,
) -> Audit:
    """Audits a test set against a training set.

    Args:
        train: Labelled pairs.
        test: Labelled pairs; with one class only, AUROC and AUPRC are left out, with a warning.
        sequences: Of all proteins of both tables, by accession; None leaves out every similarity measure.
        data_dir: Where the result of the similarity search is cached for later calls; None: no caching.

    Raises:
        DataError: a table has no labels, or a sequence is missing.
    """
    started = time.perf_counter()
    proteins = sorted({*train.proteins, *test.proteins})
    number = {protein: position for position, protein in enumerate(proteins)}
    pairs = JointPairs(
        proteins=len(proteins),
        train=_renumbered(train, number),
        train_labels=_labels(train),
        test=_renumbered(test, number),
        test_labels=_labels(test),
    )
    measures = overlap_measures(pairs)
    baselines = {"degree": degree_scores(pairs)}
    if sequences is not None:
        neighbours, nearest = _neighbours(train, test, sequences, number, data_dir)
        measures |= identity_measures(nearest)
        baselines["nearest"] = nearest_scores(pairs, neighbours)
    if test.positives in (0, len(test)):
        logger.warning("%s has one class only: AUROC and AUPRC of the baselines are left out", test.source)
    for name, scores in baselines.items() if 0 < test.positives < len(test) else ():
        found = ranking_metrics(scores, pairs.test_labels)
        measures |= {f"{name}_{metric}": value for metric, value in found.items()}
    measures["seconds"] = time.perf_counter() - started
    return Audit(measures=measures, baselines=baselines, seen=proteins_seen(pairs))


def _renumbered(table: PairTable, number: Mapping[str, int]) -> np.ndarray:
    # Both vocabularies are sorted, so the rows stay in ascending order.
    numbers = np.array([number[protein] for protein in table.proteins], np.int64)
    renumbered: np.ndarray = numbers[table.index]
    return renumbered


def _labels(table: PairTable) -> np.ndarray:
    if table.labels is None:
        raise DataError("the pairs have no labels", where=table.source, expected="a column `label`")
    return table.labels


def _neighbours(
    train: PairTable,
    test: PairTable,
    sequences: Mapping[str, str],
    number: Mapping[str, int],
    data_dir: Path | None,
) -> tuple[Neighbours, np.ndarray]:
    """Similar training proteins of each test protein, and the highest identity."""
    queries, targets = (sequences_of(table, sequences) for table in (test, train))
    logger.info("looking for %s test proteins among %s of training", f"{len(queries):,}", f"{len(targets):,}")
    search = partial(cached_similar, data_dir=data_dir) if data_dir else find_similar
    with Progress(len(queries), unit="protein") as progress:
        found = search(queries, targets, advance=progress.advance)
    of_test, of_train = (np.array([number[protein] for protein in table.proteins]) for table in (test, train))
    neighbours = Neighbours(
        query=of_test[found.query], target=of_train[found.target], identity=found.identity
    )
    return neighbours, found.nearest(len(queries))


def sequences_of(table: PairTable, sequences: Mapping[str, str]) -> list[str]:
    """The sequences of a table's proteins, in their order.

    Raises:
        DataError: some are missing; the message has their number and the first ten.
    """
    missing = [protein for protein in table.proteins if protein not in sequences]
    if missing:
        raise DataError(
            f"{len(missing):,} proteins of the pairs have no sequence",
            where=table.source,
            got=", ".join(missing[:10]) + (", ..." if len(missing) > 10 else ""),
            expected="a sequence for every protein",
            remedy="add them to the FASTA, or leave their pairs out",
        )
    return [sequences[protein] for protein in table.proteins]


def log_audit(audit: Audit, tracked: TrackedRun, folder: Path, *, train: str, test: str) -> Path:
    """Writes `audit.json`, uploads it, logs the metrics and prints the table."""
    path = folder / "audit.json"
    content = {"train": train, "test": test, "measures": audit.measures}
    write_file(path, (json.dumps(content, indent=2) + "\n").encode())
    tracked.log_file(path)
    tracked.log_metrics(audit.metrics)
    logger.info("audit of %s", audit_text(audit.measures, train=train, test=test))
    return path
