"""Preparation of the pair tables and FASTA files of data sets.

Prepared files are in `data_dir/<name>` (`<name>-seed<k>` for a seed other than 0) next to `dataset.json`,
which is written last and has their digests: a split that it does not list, or whose files differ, is made
again. Two processes that prepare the same splits write the same bytes; if one overwrites the other's
marker, a later call makes the missing split again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppi_train.data.benchmarks import CATALOGUE, benchmark, example, fetch, local_path, unknown_name
from ppi_train.data.fasta import read_fasta, write_fasta
from ppi_train.data.negatives import degree_matched_negatives, labelled_pairs
from ppi_train.data.pairs import PairTable, pairs_from_ids, read_pairs, write_pairs
from ppi_train.errors import ConfigError, DataError
from ppi_train.io.files import file_digest, text_lines, write_file

DATASETS = ("example", *CATALOGUE)
SPLITS = ("train", "validation", "test")

# Increased whenever the same sources and seed give other files, so that prepared copies are made again.
VERSION = 1
# As in PRING's own human sets.
VALIDATION_SHARE = 0.2
# In `human`, one of so many proteins of Bernett's validation set is kept apart for validation.
HUMAN_APART = 4

_MARKER = "dataset.json"


@dataclass(frozen=True, kw_only=True)
class Split:
    """The prepared files of a split.

    `pairs` is a TSV of labelled pairs, `fasta` a FASTA with at least their proteins.
    """

    name: str
    pairs: Path
    fasta: Path


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The requested splits, among `train`, `validation` and `test`."""

    name: str
    splits: Mapping[str, Split]


def prepare_dataset(
    name: str, *, data_dir: Path, mirror: str | None, splits: Sequence[str], data_seed: int = 0
) -> Dataset:
    """The prepared files of a data set; missing ones are made.

    Args:
        name: One of `DATASETS`.
        data_dir: Where data sets and downloads are kept.
        mirror: A folder or http server to fetch from in place of the internet; None for none.
        splits: The splits to prepare; only the files that they need are fetched.
        data_seed: Seed of the built-in example, and of the negatives and splits that are drawn.

    Raises:
        ConfigError: there is no such data set or split.
        DownloadError: a file could not be fetched (`NotInMirrorError`: the mirror lacks it).
        DataError: a file is invalid, or `data_dir` cannot be written.
    """
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    unknown = [split for split in splits if split not in SPLITS]
    if unknown:
        raise ConfigError(f"there is no split {unknown[0]!r}", got=unknown[0], expected=", ".join(SPLITS))
    job = _Job(
        name=name,
        folder=data_dir / (name if data_seed == 0 else f"{name}-seed{data_seed}"),
        data_dir=data_dir,
        mirror=mirror,
        seed=data_seed,
    )
    try:
        files = {split: job.split(split) for split in dict.fromkeys(splits)}
    except OSError as error:
        raise DataError(
            "the data set cannot be written",
            where=error.filename or job.folder,
            got=error.strerror,
            remedy="give a data_dir that can be written",
        ) from error
    return Dataset(name=name, splits=files)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One data set at one seed, and where its files go."""

    name: str
    folder: Path
    data_dir: Path
    mirror: str | None
    seed: int

    def split(self, name: str) -> Split:
        split = Split(
            name=name, pairs=self.folder / f"{name}.tsv", fasta=self.folder / self._fasta_name(name)
        )
        if self._marked().get(name) != _digests((split.pairs, split.fasta)):
            self._record(self._maker()(self, name))
        return split

    def file(self, role: str) -> Path:
        """The local copy of one of the catalogue's files."""
        return fetch(benchmark(self.name).files[role], data_dir=self.data_dir, mirror=self.mirror)

    def _maker(self) -> Callable[[_Job, str], Sequence[str]]:
        return next(maker for prefix, maker in _MAKERS.items() if self.name.startswith(prefix))

    def _fasta_name(self, split: str) -> str:
        # If all splits share one FASTA, its embeddings are made once for all of them.
        return f"{split}.fasta" if self.name in ("bernett", "human") else "sequences.fasta"

    def _recipe(self) -> dict[str, object]:
        """The inputs that determine the prepared files."""
        if self.name == "example":
            sources: dict[str, str | None] = {"built in": str(example.VERSION)}
        else:
            sources = {role: file.sha256 for role, file in benchmark(self.name).files.items()}
        return {"version": VERSION, "data_seed": self.seed, "sources": sources}

    def _marked(self) -> dict[str, Any]:
        """The marker's digests by split; empty if it is invalid or outdated."""
        try:
            marker = json.loads((self.folder / _MARKER).read_bytes())
        except (FileNotFoundError, ValueError, RecursionError):
            return {}
        if not isinstance(marker, dict) or marker.get("recipe") != self._recipe():
            return {}
        found = marker.get("splits")
        return found if isinstance(found, dict) else {}

    def _unchecked(self) -> dict[str, str | None]:
        """Digests of the sources without one in the catalogue, for later comparison."""
        if self.name == "example":
            return {}
        files = benchmark(self.name).files.items()
        paths = {role: local_path(file, self.data_dir) for role, file in files if file.sha256 is None}
        return {role: _digests((path,))[path.name] for role, path in paths.items()}

    def _record(self, splits: Sequence[str]) -> None:
        made = {
            split: _digests((self.folder / f"{split}.tsv", self.folder / self._fasta_name(split)))
            for split in splits
        }
        marker = {
            "dataset": self.name,
            "recipe": self._recipe(),
            "unchecked": self._unchecked(),
            "splits": self._marked() | made,
        }
        write_file(self.folder / _MARKER, (json.dumps(marker, indent=2) + "\n").encode())


