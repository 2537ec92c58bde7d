"""What `predict` scores: proteins with their embeddings, and pairs of them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ppi_train.checkpoints import Checkpoint
from ppi_train.config.options import DatasetOptions, DeviceOptions
from ppi_train.data.fasta import read_fasta
from ppi_train.data.pairs import PairTable, read_pairs
from ppi_train.data.protein_sets import ProteinList, read_proteins
from ppi_train.embeddings.cache.reader import EmbeddingCache, warn_of_other_numbers
from ppi_train.embeddings.options import CacheSourceOptions
from ppi_train.errors import ConfigError, DataError, first_ten, nearest
from ppi_train.inference.pair_grid import PairGrid, PairList
from ppi_train.parallel.pool import Pool
from ppi_train.runs.configs import PredictConfig
from ppi_train.runs.datasets import training_fastas
from ppi_train.runs.embedder import EmbeddingSettings
from ppi_train.runs.inputs import (
    drop_or_refuse_missing,
    open_cache,
    refuse_missing,
    refuse_other_names,
)
from ppi_train.runs.labels import data_label
from ppi_train.tracking.run import TrackedDataset

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PredictionInputs:
    """Proteins by number, their embeddings, and pairs of these numbers.

    `digest` is the sha256 of the proteins and pairs, in their order. `dropped` counts what was left out
    because of `missing=drop`: pairs of a table, or proteins of lists. `queries` is how many proteins, from
    the first on, have their partners ranked; None if that is not asked for. `fastas` have the sequences.
    """

    name: str
    source: str
    cache: EmbeddingCache
    proteins: tuple[str, ...]
    pairs: PairGrid | PairList
    dropped: int
    fastas: tuple[Path, ...]
    queries: int | None = None

    @cached_property
    def sequences(self) -> dict[str, str]:
        """The sequences of the FASTAs, by accession."""
        return {name: text for fasta in self.fastas for name, text in read_fasta(fasta).sequences.items()}

    @property
    def digest(self) -> str:
        found = hashlib.sha256("\n".join(self.proteins).encode())
        if isinstance(self.pairs, PairList):
            found.update(self.pairs.index.astype("<i8").tobytes())
        else:
            found.update(f"\0{self.pairs.shared}\t{self.pairs.only_a}\t{self.pairs.only_b}".encode())
        return found.hexdigest()

    @property
    def dataset(self) -> TrackedDataset:
        """The data set as a run records it."""
        listed = isinstance(self.pairs, PairList)
        return TrackedDataset(
            name=f"{self.name}/{'pairs' if listed else 'proteins'}",
            context="predict",
            digest=self.digest,
            source=self.source,
            size=self.pairs.pairs if listed else len(self.proteins),
            counts="pairs" if listed else "proteins",
        )


def prediction_inputs(config: PredictConfig, checkpoint: Checkpoint, pool: Pool) -> PredictionInputs:
    """Reads pairs or proteins, and opens or makes their embeddings.

    Embeddings are made in the same way as those of the training run.

    Args:
        config: Of the mode.
        checkpoint: The model.
        pool: Embeds what is to be embedded.

    Raises:
        DataError: a table, list or FASTA is wrong, or no pair is left.
        CacheError: the embeddings are not of the kind that the model was trained on, or proteins are
            missing and `missing=error`.
        ConfigError: there is nothing to embed.
    """
    options = config.prediction
    fastas = sequence_files(config)
    if options.pairs:
        table = read_pairs(options.pairs, labels="ignored")
        cache = _cache(config, checkpoint, fastas, {table.source: table.proteins}, pool)
        return _of_table(config, table, cache, fastas)
    if options.proteins_a and options.proteins_b:
        lists = [read_proteins(path) for path in (options.proteins_a, options.proteins_b)]
        if not fastas and not config.cache.embeddings:
            raise ConfigError(
                "the proteins have neither sequences nor embeddings",
                where=", ".join(proteins.source for proteins in lists),
                got="accessions alone",
                remedy="give fasta, embeddings or dataset, or lists that are FASTA files",
            )
        named = {listed.source: listed.accessions for listed in lists}
        return _of_lists(config, lists, _cache(config, checkpoint, fastas, named, pool), fastas)
    return _of_all(config, checkpoint, fastas, pool)


def sequence_files(config: PredictConfig) -> list[Path]:
    """The FASTAs of the proteins: those of `named_fastas`, and lists of proteins that are FASTAs."""
    paths = filter(None, (config.prediction.proteins_a, config.prediction.proteins_b))
    of_lists = (read_proteins(path).fasta for path in paths)
    return [*named_fastas(config.data, config.cache), *filter(None, of_lists)]


def named_fastas(data: DatasetOptions, cache: CacheSourceOptions) -> list[Path]:
    """The given FASTA, or the FASTAs of the given data set.

    Empty if only an embedding cache is given.
    """
    if cache.fasta:
        return [Path(cache.fasta)]
    if data.dataset is None:
        return []
    return training_fastas(data)


def opened_cache(
    data: DatasetOptions,
    cache: CacheSourceOptions,
    compute: DeviceOptions,
    checkpoint: Checkpoint,
    fastas: Sequence[Path],
    named: Mapping[str, Collection[str]],
    *,
    missing: str | None = None,
    pool: Pool | None = None,
) -> EmbeddingCache:
    """The given embedding cache, or one made with the model's recipe.

    Args:
        data, cache, compute: Options of the mode.
        checkpoint: The model.
        fastas: What `named_fastas` gives, and others.
        named: The proteins that are scored, by the file that names them; empty for all.
        missing: As in `refuse_other_names`.
        pool: Embeds what is to be embedded; None: this process.

    Raises:
        CacheError: see `open_cache`; proteins that are to be embedded have no sequence.
    """
    if cache.embeddings is None and named:
        refuse_other_names(named, fastas, missing=missing)
    of_dataset = bool(data.dataset) and not cache.fasta
    needed = {name for names in named.values() for name in names}
    embedding: dict[str, Any] = checkpoint.description["embedding"]
    opened = open_cache(
        cache.embeddings,
        fastas,
        EmbeddingSettings.of_recipe(embedding["recipe"], dtype=embedding["dtype"], device=compute.device),
        needed=needed if named and not of_dataset else None,
        data_dir=Path(data.data_dir),
        wanted=embedding["recipe"],
        memory_mb=cache.cache_memory_mb,
        pool=pool,
    )
    warn_of_other_numbers(opened, embedding)
    return opened


def _cache(
    config: PredictConfig,
    checkpoint: Checkpoint,
    fastas: Sequence[Path],
    named: Mapping[str, Collection[str]],
    pool: Pool,
) -> EmbeddingCache:
    return opened_cache(
        config.data, config.cache, config.compute, checkpoint, fastas, named,
        missing=config.cache.missing, pool=pool,
    )  # fmt: skip


def _of_table(
    config: PredictConfig, table: PairTable, cache: EmbeddingCache, fastas: Sequence[Path]
) -> PredictionInputs:
    if table.duplicates:
        logger.info("%s: %s duplicate rows merged", table.source, f"{table.duplicates:,}")
    name = data_label(table.source)
    fasta = fastas[0] if fastas else None
    settled = drop_or_refuse_missing(name, {"pairs": table}, cache, missing=config.cache.missing, fasta=fasta)
    kept = settled.tables["pairs"]
    return PredictionInputs(
        name=name,
        source=table.source,
        cache=cache,
        proteins=kept.proteins,
        pairs=PairList(index=kept.index.astype(np.int64)),
        dropped=len(table) - len(kept),
        fastas=tuple(fastas),
    )


def _of_lists(
    config: PredictConfig, lists: Sequence[ProteinList], cache: EmbeddingCache, fastas: Sequence[Path]
) -> PredictionInputs:
    for listed in lists:
        if listed.duplicates:
            logger.info("%s: %s duplicates merged", listed.source, f"{listed.duplicates:,}")
    a, b = (set(_with_embedding(listed.accessions, listed.source, config, cache, fastas)) for listed in lists)
    parts = [sorted(a & b), sorted(a - b), sorted(b - a)]
    grid = PairGrid(
        shared=len(parts[0]),
        only_a=len(parts[1]),
        only_b=len(parts[2]),
        include_self=config.prediction.include_self,
    )
    named = {name for listed in lists for name in listed.accessions}
    source = ", ".join(listed.source for listed in lists)
    return PredictionInputs(
        name="-".join(Path(listed.source).stem for listed in lists),
        source=source,
        cache=cache,
        proteins=tuple(name for part in parts for name in part),
        pairs=_with_pairs(grid, source),
        dropped=len(named) - len(a | b),
        fastas=tuple(fastas),
    )


def _of_all(
    config: PredictConfig, checkpoint: Checkpoint, fastas: Sequence[Path], pool: Pool
) -> PredictionInputs:
    """All pairs of the proteins, or those of the proteins that `protein` names."""
    source = config.cache.fasta or config.data.dataset or str(config.cache.embeddings)
    queries = list(dict.fromkeys(config.prediction.protein or ()))
    named = {name for fasta in fastas for name in read_fasta(fasta).sequences}
    if named:
        _refuse_unknown(queries, named, source)  # before the others are embedded
    cache = _cache(config, checkpoint, fastas, {}, pool)
    if not named:
        named = set(cache.lengths)
        _refuse_unknown(queries, named, source)
    kept = _with_embedding([*queries, *sorted(named - set(queries))], source, config, cache, fastas)
    asked = len(set(queries) & set(kept))
    if queries and not asked:
        raise DataError(
            "none of the proteins given as `protein` has an embedding", where=source, got=first_ten(queries)
        )
    grid = PairGrid(
        shared=asked if queries else len(kept),
        only_b=len(kept) - asked if queries else 0,
        include_self=config.prediction.include_self,
    )
    return PredictionInputs(
        name=config.data.dataset or Path(source).stem,
        source=source,
        cache=cache,
        proteins=tuple(kept),
        pairs=_with_pairs(grid, source),
        dropped=len(named) - len(kept),
        fastas=tuple(fastas),
        queries=asked or None,
    )


def _refuse_unknown(queries: Sequence[str], named: Collection[str], source: str) -> None:
    unknown = [name for name in queries if name not in named]
    if unknown:
        raise DataError(
            "there is no such protein",
            where=source,
            got=first_ten(unknown),
            expected=f"an accession of the {len(named):,} proteins, such as {', '.join(sorted(named)[:3])}",
            remedy=nearest(unknown[0], named),
        )


def _with_embedding(
    proteins: Sequence[str], source: str, config: PredictConfig, cache: EmbeddingCache, fastas: Sequence[Path]
) -> list[str]:
    """Refuses or drops proteins without an embedding, and returns the rest."""
    missing = set(cache.missing(proteins))
    if missing and config.cache.missing == "error":
        refuse_missing({source: missing}, cache.proteins, fastas[0] if fastas else None)
    kept = [protein for protein in proteins if protein not in missing]
    if missing:
        logger.warning(
            "%s: %s of %s proteins dropped because of missing embeddings",
            source, f"{len(missing):,}", f"{len(proteins):,}",
        )  # fmt: skip
    if not kept:
        raise DataError("no protein is left: every protein lacks an embedding", where=source)
    return kept


def _with_pairs(grid: PairGrid, source: str) -> PairGrid:
    if grid.pairs:
        return grid
    raise DataError(
        "there is no pair to score",
        where=source,
        got="a single protein",
        expected="two proteins or more",
        remedy="give include_self=true to pair it with itself",
    )
