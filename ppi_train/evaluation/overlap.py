"""Audit of a test set: overlap with the training set, and baselines.

A model is worth what it adds to two ways of scoring without any biology: how many partners a protein has in
training, and the labels of the most similar training pairs. Bernett et al. 2024 show that much of the
published accuracy is of that kind.

Legend of shapes: t training pairs, m test pairs, p proteins of both, n similarities.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ppi_train.data.identity import digests_of
from ppi_train.data.pair_keys import among, distinct
from ppi_train.data.pairs import PairTable
from ppi_train.data.similarity import cached_similar, find_similar
from ppi_train.errors import DataError, counted, first_ten
from ppi_train.evaluation.baselines import Neighbours, degree_scores, nearest_scores
from ppi_train.evaluation.joint_pairs import JointPairs, common_numbers, joint_pairs, renumbered
from ppi_train.evaluation.pair_metrics import ranking_metrics
from ppi_train.io.files import write_file
from ppi_train.io.progress import Progress
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

IDENTITIES = (0.3, 0.4, 0.9)

_COUNTED = {
    "shared_pairs": "test pairs that are training pairs",
    "shared_proteins": "test proteins that are in training",
    "c1_pairs": "test pairs, both proteins in training (C1)",
    "c2_pairs": "test pairs, one protein in training (C2)",
    "c3_pairs": "test pairs, no protein in training (C3)",
}
_SHARES = {"similar_share": "test proteins similar to a training protein"} | {
    f"identity_above_{round(100 * identity)}_share": f"... of more than {identity:.0%} identity"
    for identity in IDENTITIES
}
_BASELINES = {"degree": "degree in training", "nearest": "nearest training pairs"}

METRIC_PREFIX = "audit"


def proteins_seen(pairs: JointPairs) -> npt.NDArray[np.int8]:
    """Counts the proteins of each test pair that occur in training.

    An array (m,) of 2, 1 or 0: how many of the two proteins occur in any training pair. These are the classes
    C1, C2 and C3 of Park and Marcotte 2012.
    """
    seen = np.zeros(pairs.proteins, np.int8)
    seen[pairs.train] = 1
    counts: npt.NDArray[np.int8] = seen[pairs.test].sum(axis=1, dtype=np.int8)
    return counts


def shared_pairs(pairs: JointPairs) -> npt.NDArray[np.bool_]:
    """Whether each test pair is also in training, with any label; (m,)."""
    weight = np.array([pairs.proteins, 1])
    return among(pairs.test @ weight, np.sort(pairs.train @ weight))


def overlap_measures(pairs: JointPairs) -> dict[str, float]:
    """Counts and shares of common pairs and proteins.

    Also the test pairs in the classes C1, C2 and C3.
    """
    tested, trained = distinct(pairs.test), distinct(pairs.train)
    common = np.intersect1d(tested, trained)
    seen = proteins_seen(pairs)
    counts = {
        "shared_pairs": (int(shared_pairs(pairs).sum()), len(seen)),
        "shared_proteins": (len(common), len(tested)),
        "c1_pairs": (int((seen == 2).sum()), len(seen)),
        "c2_pairs": (int((seen == 1).sum()), len(seen)),
        "c3_pairs": (int((seen == 0).sum()), len(seen)),
    }
    measures: dict[str, float] = {
        "train_pairs": len(pairs.train),
        "test_pairs": len(pairs.test),
        "train_proteins": len(trained),
        "test_proteins": len(tested),
        "test_positive_share": float(pairs.test_labels.mean()),
    }
    for name, (count, of) in counts.items():
        measures |= {name: count, f"{name}_share": count / of}
    return measures


def identity_measures(nearest: Floats) -> dict[str, float]:
    """Shares of test proteins with a training relative above each of `IDENTITIES`.

    Args:
        nearest: Identity of each test protein with its nearest training sequence; 0 where there is none.
    """
    measures = {
        f"identity_above_{round(100 * identity)}_share": float((nearest > identity).mean())
        for identity in IDENTITIES
    }
    return measures | {"similar_share": float((nearest > 0).mean())}


def audit_text(measures: Mapping[str, float], *, train: str, test: str) -> str:
    """Formats the measures of an audit as a text table."""
    lines = [f"{test} against {train}", f"  {'':44}{'count':>12}{'share':>9}"]
    for name, label in _COUNTED.items():
        lines.append(f"  {label:44}{measures[name]:>12,.0f}{measures[f'{name}_share']:>9.1%}")
    for name, label in _SHARES.items():
        if name in measures:
            lines.append(
                f"  {label:44}{measures[name] * measures['test_proteins']:>12,.0f}{measures[name]:>9.1%}"
            )
    lines.append(f"  {'scored by':44}{'AUROC':>12}{'AUPRC':>9}")
    for name, label in _BASELINES.items():
        if f"{name}_auroc" in measures:
            lines.append(f"  {label:44}{measures[f'{name}_auroc']:>12.4f}{measures[f'{name}_auprc']:>9.4f}")
    lines.append(f"  {'chance':44}{0.5:>12.4f}{measures['test_positive_share']:>9.4f}")
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Overlap of test and training set, and scores of trivial baselines.

    Attributes:
        measures: Single numbers by name; without the AUROC and AUPRC of the baselines where the test set has
            one class only.
        baselines: The scores of the trivial baselines, each (m,), in the order of the test pairs; a higher
            score means more likely to interact, and scores have no unit.
        seen: (m,) how many proteins of each test pair occur in training: 2, 1, 0 for C1, C2, C3.
        degrees: (m, 2) how many positive training pairs each protein of a test pair has.
    """

    measures: Mapping[str, float]
    baselines: Mapping[str, np.ndarray]
    seen: np.ndarray
    degrees: np.ndarray

    @property
    def metrics(self) -> dict[str, float]:
        """The measures as a run logs them."""
        return {f"{METRIC_PREFIX}/{name}": float(value) for name, value in self.measures.items()}


