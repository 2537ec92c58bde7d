"""The sequences that a language model learns from, and what later runs can say of them.

A protein is its sequence here: what is left out is left out of all files, whatever it is called in them.
"""

from __future__ import annotations

import hashlib
import logging
import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path

from ppi_train.config.options import RELEASED_PREFIX, DatasetOptions
from ppi_train.data.benchmarks import NotInMirrorError
from ppi_train.data.fasta import read_fasta, refuse_nucleotides, sequence_digest
from ppi_train.data.pairs import read_pairs
from ppi_train.data.vocabulary import fitting_rule, three_of
from ppi_train.embeddings.options import ExcludeOptions
from ppi_train.errors import DataError, UserError, addressed
from ppi_train.runs.configs import TrainEmbedderConfig
from ppi_train.runs.datasets import DEFAULT_DATASET, prepare
from ppi_train.runs.labels import data_label
from ppi_train.tracking.runs import download_artifact, find_run

logger = logging.getLogger(__name__)

HELD_OUT_SHARE = 0.02
"""Fraction of the sequences used for validation perplexity; at least one sequence."""
FEWEST = 10

_PARTS = ("train", "held_out")
_NOT_IN_A_NAME = re.compile(r"[^\w.+-]+", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class FurtherText:
    """A file of `text_fasta`, and what the text has from it.

    Attributes:
        name: Name of the file without its endings.
        source: Its path.
        digest: sha256 of its accessions and sequences.
        sequences: How many distinct sequences it has.
        added: How many of them are in the text, and in no file before it.
        added_residues: The residues of those.
    """

    name: str
    source: str
    digest: str
    sequences: int
    added: int
    added_residues: int


@dataclass(frozen=True, kw_only=True)
class LanguageText:
    """Distinct sequences in a fixed order.

    Attributes:
        name: Name of the data set or of the FASTA.
        train, held_out: Sequences to learn from and to measure perplexity on, by accession.
        excluded: How many sequences were left out because they are reserved for evaluation.
        further: The files of `text_fasta`.
    """

    name: str
    train: Mapping[str, str]
    held_out: Mapping[str, str]
    excluded: int
    further: tuple[FurtherText, ...] = ()

    @property
    def digest(self) -> str:
        """sha256 over the sequences of both sets."""
        return _digest_of([self.train, self.held_out])

    @property
    def further_by_key(self) -> dict[str, FurtherText]:
        """The files of `text_fasta` by unique names, since two files may be called alike."""
        return {f"text_fasta_{number}": file for number, file in enumerate(self.further, start=1)}

    @property
    def digests(self) -> dict[str, str]:
        """The digests of the text and of each file of `text_fasta`."""
        of_files = {key: file.digest for key, file in self.further_by_key.items()}
        return {"sequences": self.digest, **of_files}

    @property
    def further_counts(self) -> dict[str, int]:
        """Metrics of what `text_fasta` has added; empty without such files."""
        if not self.further:
            return {}
        return {
            "data/text_fasta_sequences": sum(file.added for file in self.further),
            "data/text_fasta_residues": sum(file.added_residues for file in self.further),
        }


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The sequences of one place, by accession; a file has a path and a digest."""

    name: str
    sequences: Mapping[str, str]
    path: str = ""
    digest: str = ""


def language_text(config: TrainEmbedderConfig) -> LanguageText:
    """Reads or fetches the sequences, without those reserved for evaluation.

    Raises:
        DataError: a file is absent or wrong, it holds DNA, or too few sequences are left.
    """
    # A file that is given twice is read once.
    further = [_of_file(path) for path in dict.fromkeys(config.further.text_fasta or ())]
    if config.text.fasta:
        first = replace(_of_file(config.text.fasta), name=Path(config.text.fasta).stem)
        hidden: set[str] = set()
    else:
        first, hidden = _of_dataset(config.data, further=bool(further))
    sources = [first, *further]
    where = config.text.fasta or first.name
    if config.exclude.exclude_fasta:
        hidden |= set(read_fasta(config.exclude.exclude_fasta).sequences.values())
    if config.exclude.exclude_pairs:
        hidden |= _sequences_of_pairs(config.exclude, sources, where)
    accession_of = _accessions(sources)
    # Sorted by digest, so that a sequence stays held out when other sequences are added or removed.
    kept = sorted(accession_of.keys() - hidden, key=lambda text: hashlib.sha256(text.encode()).digest())
    excluded = len(accession_of.keys() & hidden)
    if len(kept) < FEWEST:
        raise DataError(
            "there are too few sequences to learn a language model from",
            where=where,
            got=f"{len(kept)} distinct sequences" + (f", {excluded} left out" if excluded else ""),
            expected=f"at least {FEWEST}; some thousand for embeddings that are worth using",
            remedy="give the FASTA of a proteome",
        )
    logger.info(
        "%s: %s sequences to learn from, %s left out as test proteins or by exclude_fasta and exclude_pairs",
        first.name, f"{len(kept):,}", f"{excluded:,}",
    )  # fmt: skip
    count = max(1, round(HELD_OUT_SHARE * len(kept)))
    held_out, train = (
        {accession_of[sequence]: sequence for sequence in part} for part in (kept[:count], kept[count:])
    )
    return LanguageText(
        name=first.name,
        train=train,
        held_out=held_out,
        excluded=excluded,
        further=_additions(first, further, set(kept)),
    )


def _of_file(path: str) -> _Source:
    """The sequences of a FASTA.

    Raises:
        DataError: the file is absent or wrong, or holds DNA.
    """
    table = read_fasta(path)
    refuse_nucleotides(table)
    name = Path(data_label(path)).stem
    return _Source(name=name, sequences=table.sequences, path=path, digest=table.digest)


def _accessions(sources: Sequence[_Source]) -> dict[str, str]:
    """A unique accession for each distinct sequence of all sources.

    It is that of the first source that has the sequence. An accession that stands for another sequence
    before gets the name of its file, as in `P12345@yeast`.
    """
    accession_of: dict[str, str] = {}
    taken: set[str] = set()
    for source in sources:
        ending = _NOT_IN_A_NAME.sub("_", source.name)
        for accession, sequence in sorted(source.sequences.items()):
            if sequence in accession_of:
                continue
            name, number = accession, 1
            while name in taken:
                name = f"{accession}@{ending}" + (f"_{number}" if number > 1 else "")
                number += 1
            accession_of[sequence] = name
            taken.add(name)
    return accession_of


def _additions(first: _Source, further: Sequence[_Source], kept: AbstractSet[str]) -> tuple[FurtherText, ...]:
    """What each further file has added to the text."""
    known = set(first.sequences.values())
    files = []
    for source in further:
        where = addressed(source.path)
        own = set(source.sequences.values())
        added = (own - known) & kept
        known |= own
        files.append(
            FurtherText(
                name=source.name,
                source=where,
                digest=source.digest,
                sequences=len(own),
                added=len(added),
                added_residues=sum(map(len, added)),
            )
        )
        logger.info("text_fasta: %s adds %s of its %s sequences", where, f"{len(added):,}", f"{len(own):,}")
    return tuple(files)


def _sequences_of_pairs(exclude: ExcludeOptions, sources: Sequence[_Source], where: str) -> set[str]:
    """The sequences of the proteins of `exclude_pairs`.

    They are those of `exclude_fasta`, or else all that the text has under their names, so that a protein is
    found under any name there.

    Raises:
        DataError: none of the proteins has a known sequence, so that nothing would be left out.
    """
    assert exclude.exclude_pairs is not None
    own = read_fasta(exclude.exclude_fasta).sequences if exclude.exclude_fasta else {}
    found: defaultdict[str, set[str]] = defaultdict(set)
    for source in sources:
        for protein, sequence in source.sequences.items():
            found[protein].add(sequence)
    found.update({protein: {sequence} for protein, sequence in own.items()})
    proteins = read_pairs(exclude.exclude_pairs, labels="ignored").proteins
    unknown = [protein for protein in proteins if protein not in found]
    hidden = {sequence for protein in proteins if protein in found for sequence in found[protein]}
    if not unknown:
        return hidden
    names = f"{three_of(unknown)} in exclude_pairs, {three_of(found)} in {where}"
    rule = fitting_rule(unknown, found)
    if len(unknown) == len(proteins):
        raise DataError(
            f"none of the {len(proteins):,} proteins of exclude_pairs has a sequence: none would be left out",
            where=exclude.exclude_pairs,
            got=names,
            expected="names of the FASTA, or of exclude_fasta",
            remedy=(f"rewrite the names: {rule}" if rule else "give their sequences as exclude_fasta"),
        )
    logger.warning(
        "%s of the %s proteins of exclude_pairs have no known sequence, so that the text may hold them under "
        "other names: %s%s; give their sequences as exclude_fasta",
        f"{len(unknown):,}", f"{len(proteins):,}", names, f"; {rule}" if rule else "",
    )  # fmt: skip
    return hidden


def _of_dataset(data: DatasetOptions, *, further: bool) -> tuple[_Source, set[str]]:
    """The training and validation sequences of a data set, and its test sequences."""
    data = replace(data, dataset=data.dataset or DEFAULT_DATASET)
    dataset = prepare(data, ("train", "validation"))
    sequences: dict[str, str] = {}
    for fasta in dict.fromkeys(split.fasta for split in dataset.splits.values()):
        sequences |= read_fasta(fasta).sequences
    hidden = _test_sequences(data, sequences, further=further)
    return _Source(name=dataset.name, sequences=sequences), hidden


def _test_sequences(data: DatasetOptions, sequences: Mapping[str, str], *, further: bool) -> set[str]:
    try:
        test = prepare(data, ("test",)).splits["test"]
    except NotInMirrorError as error:
        logger.warning(
            "the mirror has no test files of %s (%s): the model learns only from the proteins of the "
            "training and validation files%s, and no test protein can be left out%s",
            data.dataset, error.what, " and of text_fasta" if further else "",
            ": give those that text_fasta may have as exclude_fasta" if further else "",
        )  # fmt: skip
        return set()
    found = {**sequences, **read_fasta(test.fasta).sequences}
    return {found[protein] for protein in read_pairs(test.pairs).proteins if protein in found}


def logged_text_digests(run_id: str) -> frozenset[str] | None:
    """The digests of the sequences in the text that a run of `train_embedder` has logged.

    None for a released language model, whose text is not kept, and, with a warning, for a text that cannot
    be read: it may be gone, and an evaluation does not depend on it.

    Args:
        run_id: The run, or the ID of a released language model.
    """
    if run_id.startswith(RELEASED_PREFIX):
        return None
    try:
        run = find_run(run_id)
        with tempfile.TemporaryDirectory() as folder:
            parts = [
                read_fasta(download_artifact(run, f"text/{part}.fasta", Path(folder))).sequences
                for part in _PARTS
            ]
    except UserError as error:
        logger.warning("the text of the language model of run %s cannot be read: %s", run_id, error.what)
        return None
    recorded = next((digest for name, digest in run.datasets.items() if name.endswith("/sequences")), None)
    if recorded is not None and not _digest_of(parts).startswith(recorded):
        logger.warning("the text among the artifacts of %s is not the one that it read", run)
        return None
    return frozenset(sequence_digest(sequence) for part in parts for sequence in part.values())


def _digest_of(parts: Sequence[Mapping[str, str]]) -> str:
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(("\n".join(part.values()) + "\n\n").encode())
    return hasher.hexdigest()
