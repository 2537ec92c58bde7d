"""Training pairs of a run and its ancestors, and test pairs among them.

They are read back from the artifacts of these runs, and compared by the sequences of their proteins or by
name.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ppi_train.config.options import DatasetOptions
from ppi_train.config.places import file_here
from ppi_train.data.fasta import read_fasta
from ppi_train.data.identity import digest_of_proteins, digests_of, protein_numbers, read_proteins
from ppi_train.data.pairs import PairTable, pairs_from_ids, read_pairs
from ppi_train.errors import DataError, UserError
from ppi_train.evaluation.joint_pairs import common_numbers, joint_pairs
from ppi_train.evaluation.overlap import shared_pairs
from ppi_train.released import SEQUENCES
from ppi_train.runs.checkpoints import ResolvedCheckpoint
from ppi_train.runs.config import original_config
from ppi_train.runs.configs import PairTrainingConfig
from ppi_train.runs.datasets import DEFAULT_DATASET, prepare
from ppi_train.runs.lineage import lineage_of
from ppi_train.tracking.released_run import TAG as RELEASED
from ppi_train.tracking.runs import RunInfo, download_artifact, find_run

logger = logging.getLogger(__name__)

PROTEINS_TAG = "ppi.proteins_digest"
"""Of a training run: the digest of its proteins' accessions and sequence digests."""

