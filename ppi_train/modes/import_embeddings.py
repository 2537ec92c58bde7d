"""The `import_embeddings` mode: checks external embeddings and writes an embedding cache."""

from __future__ import annotations

import logging
import shlex
from contextlib import ExitStack
from pathlib import Path

from ppi_train.config.loading import logged_parameters
from ppi_train.data.fasta import read_fasta
from ppi_train.embeddings.cache.parts import parts_folder
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.embeddings.import_reading import read_by_workers
from ppi_train.embeddings.import_sources import EmbeddingSource, open_source
from ppi_train.embeddings.importing import ImportRules, Survey, survey, write_import
from ppi_train.embeddings.options import ImportOptions
from ppi_train.io.progress import Progress
from ppi_train.modes.base import PipelineResult
from ppi_train.modes.embed import check_output
from ppi_train.modes.workers import tracked_pool
from ppi_train.parallel.pool import Pool
from ppi_train.runs.configs import ImportConfig
from ppi_train.runs.embedder import DEFAULT_TRUNCATION
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)


def run(config: ImportConfig, tracked: TrackedRun) -> PipelineResult:
    """Imports the embeddings of a FASTA's proteins, and records the cache's digest."""
    config = config.replace(truncation=config.source.truncation or DEFAULT_TRUNCATION)
    options = config.source
    tracked.identify(dataset=Path(options.fasta or "").stem, embedder=options.embedder_name or "")
    tracked.log_parameters(logged_parameters(config))
    output = Path(options.output or "")
    check_output(output, options.overwrite)
    with tracked_pool(config.parallel, tracked) as pool:
        found = _import(options, output, pool)
    cache = EmbeddingCache(output)
    tracked.set_tags(
        {
            "ppi.embedding_cache_digest": cache.digest,
            "ppi.embedding_content_digest": cache.content_digest,
        }
    )
    tracked.describe(_note(found))
    metrics = {
        "embedding/proteins": float(len(cache)),
        "embedding/dimension": float(cache.spec.dimension),
        "embedding/missing_proteins": float(len(found.missing)),
        "embedding/extra_proteins": float(len(found.extra)),
    }
    tracked.log_metrics(metrics)
    logger.info("cache: %s: %s", output, _note(found))
    return PipelineResult(
        run_id=tracked.run_id,
        metrics=metrics,
        outputs={"embeddings": str(output)},
        then=(
            f"train_only -P embeddings={shlex.quote(str(output))} "
            "-P train_pairs=YOUR.tsv -P val_pairs=YOUR.tsv",
        ),
    )


def _import(options: ImportOptions, output: Path, pool: Pool) -> Survey:
    table = read_fasta(options.fasta or "")
    source = open_source(Path(options.source or ""), granularity=options.granularity, layer=options.layer)
    rules = ImportRules(
        embedder_name=options.embedder_name or "",
        granularity=options.granularity,
        dtype=options.embedding_dtype,
        max_length=options.max_length,
        truncation=options.truncation or DEFAULT_TRUNCATION,
        missing=options.missing,
    )
    logger.info("checking %s embeddings in %s", f"{len(source.labels):,}", source.path)
    with ExitStack() as stack:

        def read_ahead(source: EmbeddingSource, places: list[str]) -> EmbeddingSource:
            folder, layer = parts_folder(output), options.layer
            reading = read_by_workers(
                source, places, pool, folder, granularity=options.granularity, layer=layer
            )
            return stack.enter_context(reading) if pool.remote else source

        with Progress(len(table.sequences), unit="protein") as progress:
            found = survey(source, table, rules, progress.advance, read_ahead)
        if options.layer is not None and found.source.layer is None:
            logger.warning("layer=%s has no effect: the source does not record its layer", options.layer)
        logger.info("all embeddings passed the checks; writing %s", output)
        with Progress(len(found.places), unit="protein") as progress:
            write_import(found, output, progress.advance)
    return found


def _note(found: Survey) -> str:
    spec, layer = found.spec, found.source.layer
    of_layer = "" if layer is None else f", layer {layer}"
    return (
        f"{len(found.places):,} proteins by {spec.embedder['name']}{of_layer}: "
        f"granularity {spec.granularity}, {spec.dimension} dimensions, {spec.dtype}"
    )
