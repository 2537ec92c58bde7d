"""From a config to the pairs and features of each split; what is missing is refused or counted here."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ppi_train.data.cache_format import check_recipe
from ppi_train.data.embedding_cache import EmbeddingCache
from ppi_train.data.fasta import read_fasta
from ppi_train.data.pairs import PairTable, read_pairs, write_pairs
from ppi_train.embedders import EMBEDDERS
from ppi_train.errors import CacheError, DataError
from ppi_train.pipelines.embed import cached_embeddings
from ppi_train.pipelines.embedding_settings import EmbeddingSettings
from ppi_train.pipelines.prepare_data import tracked_dataset
from ppi_train.pipelines.protein_features import features_of
from ppi_train.tracking.run import TrackedRun
from ppi_train.training.batches import PairData

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SplitFiles:
    """Where a split comes from; `fasta` may be absent where an embedding cache is given."""

    pairs: Path
    fasta: Path | None


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Pairs by split, and the cache that holds an embedding for every protein in them.

    `dropped` holds the pairs of each split that were left out, because `missing=drop` was asked for.
    """

    name: str
    tables: Mapping[str, PairTable]
    cache: EmbeddingCache
    dropped: Mapping[str, PairTable]

    def pair_data(self, split: str, granularity: str) -> PairData:
        """A split as a model of that granularity takes it, with a row for each protein that it has."""
        table = self.tables[split]
        if table.labels is None:
            raise DataError("the pairs have no labels", where=table.source, expected="a column `label`")
        return PairData(
            features=features_of(self.cache, table.proteins, granularity),
            pairs=torch.from_numpy(table.index.astype(np.int64)),
            labels=torch.from_numpy(table.labels.astype(np.float32)),
        )

    @property
    def tags(self) -> dict[str, str]:
        """What identifies the inputs in a run's tags."""
        embedder = self.cache.spec.embedder
        return {
            "dataset": self.name,
            "embedder": str(embedder["name"]),
            "embedder_run_id": self.cache.spec.embedder_run_id,
            "embedding_cache_digest": self.cache.digest,
        }

    @property
    def digests(self) -> dict[str, str]:
        """What identifies all that is read."""
        pairs = {f"{self.name}/{split}": table.digest for split, table in self.tables.items()}
        return {**pairs, "embeddings": self.cache.digest}

    def log(self, tracked: TrackedRun) -> None:
        """Records every split with its digest and size, and what was dropped."""
        tracked.log_datasets(
            [tracked_dataset(self.name, split, table) for split, table in self.tables.items()]
        )
        if self.dropped:
            tracked.log_metrics({f"data/{split}_dropped": len(one) for split, one in self.dropped.items()})

    def write_pairs(self, folder: Path) -> None:
        """Writes the pairs of each split, so that the run says for ever what it was trained on."""
        for split, table in self.tables.items():
            write_pairs(folder / f"{split}.parquet", table)

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
    data_dir: Path,
    wanted: Mapping[str, object],
    memory_mb: int,
) -> EmbeddingCache:
    """The cache that was named, checked against FASTA and config, or the one made from the FASTAs.

    Args:
        embeddings: A cache that the user names; None to embed.
        fastas: The sequences; with a named cache they are only compared with it.
        settings: For a cache that is made.
        data_dir: Where made caches lie.
        wanted: Part of the recipe that the cache must have.
        memory_mb: What reading it may hold.

    Raises:
        CacheError: the cache is broken, or was made in another way or from other sequences.
    """
    if embeddings is None:
        _refuse_imported(settings.embedder, fastas)
        made = dict.fromkeys(cached_embeddings(one, settings, data_dir) for one in dict.fromkeys(fastas))
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
    """A model of imported embeddings can have no others made for it."""
    if embedder in EMBEDDERS:
        return
    raise CacheError(
        "the model was trained on imported embeddings, which this project cannot make",
        got=f"no embeddings of {', '.join(one.name for one in fastas)}",
        expected=f"embeddings by {embedder}, as the model was trained on",
        remedy="make them as before, import them (mlflow run . -e import_embeddings "
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
            remedy="leave embedder unset to take the cache as it is, or name a cache of that embedder",
        )


def read_tables(files: Mapping[str, SplitFiles]) -> dict[str, PairTable]:
    """The pairs of each split; read before anything is embedded, so that a mistake in them shows at once."""
    tables = {split: read_pairs(one.pairs) for split, one in files.items()}
    for table in tables.values():
        if table.duplicates:
            logger.info("%s: %s duplicate rows merged", table.source, f"{table.duplicates:,}")
    return tables


def settle_missing(
    name: str,
    tables: Mapping[str, PairTable],
    cache: EmbeddingCache,
    *,
    missing: str,
    fasta: Path | None,
) -> Inputs:
    """The inputs of a run, with no pair left whose protein has no embedding.

    Raises:
        CacheError: proteins are missing and `missing=error`; their count and the first ten.
        DataError: nothing is left of a split.
    """
    if missing == "error":
        _refuse_missing(tables, cache, fasta)
        return Inputs(name=name, tables=tables, cache=cache, dropped={})
    kept: dict[str, PairTable] = {}
    dropped: dict[str, PairTable] = {}
    for split, table in tables.items():
        there = np.array([protein in cache for protein in table.proteins], dtype=bool)
        keep = there[table.index].all(axis=1)
        kept[split], dropped[split] = table.select(keep), table.select(~keep)
        if not len(kept[split]):
            raise DataError("no pair is left: none has both embeddings", where=table.source)
        logger.warning(
            "%s: %s of %s pairs dropped, for want of an embedding",
            split, f"{len(dropped[split]):,}", f"{len(table):,}",
        )  # fmt: skip
    return Inputs(name=name, tables=kept, cache=cache, dropped=dropped)


def _refuse_missing(tables: Mapping[str, PairTable], cache: EmbeddingCache, fasta: Path | None) -> None:
    missing = sorted({one for table in tables.values() for one in cache.missing(table.proteins)})
    if not missing:
        return
    raise CacheError(
        f"{len(missing)} proteins of the pairs have no embedding",
        where=", ".join(table.source for table in tables.values()),
        got=", ".join(missing[:10]) + (", ..." if len(missing) > 10 else ""),
        expected="an embedding for every protein",
        remedy="add their sequences to the FASTA and embed it: "
        f"mlflow run . -e embed -P fasta={fasta or 'sequences.fasta'}; "
        "or give missing=drop to leave those pairs out",
    )