def audit_tables(
    train: PairTable,
    test: PairTable,
    sequences: Mapping[str, str] | None,
    *,
    known: Collection[Mapping[str, str]] = (),
    same_names: bool = False,
    data_dir: Path | None = None,
) -> Audit:
    """Audits a test set against a training set.

    A protein's identity is its sequence: two names of one sequence are one protein.

    Args:
        train: Labelled pairs.
        test: Labelled pairs; with one class only, AUROC and AUPRC are left out, with a warning.
        sequences: Of all proteins of both tables, by accession; None leaves out every similarity measure.
        known, same_names: See `common_numbers`.
        data_dir: Where the result of the similarity search is cached for later calls; None: no caching.

    Raises:
        DataError: a table has no labels, a sequence is missing, or the two cannot be compared.
    """
    started = time.perf_counter()
    if sequences is not None:
        for table in (train, test):
            sequences_of(table, sequences)
        known = [*known, digests_of(sequences)]
    number = common_numbers(train, test, known, same_names=same_names)
    pairs = joint_pairs(train, test, number)
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
    partners = np.bincount(pairs.train[pairs.train_labels == 1].ravel(), minlength=pairs.proteins)
    degrees = partners[renumbered(test, number)]
    return Audit(measures=measures, baselines=baselines, seen=proteins_seen(pairs), degrees=degrees)


def _neighbours(
    train: PairTable,
    test: PairTable,
    sequences: Mapping[str, str],
    number: Mapping[str, int],
    data_dir: Path | None,
) -> tuple[Neighbours, np.ndarray]:
    """Similar training proteins of each test protein, and the highest identity."""
    (of_test, queries), (of_train, targets) = (
        _distinct_proteins(table, sequences, number) for table in (test, train)
    )
    logger.info("looking for %s test proteins among %s of training", f"{len(queries):,}", f"{len(targets):,}")
    search = partial(cached_similar, data_dir=data_dir) if data_dir else find_similar
    with Progress(len(queries), unit="protein") as progress:
        found = search(queries, targets, advance=progress.advance)
    neighbours = Neighbours(
        query=of_test[found.query], target=of_train[found.target], identity=found.identity
    )
    return neighbours, found.nearest(len(queries))


def _distinct_proteins(
    table: PairTable, sequences: Mapping[str, str], number: Mapping[str, int]
) -> tuple[np.ndarray, list[str]]:
    """The distinct proteins of a table by number, (p,), and their sequences."""
    distinct: dict[int, str] = {}
    for protein in table.proteins:
        distinct.setdefault(number[protein], sequences[protein])
    return np.array(list(distinct), np.int64), list(distinct.values())


def sequences_of(table: PairTable, sequences: Mapping[str, str]) -> list[str]:
    """The sequences of a table's proteins, in their order.

    Raises:
        DataError: some are missing; the message has their number and the first ten.
    """
    missing = [protein for protein in table.proteins if protein not in sequences]
    if missing:
        raise DataError(
            f"no sequence for {counted(len(missing), 'protein')} of the pairs",
            where=table.source,
            got=first_ten(missing),
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
