"""Pairs and embeddings of each split, read as the config specifies."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ppi_train.data.fasta import read_fasta
from ppi_train.data.identity import digest_of_proteins, write_proteins
from ppi_train.data.pairs import PairTable, read_pairs, write_pairs
from ppi_train.data.vocabulary import fitting_rule, three_of
from ppi_train.embeddings.cache import check_recipe
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.embeddings.embedders import EMBEDDERS
from ppi_train.errors import CacheError, DataError, counted, first_ten
from ppi_train.evaluation.joint_pairs import common_numbers, joint_pairs
from ppi_train.evaluation.overlap import shared_pairs
from ppi_train.features import PairData, features_of
from ppi_train.parallel.pool import Pool
from ppi_train.runs.datasets import tracked_dataset
from ppi_train.runs.embedder import EmbeddingSettings, find_or_make, sequences_to_embed
from ppi_train.tracking.run import TrackedDataset, TrackedRun

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SplitFiles:
    """The files of a split.

    `fasta` may be None if an embedding cache is given. `embed_all` says whether all of its proteins are
    embedded, as for a data set, whose splits share a cache, or only those that the pairs need.
    """

    pairs: Path
    fasta: Path | None
    embed_all: bool = False


@dataclass(frozen=True, kw_only=True)
class SplitInputs:
    """Pairs by split, and the embedding cache of their proteins.

    The cache has an embedding for every protein of the pairs. `dropped` has the pairs of each split that
    were left out because of `missing=drop`.
    """

    name: str
    tables: dict[str, PairTable]
    cache: EmbeddingCache
    dropped: Mapping[str, PairTable]

    def share(self, folder: Path) -> None:
        """Replaces the numbers of the pairs by files that the processes of a machine share."""
        for split, table in self.tables.items():
            self.tables[split] = table.mapped(folder / split)

    def pair_data(self, split: str, granularity: str) -> PairData:
        """Features, pairs and labels of a split at a model's granularity; the last two as in its table."""
        table = self.tables[split]
        return PairData(
            features=features_of(self.cache, table.proteins, granularity),
            pairs=torch.from_numpy(table.index),
            labels=torch.from_numpy(table.required_labels),
            positions=torch.from_numpy(self.cache.rows_of(table.proteins)),
        )

    @property
    def tags(self) -> dict[str, str]:
        """Tags that identify the inputs in a run."""
        return {"dataset": self.name, **self.cache.tags}

    @property
    def digests(self) -> dict[str, str]:
        """Digests of the pairs of each split and of the embeddings."""
        pairs = {f"{self.name}/{split}": table.digest for split, table in self.tables.items()}
        return {**pairs, **self.cache.digests}

    def log(self, tracked: TrackedRun) -> None:
        """Records every split with its digest and size, and what was dropped."""
        tracked.log_datasets([self.dataset(split) for split in self.tables])
        if self.dropped:
            tracked.log_metrics(
                {f"data/{split}_dropped": len(table) for split, table in self.dropped.items()}
            )

    def dataset(self, split: str) -> TrackedDataset:
        """A split as the run records it."""
        return tracked_dataset(self.name, split, self.tables[split])

    def write_pairs(self, folder: Path) -> str:
        """Writes the pairs of each split and their proteins' sequence digests.

        They record the training data: other tables may give the same sequences other names.

        Returns:
            The digest of the proteins.
        """
        for split, table in self.tables.items():
            write_pairs(folder / f"{split}.parquet", table)
        names = sorted({protein for table in self.tables.values() for protein in table.proteins})
        proteins = self.cache.sequence_digests(names)
        write_proteins(folder / "proteins.parquet", proteins)
        return digest_of_proteins(proteins)

    def write_dropped(self, folder: Path) -> None:
        """Writes the dropped pairs of each split as a table."""
        for split, table in self.dropped.items():
            if len(table):
                write_pairs(folder / f"{split}.tsv", table)


