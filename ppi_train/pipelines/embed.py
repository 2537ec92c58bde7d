"""`embed`: FASTA -> Parquet embedding cache, made once for the same sequences and settings."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

from ppi_train.config.loading import logged_parameters
from ppi_train.config.schema import EmbedConfig
from ppi_train.data.cache_format import CacheSpec
from ppi_train.data.cache_writer import CacheWriter
from ppi_train.data.embedding_cache import EmbeddingCache
from ppi_train.data.fasta import SequenceTable, read_fasta, sequence_digest
from ppi_train.embedders.base import Embedder
from ppi_train.embedders.truncation import truncate
from ppi_train.errors import ConfigError
from ppi_train.pipelines.embedding_settings import DEFAULT_EMBEDDER, DEFAULT_TRUNCATION, EmbeddingSettings
from ppi_train.pipelines.execute import PipelineResult
from ppi_train.pipelines.prepare_data import DEFAULT_DATASET, prepare
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)

# Sequences turned into embeddings at once: bounds the memory, whatever the size of the FASTA.
CHUNK = 2048


def cached_embeddings(fasta: Path, settings: EmbeddingSettings, data_dir: Path) -> Path:
    """The cache of a FASTA under `data_dir`, made if it is not there.

    The file's name follows from all that its numbers follow from, so what is found is what would
    be made.
    """
    sequences = read_fasta(fasta)
    embedder = settings.make()
    spec = settings.spec(embedder, sequences)
    path = data_dir / "embeddings" / f"{embedder.name}-{spec.digest[:16]}.parquet"
    if path.exists():
        logger.info("embedding cache found: %s", path)
        return path
    write_cache(path, sequences, embedder, spec)
    return path


def write_cache(path: Path, sequences: SequenceTable, embedder: Embedder, spec: CacheSpec) -> None:
    """Embeds the sequences, sorted by accession, so that the same input gives the same bytes."""
    started = time.perf_counter()
    accessions = sorted(sequences.sequences)
    with CacheWriter(path, spec) as writer:
        for start in range(0, len(accessions), CHUNK):
            chunk = accessions[start : start + CHUNK]
            full = [sequences.sequences[one] for one in chunk]
            kept = [
                truncate(one, sequence, max_length=spec.max_length, truncation=spec.truncation)
                for one, sequence in zip(chunk, full, strict=True)
            ]
            for one, sequence, vector in zip(chunk, full, embedder.embed(kept), strict=True):
                writer.add(one, sequence_digest(sequence), len(sequence), vector)
    seconds = time.perf_counter() - started
    logger.info("embedded %s proteins in %.1f s: %s", f"{len(accessions):,}", seconds, path)


def run(config: EmbedConfig, tracked: TrackedRun) -> PipelineResult:
    """Embeds a FASTA, or the sequences of a data set, and records the cache's digest."""
    dataset = None if config.fasta else config.dataset or DEFAULT_DATASET
    config = replace(
        config,
        dataset=dataset,
        embedder=config.embedder or DEFAULT_EMBEDDER,
        truncation=config.truncation or DEFAULT_TRUNCATION,
    )
    label = dataset or Path(config.fasta or "").stem
    tracked.identify(dataset=label, embedder=config.embedder or "")
    tracked.log_parameters(logged_parameters(config))
    paths = _embed_all(config)
    cache = EmbeddingCache(*paths)
    tracked.set_tags({"ppi.embedding_cache_digest": cache.digest})
    metrics = {"embedding/proteins": float(len(cache)), "embedding/dimension": float(cache.spec.dimension)}
    tracked.log_metrics(metrics)
    for path in paths:
        logger.info("cache: %s", path)
    return PipelineResult(
        run_id=tracked.run_id, metrics=metrics, outputs={"embeddings": ",".join(map(str, paths))}
    )


def inputs_of(config: EmbedConfig) -> dict[str, str]:
    """Digests of all that the embeddings follow from."""
    digests = {str(path.name): read_fasta(path).digest for path in _fastas(config)}
    return {**digests, "embedder": _settings(config).make().digest()}


def _settings(config: EmbedConfig) -> EmbeddingSettings:
    return EmbeddingSettings.of_config(config, device=config.device)


def _fastas(config: EmbedConfig) -> list[Path]:
    if config.fasta:
        return [Path(config.fasta)]
    dataset = prepare(config, ("train", "validation"))
    return sorted({split.fasta for split in dataset.splits.values()})


def _embed_all(config: EmbedConfig) -> list[Path]:
    settings = _settings(config)
    fastas = _fastas(config)
    if not config.output:
        return [cached_embeddings(one, settings, Path(config.data_dir)) for one in fastas]
    output = Path(config.output)
    _check_output(output, config.overwrite)
    embedder = settings.make()
    merged = _merge([read_fasta(one) for one in fastas])
    write_cache(output, merged, embedder, settings.spec(embedder, merged))
    return [output]


def _check_output(output: Path, overwrite: bool) -> None:
    if output.suffix != ".parquet":
        raise ConfigError(
            "the output is not a Parquet file", got=output, expected="a name that ends in .parquet"
        )
    if output.exists() and not overwrite:
        raise ConfigError(
            "the output exists", where=output.absolute(), remedy="give another output, or overwrite=true"
        )


def _merge(tables: list[SequenceTable]) -> SequenceTable:
    """The sequences of the FASTA files of one data set, in which an accession has one sequence."""
    first, *others = tables
    if not others:
        return first
    sequences = {name: one for table in tables for name, one in table.sequences.items()}
    return replace(first, sequences=sequences, source=", ".join(table.source for table in tables))
