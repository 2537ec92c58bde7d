"""Training and validation sequences of the protein language model."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ppi_train.config.schema import TrainEmbedderConfig
from ppi_train.data.benchmarks.download import NotInMirrorError
from ppi_train.data.fasta import read_fasta, refuse_nucleotides
from ppi_train.data.pairs import read_pairs
from ppi_train.errors import DataError
from ppi_train.runs.datasets import DEFAULT_DATASET, prepare

logger = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.02
"""Fraction of the sequences used for validation perplexity; at least one sequence."""
FEWEST = 10


@dataclass(frozen=True, kw_only=True)
class LanguageText:
    """Distinct sequences in a fixed order.

    Attributes:
        name: Name of the data set or of the FASTA.
        train, held_out: Sequences to learn from and to measure perplexity on, by accession.
        excluded: How many sequences were left out because they are reserved for evaluation.
    """

    name: str
    train: Mapping[str, str]
    held_out: Mapping[str, str]
    excluded: int

    @property
    def digest(self) -> str:
        """sha256 over the sequences of both sets."""
        hasher = hashlib.sha256()
        for part in (self.train, self.held_out):
            hasher.update(("\n".join(part.values()) + "\n\n").encode())
        return hasher.hexdigest()


def language_text(config: TrainEmbedderConfig) -> LanguageText:
    """Reads or fetches the sequences, without those reserved for evaluation.

    Raises:
        DataError: a file is absent or wrong, it holds DNA, or too few sequences are left.
    """
    if config.fasta:
        table = read_fasta(config.fasta)
        refuse_nucleotides(table)
        name, sequences = Path(config.fasta).stem, dict(table.sequences)
        hidden: set[str] = set()
    else:
        name, sequences, hidden = _of_dataset(config)
    if config.exclude_fasta:
        hidden |= set(read_fasta(config.exclude_fasta).sequences.values())
    if config.exclude_pairs:
        proteins = read_pairs(config.exclude_pairs, require_labels=False).proteins
        hidden |= {sequences[protein] for protein in proteins if protein in sequences}
    accession_of = {sequence: accession for accession, sequence in sorted(sequences.items(), reverse=True)}
    # Sorted by digest, so that a sequence stays held out when other sequences are added or removed.
    kept = sorted(set(accession_of) - hidden, key=lambda sequence: hashlib.sha256(sequence.encode()).digest())
    excluded = len(set(accession_of) & hidden)
    if len(kept) < FEWEST:
        raise DataError(
            "there are too few sequences to learn a language model from",
            where=config.fasta or name,
            got=f"{len(kept)} distinct sequences" + (f", {excluded} left out" if excluded else ""),
            expected=f"at least {FEWEST}; some thousand for embeddings that are worth using",
            remedy="give the FASTA of a proteome",
        )
    logger.info(
        "%s: %s sequences to learn from, %s left out as test proteins or by exclude_fasta",
        name, f"{len(kept):,}", f"{excluded:,}",
    )  # fmt: skip
    count = max(1, round(HELD_OUT_SHARE * len(kept)))
    held_out, train = (
        {accession_of[sequence]: sequence for sequence in part} for part in (kept[:count], kept[count:])
    )
    return LanguageText(name=name, train=train, held_out=held_out, excluded=excluded)


def _of_dataset(config: TrainEmbedderConfig) -> tuple[str, dict[str, str], set[str]]:
    """Data set name, training and validation sequences, and test sequences."""
    config = replace(config, dataset=config.dataset or DEFAULT_DATASET)
    dataset = prepare(config, ("train", "validation"))
    sequences: dict[str, str] = {}
    for fasta in dict.fromkeys(split.fasta for split in dataset.splits.values()):
        sequences |= read_fasta(fasta).sequences
    return dataset.name, sequences, _test_sequences(config, sequences)


def _test_sequences(config: TrainEmbedderConfig, sequences: Mapping[str, str]) -> set[str]:
    try:
        test = prepare(config, ("test",)).splits["test"]
    except NotInMirrorError as error:
        logger.warning(
            "the mirror has no test files of %s (%s): the model learns only from the proteins of the "
            "training and validation files, and no test protein can be left out",
            config.dataset, error.what,
        )  # fmt: skip
        return set()
    found = {**sequences, **read_fasta(test.fasta).sequences}
    return {found[protein] for protein in read_pairs(test.pairs).proteins if protein in found}