Pairs = set[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """Test pairs that a model or its ancestors were trained on.

    Attributes:
        pairs: These pairs, under their names in the test set.
        problems: Why further ones cannot be ruled out.
    """

    pairs: tuple[tuple[str, str], ...]
    problems: tuple[UserError, ...]

    @property
    def count(self) -> int | None:
        """How many there are; None if nothing is known."""
        return None if self.problems and not self.pairs else len(self.pairs)

    @property
    def tag(self) -> str:
        """What the tag `ppi.leakage` says; empty if no test pair was trained on."""
        found = f"{len(self.pairs)} test pairs were trained on" if self.pairs else ""
        doubt = "not every training pair could be compared with the test pairs" if self.problems else ""
        return "; ".join(filter(None, (found, doubt)))


def pairs_trained_on(
    candidate: ResolvedCheckpoint, table: PairTable, digests: Mapping[str, str], data: DatasetOptions
) -> TrainedOn:
    """Finds test pairs in the training data of a model and its ancestors.

    Args:
        candidate: The model.
        table: The test pairs, labelled.
        digests: Sequence digests of their proteins, by accession.
        data: Gives the present folder of data sets, for runs that logged no sequence digests.
    """
    shared = np.zeros(len(table), bool)
    problems: list[UserError] = []
    for run_id in lineage_of(candidate):
        try:
            run = find_run(run_id)
            train = logged_pairs(run, "train")
            known = [digests, protein_digests(run, data)]
        except UserError as error:
            problems.append(
                DataError(
                    "the training pairs cannot be read, so leakage cannot be ruled out",
                    where=f"run {run_id}",
                    got=error.what,
                    remedy="restore the run, or give allow_leakage=true",
                )
            )
            continue
        try:
            shared |= shared_pairs(joint_pairs(train, table, common_numbers(train, table, known)))
        except DataError as error:
            problems.append(error.at(f"run {run_id}"))
    for problem in problems:
        logger.warning("%s: %s: %s", problem.what, problem.where, problem.got)
    return TrainedOn(pairs=tuple(ordered_pairs(table.select(shared))), problems=tuple(problems))


def refuse_leakage(found: TrainedOn, table: PairTable, *, allowed: bool) -> None:
    """Refuses a model that may have been trained on test pairs.

    Raises:
        DataError: there are such pairs, or a run's training pairs cannot be read or compared, and this is
            not `allowed`.
    """
    if found.problems and not allowed:
        raise found.problems[0]
    if not found.pairs:
        return
    count = f"{len(found.pairs):,} of {len(table):,} test pairs are among the training pairs"
    if not allowed:
        raise DataError(
            f"{count} of the candidate",
            where=table.source,
            got=", ".join("-".join(pair) for pair in sorted(found.pairs)[:5]),
            expected="test pairs that neither the run nor its ancestors were trained on, under any name",
            remedy="test on other pairs; or give allow_leakage=true, which tags the version",
        )
    logger.warning("%s: allowed, and recorded in a tag", count)


def logged_pairs(run: RunInfo, split: str) -> PairTable:
    """The pairs of a split that a training run logged.

    Args:
        run: The training run.
        split: `train` or `validation`.

    Raises:
        TrackingError: the run has no such file, or the server does not answer.
        DataError: their digest differs from the one that the run recorded.
    """
    with tempfile.TemporaryDirectory() as folder:
        table = read_pairs(download_artifact(run, f"pairs/{split}.parquet", Path(folder)))
    logged = [digest for name, digest in run.datasets.items() if name.rpartition("/")[2] == split]
    if logged and table.digest[:36] not in logged:
        # Otherwise anyone with write access to the artifacts could hide that a test pair was trained on.
        raise DataError(
            f"the {split} pairs among the run's artifacts are not those that it read",
            where=f"pairs/{split}.parquet of {run}",
            got=f"digest {table.digest[:36]}",
            expected=f"digest {logged[0]}",
            remedy="find out who replaced them",
        )
    return table


def calibration_prevalence(run: RunInfo) -> float | None:
    """The share of interacting pairs in the validation set, on which probabilities were calibrated.

    None, with a warning, if the pairs cannot be read or are of one class.
    """
    try:
        validation = logged_pairs(run, "validation")
    except UserError as error:
        logger.warning("the validation pairs of run %s cannot be read: %s", run.run_id, error.what)
        return None
    share = validation.positives / len(validation)
    if 0 < share < 1:
        return share
    logger.warning("the validation pairs of run %s have one class only", run.run_id)
    return None


def protein_digests(run: RunInfo, data: DatasetOptions) -> dict[str, str]:
    """Sequence digests of the proteins that a run was trained on, by accession.

    Runs of earlier versions did not log them: they come from the FASTA or the data set that such a run names,
    if it is still there; otherwise the result is empty, with a warning.

    Raises:
        TrackingError: the server does not answer, or lacks a file that the run has logged.
        DataError: the logged proteins are not those that the run recorded.
    """
    recorded = run.tags.get(PROTEINS_TAG)
    if recorded is None:
        try:
            return digests_of(_sequences_of(run, data))
        except UserError as error:
            logger.warning("the training sequences of run %s cannot be read: %s", run.run_id, error.what)
            return {}
    with tempfile.TemporaryDirectory() as folder:
        digests = read_proteins(download_artifact(run, "pairs/proteins.parquet", Path(folder)))
    found = digest_of_proteins(digests)
    if found != recorded:
        raise DataError(
            "the proteins among the run's artifacts are not those that it read",
            where=f"pairs/proteins.parquet of {run}",
            got=f"digest {found}",
            expected=f"digest {recorded}",
            remedy="find out who replaced them",
        )
    return digests


def _trained_config(run: RunInfo) -> PairTrainingConfig:
    trained = original_config(run)
    assert isinstance(trained, PairTrainingConfig)
    return trained


def unordered_pairs(table: PairTable) -> Pairs:
    """The distinct pairs of a table."""
    return set(ordered_pairs(table))


def ordered_pairs(table: PairTable) -> list[tuple[str, str]]:
    """Sorted accessions of each pair, in the order of the table."""
    names = table.proteins
    return [(min(names[a], names[b]), max(names[a], names[b])) for a, b in table.index.tolist()]


@dataclass(frozen=True, kw_only=True)
class TrainingLineage:
    """The training data of a run and its ancestors.

    Attributes:
        table: All training pairs, with the label that was used last.
        sequences: Sequences of the proteins, by accession, as far as they could be found.
        digests: Sequence digests by accession, of each run.
        runs: The runs whose pairs could be read, oldest first.
        notes: What could not be read, and why.
    """

    table: PairTable
    sequences: dict[str, str]
    digests: tuple[Mapping[str, str], ...]
    runs: tuple[RunInfo, ...]
    notes: tuple[str, ...]


def training_lineage(
    resolved: ResolvedCheckpoint, data: DatasetOptions, *, with_sequences: bool
) -> TrainingLineage | None:
    """Reads the available training data of a run and its ancestors.

    Returns None if the training pairs of none of these runs can be read.

    Args:
        resolved: The run.
        data: Gives the present folder of data sets.
        with_sequences: Whether sequences are read too.
    """
    tables, digests, runs, notes = [], [], [], []
    for run_id in lineage_of(resolved):
        try:
            run = find_run(run_id)
            table, known = logged_pairs(run, "train"), protein_digests(run, data)
        except UserError as error:
            notes.append(f"the training pairs of run {run_id} cannot be read: {error.what}")
            continue
        tables.append(table)
        digests.append(known)
        runs.append(run)
    sequences, missing = training_sequences(runs, data) if with_sequences else ({}, [])
    notes += missing
    for note in notes:
        logger.warning("%s", note)
    if not tables:
        return None
    source = f"training pairs of run {resolved.run.run_id}"
    if len(tables) > 1:
        source += f" and {len(tables) - 1} before it"
    return TrainingLineage(
        table=joined(tables, digests, source),
        sequences=sequences,
        digests=tuple(digests),
        runs=tuple(runs),
        notes=tuple(notes),
    )


def training_sequences(runs: Sequence[RunInfo], data: DatasetOptions) -> tuple[dict[str, str], list[str]]:
    """Reads the sequences that runs were trained on, as far as they can be found.

    Args:
        runs: Training runs of pair models.
        data: Gives the present folder of data sets.

    Returns:
        The sequences by accession, and what could not be read.
    """
    sequences: dict[str, str] = {}
    notes = []
    for run in runs:
        try:
            sequences |= _sequences_of(run, data)
        except UserError as error:
            notes.append(f"the training sequences of run {run.run_id} cannot be read: {error.what}")
    return sequences, notes


def joined(tables: Sequence[PairTable], digests: Collection[Mapping[str, str]], source: str) -> PairTable:
    """Joins labelled tables into one.

    A pair in several tables, under any names of its sequences, gets the names and the label of the last one.

    Args:
        tables: Labelled.
        digests: Sequence digests by accession, of each source of the tables.
        source: Names the result.
    """
    if len(tables) == 1:
        return replace(tables[0], source=source)
    number = protein_numbers((name for table in tables for name in table.proteins), digests)
    labelled: dict[frozenset[int], tuple[str, str, int]] = {}
    for table in tables:
        for pair, label in zip(ordered_pairs(table), table.required_labels.tolist(), strict=True):
            labelled[frozenset(number[name] for name in pair)] = (*pair, label)
    a, b, labels = zip(*labelled.values(), strict=True)
    return pairs_from_ids(a, b, np.array(labels), source)


def _sequences_of(run: RunInfo, data: DatasetOptions) -> dict[str, str]:
    """The sequences that a run was trained on.

    Those of a released model are among its artifacts. Empty if the run was given its own pairs with
    embeddings, but no FASTA.
    """
    if RELEASED in run.tags:
        with tempfile.TemporaryDirectory() as folder:
            return dict(read_fasta(download_artifact(run, f"pairs/{SEQUENCES}", Path(folder))).sequences)
    trained = _trained_config(run)
    if trained.cache.fasta:
        return dict(read_fasta(file_here(trained.cache.fasta)).sequences)
    if trained.pairs.train_pairs:
        return {}
    wanted = replace(data, dataset=trained.data.dataset or DEFAULT_DATASET, data_seed=trained.data.data_seed)
    return dict(read_fasta(prepare(wanted, ("train",)).splits["train"].fasta).sequences)
