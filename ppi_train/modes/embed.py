"""The `embed` mode: makes a Parquet embedding cache from FASTA files.

The cache is made once for the same sequences and settings.
"""

from __future__ import annotations

import logging
import shlex
from pathlib import Path

from ppi_train.config.loading import logged_parameters
from ppi_train.data.fasta import joined_tables, read_fasta
from ppi_train.embeddings.cache.build import EmbeddingCounts, make_cache
from ppi_train.embeddings.cache.parts import parts_folder
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.errors import CacheError, ConfigError
from ppi_train.io.files import output_exists_error
from ppi_train.io.outputs import check_output_path
from ppi_train.modes.base import PipelineResult
from ppi_train.modes.workers import tracked_pool
from ppi_train.parallel.pool import Pool
from ppi_train.runs.configs import EmbedConfig
from ppi_train.runs.datasets import DEFAULT_DATASET, training_fastas
from ppi_train.runs.embedder import (
    DEFAULT_EMBEDDER,
    DEFAULT_TRUNCATION,
    EmbeddingSettings,
    earlier_caches,
    find_or_make,
    worker_embedder,
)
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)


def run(config: EmbedConfig, tracked: TrackedRun) -> PipelineResult:
    """Embeds a FASTA or a data set, and logs the cache's digest."""
    dataset = None if config.output.fasta else config.data.dataset or DEFAULT_DATASET
    config = config.replace(
        dataset=dataset,
        embedder=config.embedder.embedder or DEFAULT_EMBEDDER,
        truncation=config.embedder.truncation or DEFAULT_TRUNCATION,
        embedder_precision=_settings(config).precision,
    )
    label = dataset or Path(config.output.fasta or "").stem
    tracked.identify(dataset=label, embedder=config.embedder.embedder or "")
    tracked.log_parameters(logged_parameters(config))
    with tracked_pool(config.parallel, tracked) as pool:
        made = _embed_all(config, pool)
    paths = list(made)
    cache = EmbeddingCache(*paths)
    tracked.set_tags(
        {
            "ppi.embedding_cache_digest": cache.digest,
            "ppi.embedding_content_digest": cache.content_digest,
        }
    )
    metrics = {"embedding/proteins": float(len(cache)), "embedding/dimension": float(cache.spec.dimension)}
    metrics |= _work_metrics(list(made.values()))
    tracked.log_metrics(metrics)
    for path in paths:
        logger.info("cache: %s", path)
    return PipelineResult(
        run_id=tracked.run_id,
        metrics=metrics,
        outputs={"embeddings": ",".join(map(str, paths))},
        then=tuple(
            f"train_only -P embeddings={shlex.quote(str(path))} -P train_pairs=YOUR.tsv -P val_pairs=YOUR.tsv"
            for path in paths[:1]
        ),
    )


def inputs_of(config: EmbedConfig) -> dict[str, str]:
    """Digests of all inputs that the embeddings depend on."""
    digests = {str(path.name): read_fasta(path).digest for path in _fastas(config)}
    return {**digests, "embedder": _settings(config).make().digest()}


def _settings(config: EmbedConfig) -> EmbeddingSettings:
    return EmbeddingSettings.of_options(config.embedder, device=config.compute.device)


def _fastas(config: EmbedConfig) -> list[Path]:
    return [Path(config.output.fasta)] if config.output.fasta else training_fastas(config.data)


def _embed_all(config: EmbedConfig, pool: Pool) -> dict[Path, EmbeddingCounts]:
    settings = _settings(config)
    fastas = _fastas(config)
    if not config.output.output:
        made: dict[Path, EmbeddingCounts] = {}
        for fasta in fastas:  # files with the same sequences share a cache
            path, counts = find_or_make(read_fasta(fasta), settings, Path(config.data.data_dir), pool)
            made.setdefault(path, counts)
        return made
    output = Path(config.output.output)
    check_output(output, config.output.overwrite, continues=True)
    embedder = settings.make()
    merged = joined_tables([read_fasta(path) for path in fastas])
    earlier = [output] if output.exists() else []
    earlier += [path for path in earlier_caches(Path(config.data.data_dir)) if path != output]
    counts = make_cache(
        output,
        merged,
        embedder,
        settings.spec(embedder, merged),
        earlier=earlier,
        overwrite=config.output.overwrite,
        pool=pool,
        make=worker_embedder(settings, pool),
    )
    return {output: counts}


def _work_metrics(made: list[EmbeddingCounts]) -> dict[str, float]:
    """Metrics of the embedding work; a rate only if something was embedded."""
    metrics = {
        "embedding/embedded": float(sum(counts.embedded for counts in made)),
        "embedding/reused": float(sum(counts.reused for counts in made)),
        "embedding/seconds": sum(counts.seconds for counts in made),
    }
    residues = sum(counts.residues for counts in made)
    if residues:
        seconds = sum(counts.embedding_seconds for counts in made)
        metrics["embedding/residues_per_second"] = residues / seconds
        metrics["system/residues_per_second"] = residues / seconds
    return metrics


def check_output(output: Path, overwrite: bool, *, continues: bool = False) -> None:
    """Checks the output path of a cache before any work is done.

    Args:
        output: The cache.
        overwrite: Whether an existing file may be replaced.
        continues: Whether the finished cache of a process that died while it removed its parts may be there.

    Raises:
        ConfigError: the name is not that of a Parquet file, or the file exists and must not be overwritten,
            or it cannot be written.
    """
    if output.suffix != ".parquet":
        raise ConfigError(
            "the output is not a Parquet file", got=output, expected="a name that ends in .parquet"
        )
    check_output_path("output", output)
    if output.exists() and not overwrite and not (continues and _may_be_finished(output)):
        raise output_exists_error(output)


def _may_be_finished(output: Path) -> bool:
    """Whether a file is a cache with parts beside it.

    `make_cache` compares it with the cache that it would make.
    """
    if not parts_folder(output).exists():
        return False
    try:
        EmbeddingCache(output)
    except CacheError:
        return False
    return True
