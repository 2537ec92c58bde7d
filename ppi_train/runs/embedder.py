"""Embedding settings, from a config or an earlier cache's recipe."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ppi_train.checkpoints import checkpoint_digest, read_checkpoint
from ppi_train.config.options import RELEASED_PREFIX
from ppi_train.data.fasta import SequenceTable
from ppi_train.embeddings.cache import CacheSpec
from ppi_train.embeddings.cache.build import EmbeddingCounts, make_cache
from ppi_train.embeddings.cache.parts import parts_folder
from ppi_train.embeddings.embedders import make_embedder
from ppi_train.embeddings.embedders.base import Embedder, EmbedderRequest, TrainedWeights
from ppi_train.embeddings.options import EmbedderOptions
from ppi_train.errors import CheckpointError
from ppi_train.io.outputs import check_output_path
from ppi_train.models.device import find_device, has_fast_bf16, resolve_device
from ppi_train.parallel.pool import Pool, check_files_visible
from ppi_train.released import (
    canonical_embedder_id,
    find_release,
    packaged_embedder,
    release_names,
)
from ppi_train.runs.checkpoints import EMBEDDER_MODES, resolve_checkpoint
from ppi_train.tracking.released_run import find_released_run

logger = logging.getLogger(__name__)


MODEL_VARIABLE = "PPI_TRAIN_EMBEDDER_MODEL"
DEFAULT_EMBEDDER = "descriptors"
DEFAULT_TRUNCATION = "head"


@dataclass(frozen=True, kw_only=True)
class EmbeddingSettings:
    """The embedder, sequence truncation and number format of an embedding cache.

    `max_length` is in residues; None keeps whole sequences.
    """

    embedder: str = DEFAULT_EMBEDDER
    run_id: str | None = None
    model: str | None = None
    precision: str = "float32"
    granularity: str | None = None
    max_length: int | None = None
    truncation: str = DEFAULT_TRUNCATION
    dtype: str = "float32"
    device: str = "cpu"

    @classmethod
    def of_options(cls, options: EmbedderOptions, *, device: str) -> EmbeddingSettings:
        """The settings of these options, with the defaults filled in."""
        return cls(
            embedder=options.embedder or DEFAULT_EMBEDDER,
            run_id=options.embedder_run_id and canonical_embedder_id(options.embedder_run_id),
            model=options.embedder_model,
            precision=_precision(options, device),
            granularity=options.granularity,
            max_length=options.max_length,
            truncation=options.truncation or DEFAULT_TRUNCATION,
            dtype=options.embedding_dtype,
            device=device,
        )

    @classmethod
    def of_recipe(cls, recipe: Mapping[str, Any], *, dtype: str, device: str) -> EmbeddingSettings:
        """The settings of an earlier run's cache, for embedding new sequences alike.

        The folder of a published model's files is not part of the recipe: the environment may name another.
        """
        embedder: Mapping[str, Any] = recipe["embedder"]
        parameters: Mapping[str, Any] = embedder.get("parameters") or {}
        return cls(
            embedder=str(embedder["name"]),
            run_id=parameters.get("run_id"),
            model=parameters.get("model") and os.environ.get(MODEL_VARIABLE, parameters["model"]),
            precision=parameters.get("precision", "float32"),
            granularity=recipe["granularity"],
            max_length=recipe["max_length"],
            truncation=recipe["truncation"],
            dtype=dtype,
            device=device,
        )

    def checkpoint_folder(self) -> Path | None:
        """The local checkpoint folder of the embedder's weights.

        None for an embedder that was not trained by a run.

        Raises:
            TrackingError, CheckpointError: it is not available; see `resolve_checkpoint`.
        """
        if self.run_id is None:
            return None
        if self.run_id.startswith(RELEASED_PREFIX):
            return _released_folder(self.run_id)
        return resolve_checkpoint(self.run_id, modes=EMBEDDER_MODES).folder

    def make(self, checkpoint: Path | None = None) -> Embedder:
        """Makes the embedder, with the weights of its checkpoint if any.

        Args:
            checkpoint: The folder of the weights; None: that of the embedder's run.

        Raises:
            ConfigError: there is no such embedder, or it does not support these settings.
            DeviceError: the device is not available.
            TrackingError, CheckpointError: its weights are not available.
        """
        folder = checkpoint or self.checkpoint_folder()
        return make_embedder(
            EmbedderRequest(
                name=self.embedder,
                granularity=self.granularity,
                weights=self._weights(folder) if folder else None,
                model=self.model,
                precision=self.precision,
                # The descriptors only count residues: they use no device, and log none.
                device=None if self.embedder == DEFAULT_EMBEDDER else resolve_device(self.device),
            )
        )

    def _weights(self, folder: Path) -> TrainedWeights:
        checkpoint = read_checkpoint(folder)
        return TrainedWeights(
            run_id=str(self.run_id),
            digest=checkpoint_digest(folder),
            description=checkpoint.description,
            tensors=checkpoint.weights,
        )

    def spec(self, embedder: Embedder, sequences: SequenceTable) -> CacheSpec:
        """The description that the cache of these sequences stores."""
        return CacheSpec(
            embedder=describe_embedder(embedder),
            dimension=embedder.dimension,
            granularity=embedder.granularity,
            dtype=self.dtype,
            max_length=self.max_length,
            truncation=self.truncation,
            fasta_digest=sequences.digest,
        )


def _precision(options: EmbedderOptions, device: str) -> str:
    """The precision of an embedder; for `auto`, bf16 if `protein_lm` runs where there is bf16.

    It is decided once, and not by each worker, whose processors may differ.

    Raises:
        DeviceError: the device is not available.
    """
    if options.embedder_precision != "auto":
        return options.embedder_precision
    precision = "float32"
    if options.embedder == "protein_lm":
        precision = "bf16" if has_fast_bf16(find_device(device)) else "float32"
        logger.info("embedder_precision=auto took %s", precision)
    return precision


@dataclass(frozen=True, kw_only=True)
class WorkerEmbedder:
    """Makes the embedder of some settings in a worker.

    `checkpoint` is the folder of its weights, found by the process that gives the work; None: the worker's
    installation has them, or there are none.
    """

    settings: EmbeddingSettings
    checkpoint: Path | None

    def __call__(self) -> Embedder:
        return self.settings.make(self.checkpoint)


def worker_embedder(settings: EmbeddingSettings, pool: Pool) -> WorkerEmbedder:
    """What makes the embedder in the workers of a pool.

    Raises:
        TrackingError, CheckpointError: its weights are not available.
        ClusterError: a worker does not see the folder of the weights.
    """
    packaged = settings.run_id and packaged_embedder(settings.run_id)
    folder = None if packaged else settings.checkpoint_folder()
    if folder is not None:
        folder = folder.absolute()
        check_files_visible(pool, [folder])
    return WorkerEmbedder(settings=settings, checkpoint=folder)


def _released_folder(embedder_id: str) -> Path:
    """The checkpoint of a released language model: this package's, or else that of its run.

    Raises:
        CheckpointError: neither this package nor the tracking server has this version of it.
    """
    folder = packaged_embedder(embedder_id)
    if folder is not None:
        return folder
    run_id = find_released_run(embedder_id)
    if run_id is None:
        raise CheckpointError(
            "this package carries another version of the released language model",
            got=embedder_id,
            expected=", ".join(find_release(name).embedder_id for name in release_names()),
            remedy="install the version of ppi_train that the model was trained with, or log its runs on "
            "this tracking server with it: mlflow run . --env-manager local -e promote -P released=human",
        )
    return resolve_checkpoint(run_id, modes=EMBEDDER_MODES).folder


def describe_embedder(embedder: Embedder) -> dict[str, object]:
    """The description of an embedder in a cache or checkpoint."""
    return {"name": embedder.name, "parameters": embedder.parameters(), "digest": embedder.digest()}


def sequences_to_embed(table: SequenceTable, needed: Collection[str]) -> SequenceTable:
    """All sequences of a FASTA, or the needed ones if they are less than half.

    A whole proteome is not embedded for a few pairs, and runs on most of a FASTA share its cache. The choice
    depends on nothing else, such as the caches that exist: `resume` compares the embeddings' digest.

    Args:
        table: The FASTA.
        needed: Accessions, of which at least one is in the FASTA.
    """
    wanted = set(needed)
    chosen = {name: sequence for name, sequence in table.sequences.items() if name in wanted}
    if 2 * len(chosen) >= len(table.sequences):
        return table
    logger.info(
        "%s: %s of %s sequences are needed, and only these are embedded",
        table.source, f"{len(chosen):,}", f"{len(table.sequences):,}",
    )  # fmt: skip
    return replace(table, sequences=chosen)


def find_or_make(
    sequences: SequenceTable, settings: EmbeddingSettings, data_dir: Path, pool: Pool | None = None
) -> tuple[Path, EmbeddingCounts]:
    """The embedding cache of sequences under `data_dir`, and what its making took.

    The file's name depends on everything that the embeddings depend on, so a cache that is found is the
    same as one that would be made.

    Args:
        sequences: The proteins.
        settings: Of the embedding.
        data_dir: Folder of the caches.
        pool: Does the work; None: this process.

    Raises:
        ConfigError: a cache is to be made, and `data_dir` cannot be written.
    """
    embedder = settings.make()
    spec = settings.spec(embedder, sequences)
    path = data_dir / "embeddings" / f"{embedder.name}-{spec.digest[:16]}.parquet"
    # Parts next to a complete cache are left by a process that died while removing them.
    if path.exists() and not parts_folder(path).exists():
        logger.info("embedding cache found: %s", path)
        distinct = len(set(sequences.sequences.values()))
        return path, EmbeddingCounts(proteins=len(sequences.sequences), reused=distinct)
    check_output_path("data_dir", path.parent, folder=True)
    counts = make_cache(
        path,
        sequences,
        embedder,
        spec,
        earlier=earlier_caches(data_dir),
        pool=pool,
        make=worker_embedder(settings, pool) if pool else None,
    )
    return path, counts


def earlier_caches(data_dir: Path) -> list[Path]:
    """The caches under `data_dir`, from which embeddings may be copied."""
    return sorted((data_dir / "embeddings").glob("*.parquet"))