def open_cache(
    embeddings: str | None,
    fastas: Sequence[Path],
    settings: EmbeddingSettings,
    *,
    needed: Collection[str] | None,
    data_dir: Path,
    wanted: Mapping[str, object],
    memory_mb: int,
    pool: Pool | None = None,
) -> EmbeddingCache:
    """Opens the given embedding cache, or makes one from the FASTAs.

    A given cache is checked against the FASTAs and the config.

    Args:
        embeddings: A cache that the user gives; None to embed.
        fastas: The sequences; a given cache is only compared with them.
        settings: For a cache that is made.
        needed: The proteins to embed, see `sequences_to_embed`; None for all of the FASTAs.
        data_dir: The folder of caches that are made.
        wanted: Part of the recipe that the cache must have.
        memory_mb: Memory limit for reading it.
        pool: Embeds what is to be embedded; None: this process.

    Raises:
        CacheError: the cache is broken, or was made in another way or from other sequences.
    """
    if embeddings is None:
        _refuse_imported(settings.embedder, fastas)
        tables = [read_fasta(fasta) for fasta in dict.fromkeys(fastas)]
        if needed is not None:
            with_needed = (table for table in tables if not table.sequences.keys().isdisjoint(needed))
            tables = [sequences_to_embed(table, needed) for table in with_needed]
        made = dict.fromkeys(find_or_make(table, settings, data_dir, pool)[0] for table in tables)
        cache = EmbeddingCache(*made, memory_mb=memory_mb)
    else:
        cache = EmbeddingCache(embeddings, memory_mb=memory_mb)
        for fasta in dict.fromkeys(fastas):
            cache.check_sequences(read_fasta(fasta).sequences)
    _check_embedder_name(cache, wanted)
    check_recipe(
        cache.spec,
        {name: value for name, value in wanted.items() if name != "embedder_name"},
        where=embeddings,
    )
    return cache


def _refuse_imported(embedder: str, fastas: Sequence[Path]) -> None:
    """Refuses to make embeddings by an embedder that is not built in."""
    if embedder in EMBEDDERS:
        return
    raise CacheError(
        "the model was trained on imported embeddings, which this project cannot make",
        got=f"no embeddings of {', '.join(fasta.name for fasta in fastas)}",
        expected=f"embeddings by {embedder}, as the model was trained on",
        remedy="make them as before, import them (mlflow run . --env-manager local -e import_embeddings "
        f"-P embedder_name={embedder}), and give embeddings=",
    )


def _check_embedder_name(cache: EmbeddingCache, wanted: Mapping[str, object]) -> None:
    name = wanted.get("embedder_name")
    found = cache.spec.embedder.get("name")
    if name is not None and found != name:
        raise CacheError(
            "the embedding cache was made by another embedder",
            got=f"embedder={found}",
            expected=f"embedder={name}",
            remedy="leave embedder unset to use the cache as it is, or give a cache of that embedder",
        )


def read_tables(files: Mapping[str, SplitFiles]) -> dict[str, PairTable]:
    """Reads the pairs of each split.

    Called before anything is embedded, so that mistakes in the pairs are reported at once.
    """
    tables = {split: read_pairs(source.pairs) for split, source in files.items()}
    for table in tables.values():
        if table.duplicates:
            logger.info("%s: %s duplicate rows merged", table.source, f"{table.duplicates:,}")
    return tables


def proteins_to_embed(
    files: Mapping[str, SplitFiles], tables: Mapping[str, PairTable]
) -> frozenset[str] | None:
    """The proteins of all pairs, or None if whole FASTAs are embedded."""
    if any(source.embed_all for source in files.values()):
        return None
    return frozenset(protein for table in tables.values() for protein in table.proteins)


def refuse_one_class(tables: Mapping[str, PairTable]) -> None:
    """Refuses training or validation pairs of one class.

    Raises:
        DataError: nothing could be learned from a table, or measured on it.
    """
    for split, table in tables.items():
        if table.positives in (0, len(table)):
            raise DataError(
                f"the {split} pairs have one class only",
                where=table.source,
                got=f"{table.positives:,} pairs of label 1, {len(table) - table.positives:,} of label 0",
                expected="pairs of both classes",
                remedy="add pairs of the other label; from interactions only, train_only and full_pipeline "
                "draw negatives with negatives=degree_matched, and split does: "
                "mlflow run . --env-manager local -e split -P pairs=interactions.tsv -P output=FOLDER",
            )


