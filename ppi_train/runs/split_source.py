"""Choice of the pairs that an evaluation scores.

They are the pairs that the user names, or else a split that belongs to the run's training data.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from ppi_train.config.options import DatasetOptions
from ppi_train.config.schema import FinetuneConfig, ScoringConfig, TrainConfig
from ppi_train.data.benchmarks.download import NotInMirrorError
from ppi_train.data.benchmarks.prepare import Split
from ppi_train.errors import ConfigError
from ppi_train.runs.datasets import DEFAULT_DATASET, prepare
from ppi_train.runs.inputs import SplitFiles

logger = logging.getLogger(__name__)

Trained = TrainConfig | FinetuneConfig


@dataclass(frozen=True, kw_only=True)
class EvaluatedSplit:
    """The split that an evaluation scores.

    Attributes:
        split: `train`, `validation` or `test`.
        name: Name of the data set, or of the user's table.
        files: The pairs, and the FASTA if the embeddings are made from it.
        sequences: The FASTA of the proteins if there is one, even if embeddings are given instead.
    """

    split: str
    name: str
    files: SplitFiles
    sequences: Path | None


def evaluated_split(config: ScoringConfig, trained: Trained, run_id: str) -> EvaluatedSplit:
    """Selects the split that an evaluation scores.

    It is the split that the config names, or else follows from the data that run `run_id` was trained on.

    Raises:
        ConfigError: no pairs are named, and the user's own tables of the run have no test set.
        DataError: the data set is not available.
    """
    fasta = Path(config.fasta) if config.fasta else None
    sequences = fasta or (Path(trained.fasta) if trained.fasta else None)
    own_fasta = fasta if config.embeddings else sequences
    if config.test_pairs:
        path = Path(config.test_pairs)
        files = SplitFiles(pairs=path, fasta=own_fasta)
        return EvaluatedSplit(split="test", name=path.stem, files=files, sequences=sequences)
    if trained.train_pairs and not config.dataset:
        return replace(_own_split(config, trained, own_fasta, run_id), sequences=sequences)
    return _dataset_split(config, trained, fasta)


def _own_split(config: ScoringConfig, trained: Trained, fasta: Path | None, run_id: str) -> EvaluatedSplit:
    """A split of the user's tables that the run was trained on."""
    own = {"train": trained.train_pairs, "validation": trained.val_pairs}
    split = "validation" if config.split == "auto" else config.split
    pairs = own.get(split)
    if pairs is None:
        raise ConfigError(
            "the run was trained on tables of your own, which have no test set",
            where=f"run {run_id}",
            remedy="give test_pairs, or split=validation",
        )
    if config.split == "auto":
        logger.warning("no test_pairs given: scoring the run's validation pairs %s", pairs)
    files = SplitFiles(pairs=Path(pairs), fasta=fasta)
    return EvaluatedSplit(split=split, name=files.pairs.stem, files=files, sequences=fasta)


def _dataset_split(config: ScoringConfig, trained: Trained, fasta: Path | None) -> EvaluatedSplit:
    """A split of the named data set, or of the run's own."""
    name = config.dataset or trained.dataset or DEFAULT_DATASET
    wanted = replace(config, dataset=name, data_seed=config.data_seed or trained.data_seed)
    found = available_split(wanted, config.split)
    files = SplitFiles(pairs=found.pairs, fasta=None if config.embeddings else fasta or found.fasta)
    return EvaluatedSplit(split=found.name, name=name, files=files, sequences=fasta or found.fasta)


def available_split(config: DatasetOptions, split: str) -> Split:
    """Prepares a split of a data set.

    `auto` is the test split, or else, with a warning, the validation split if the mirror has no test files.
    """
    wanted = "test" if split == "auto" else split
    try:
        return prepare(config, (wanted,)).splits[wanted]
    except NotInMirrorError as error:
        if split != "auto":
            raise
        logger.warning(
            "the mirror does not hold the test files of %s (%s): scoring VALIDATION instead",
            config.dataset,
            error.what,
        )
        return prepare(config, ("validation",)).splits["validation"]