def _digests(paths: Sequence[Path]) -> dict[str, str | None]:
    return {path.name: file_digest(path) if path.exists() else None for path in paths}


# A maker writes the files of a split, and perhaps of other splits, and returns the splits that it made.


def _make_example(job: _Job, _split: str) -> Sequence[str]:
    example.write_example(job.folder, seed=job.seed)
    return SPLITS


def _make_bernett(job: _Job, split: str) -> Sequence[str]:
    pairs, dictionary = job.file(f"{split}_pairs"), job.file(f"{split}_sequences")
    write_pairs(job.folder / f"{split}.tsv", read_pairs(pairs))
    write_fasta(job.folder / f"{split}.fasta", _read_dictionary(dictionary))
    return (split,)


def _read_dictionary(path: Path) -> dict[str, str]:
    """The sequences by accession of a two-column table."""
    lines = text_lines(path, "sequence table")
    rows = [line.split("\t") for _, line in lines]
    bad = next((number for (number, _), row in zip(lines, rows, strict=True) if len(row) != 2), None)
    if bad is not None:
        raise DataError(
            "a row of the sequence table is wrong",
            where=f"{path}, line {bad}",
            expected="accession and sequence",
        )
    return dict(rows)


def _make_human(job: _Job, split: str) -> Sequence[str]:
    if split == "test":
        return _make_bernett(job, split)
    intra1, intra0 = (_read_dictionary(job.file(f"intra{number}_sequences")) for number in (1, 0))
    sequences = intra1 | intra0
    roles = ("intra1_pairs", "intra0_pairs", "pring_train_pairs", "pring_validation_pairs")
    pairs = _joined([read_pairs(job.file(role)) for role in roles], sequences)
    apart = np.array([name in intra0 and _is_apart(sequences[name]) for name in pairs.proteins])[pairs.index]
    made = {"train": ~apart.any(axis=1), "validation": apart.all(axis=1)}
    for name, chosen in made.items():
        table = pairs.select(chosen)
        write_pairs(job.folder / f"{name}.tsv", table)
        write_fasta(job.folder / f"{name}.fasta", {key: sequences[key] for key in sorted(table.proteins)})
    return tuple(made)


def _is_apart(sequence: str) -> bool:
    """Whether a protein is among those that validation is made of: one in `HUMAN_APART`, by its sequence."""
    return int(hashlib.sha256(sequence.encode()).hexdigest()[:8], 16) % HUMAN_APART == 0


def _joined(tables: Sequence[PairTable], sequences: Mapping[str, str]) -> PairTable:
    """The pairs of several tables whose proteins have a sequence.

    A pair that interacts in one of them interacts: negatives are drawn, and another source may know better.
    """
    labels: dict[tuple[str, str], int] = {}
    for table in tables:
        for (a, b), label in zip(table.index.tolist(), table.required_labels.tolist(), strict=True):
            pair = (table.proteins[a], table.proteins[b])
            if pair[0] in sequences and pair[1] in sequences:
                pair = min(pair), max(pair)
                labels[pair] = max(label, labels.get(pair, 0))
    first, second = zip(*labels, strict=True)
    return pairs_from_ids(first, second, list(labels.values()), "human")


def _make_pring(job: _Job, split: str) -> Sequence[str]:
    sequences = job.file("sequences")
    if f"{split}_pairs" in benchmark(job.name).files:
        made = {split: read_pairs(job.file(f"{split}_pairs"))}
    else:
        edges = read_pairs(job.file("edges"), labels="optional")
        made = _draw_training(edges, frozenset(read_pairs(job.file("test_pairs")).proteins), job.seed)
    for name, table in made.items():
        write_pairs(job.folder / f"{name}.tsv", table)
    write_fasta(job.folder / "sequences.fasta", read_fasta(sequences).sequences)
    return tuple(made)


def _draw_training(edges: PairTable, held_out: frozenset[str], seed: int) -> dict[str, PairTable]:
    """Train and validation pairs from the edges without a test protein.

    There are as many drawn negatives as edges. PRING publishes these sets only for human. Validation gets
    a random fifth of the edges, and so shares proteins with train, as PRING's human sets do; the two have
    no pair in common.
    """
    rng = np.random.default_rng(seed)
    tested = np.array([protein in held_out for protein in edges.proteins], dtype=bool)
    pool = rng.permutation(edges.index[~tested[edges.index].any(axis=1)])
    size = round(VALIDATION_SHARE * len(pool))
    known = edges.index
    made: dict[str, PairTable] = {}
    for name, positives in (("validation", pool[:size]), ("train", pool[size:])):
        negatives = degree_matched_negatives(positives, forbidden=known, count=len(positives), rng=rng)
        known = np.concatenate([known, negatives])
        made[name] = labelled_pairs(edges.proteins, positives, negatives, rng, f"{edges.source}, {name}")
    return made


_MAKERS: Mapping[str, Callable[[_Job, str], Sequence[str]]] = {
    "example": _make_example,
    "bernett": _make_bernett,
    "pring_": _make_pring,
    "human": _make_human,
}