def check_repeated(train: PairTable, validation: PairTable, digests: Mapping[str, str]) -> None:
    """Warns of validation pairs that are training pairs; refuses if all of them are.

    Args:
        train: Labelled pairs.
        validation: Labelled pairs.
        digests: Sequence digests by accession: names of one sequence are one protein.

    Raises:
        DataError: every validation pair is a training pair.
    """
    number = common_numbers(train, validation, [digests], same_names=True)
    repeated = int(shared_pairs(joint_pairs(train, validation, number)).sum())
    if repeated == len(validation):
        raise DataError(
            "every validation pair is a training pair",
            where=validation.source,
            got=f"{repeated:,} of {len(validation):,} pairs are in {train.source}, under any names",
            expected="validation pairs that the model is not trained on",
            remedy="leave pairs out of training; `split` makes such tables: "
            "mlflow run . --env-manager local -e split -P pairs=interactions.tsv -P output=FOLDER",
        )
    if repeated:
        logger.warning(
            "%s of %s validation pairs of %s are training pairs, under these or other names: the metrics and "
            "the choice of the best epoch count them as unseen; leave them out of one of the tables",
            f"{repeated:,}", f"{len(validation):,}", validation.source,
        )  # fmt: skip


def refuse_other_names(
    named: Mapping[str, Collection[str]], fastas: Sequence[Path], *, missing: str | None
) -> None:
    """Refuses proteins that are not in the FASTAs, before anything is embedded.

    Args:
        named: The proteins that each file names.
        fastas: The sequences that would be embedded; none if embeddings are given.
        missing: `error`, or `drop` to refuse only files without any protein of the FASTAs; None in a mode
            that needs all of them.

    Raises:
        CacheError: proteins are missing; with three names of either file, and the rule that makes them fit.
    """
    if not fastas:
        return
    known = {name for fasta in dict.fromkeys(fastas) for name in read_fasta(fasta).sequences}
    if missing != "drop" or all(known.isdisjoint(names) for names in named.values()):
        refuse_missing(named, known, fastas[0], can_drop=missing == "error")


def names_by_source(tables: Mapping[str, PairTable]) -> dict[str, tuple[str, ...]]:
    """The proteins of each table, by its source."""
    return {table.source: table.proteins for table in tables.values()}


def drop_or_refuse_missing(
    name: str,
    tables: Mapping[str, PairTable],
    cache: EmbeddingCache,
    *,
    missing: str,
    fasta: Path | None,
) -> SplitInputs:
    """Refuses or drops the pairs of proteins without an embedding.

    Raises:
        CacheError: proteins are missing and `missing=error`; their count and the first ten.
        DataError: nothing is left of a split.
    """
    if missing == "error":
        refuse_missing(names_by_source(tables), cache.proteins, fasta)
        return SplitInputs(name=name, tables=dict(tables), cache=cache, dropped={})
    kept: dict[str, PairTable] = {}
    dropped: dict[str, PairTable] = {}
    for split, table in tables.items():
        embedded = np.array([protein in cache for protein in table.proteins], dtype=bool)
        keep = embedded[table.index].all(axis=1)
        kept[split], dropped[split] = table.select(keep), table.select(~keep)
        if not len(kept[split]):
            raise DataError("no pair is left: every pair lacks an embedding", where=table.source)
        logger.warning(
            "%s: %s of %s pairs dropped because of missing embeddings",
            split, f"{len(dropped[split]):,}", f"{len(table):,}",
        )  # fmt: skip
    return SplitInputs(name=name, tables=kept, cache=cache, dropped=dropped)


def refuse_missing(
    named: Mapping[str, Collection[str]],
    known: Collection[str],
    fasta: Path | None,
    *,
    can_drop: bool = True,
) -> None:
    """Refuses proteins without an embedding.

    Args:
        named: The proteins that each file names.
        known: The proteins that have an embedding or a sequence.
        fasta: Named in the message, if there is one.
        can_drop: Whether `missing=drop` would help.

    Raises:
        CacheError: with three names of either file, and the rule that makes them fit if there is one.
    """
    missing = sorted({name for names in named.values() for name in names} - set(known))
    if not missing:
        return
    rule = fitting_rule(missing, known)
    add = (
        "add their sequences to the FASTA and embed it: "
        f"mlflow run . --env-manager local -e embed -P fasta={fasta or 'sequences.fasta'}"
    )
    if can_drop:
        add += "; or give missing=drop to leave them and their pairs out"
    raise CacheError(
        f"no embedding for {counted(len(missing), 'protein')}",
        where=", ".join(named),
        got=first_ten(missing),
        expected=f"names as in {fasta or 'the embeddings'}: {three_of(known)}",
        remedy=f"rewrite the names of one of the two files: {rule}; otherwise {add}" if rule else add,
    )
