"""The `predict` mode: scores pairs with the best checkpoint of a run."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppi_train.checkpoints import Checkpoint, model_from_checkpoint
from ppi_train.config.loading import logged_parameters
from ppi_train.config.options import DatasetOptions, DeviceOptions
from ppi_train.data.fasta import read_fasta
from ppi_train.data.pairs import PairTable, read_pairs
from ppi_train.data.protein_sets import ProteinList, read_proteins
from ppi_train.embeddings.cache.reader import EmbeddingCache, warn_of_other_numbers
from ppi_train.embeddings.options import CacheOptions
from ppi_train.errors import ConfigError, DataError
from ppi_train.features import features_of
from ppi_train.inference.output_parts import check_outputs
from ppi_train.inference.pair_grid import PairGrid, PairList
from ppi_train.inference.predict import Prediction, PredictionCounts, make_prediction
from ppi_train.inference.scan import EncodedProteins
from ppi_train.inference.scoring import encode_all
from ppi_train.io.files import file_digest
from ppi_train.io.outputs import check_output_path
from ppi_train.io.progress import Progress
from ppi_train.models.device import resolve_device
from ppi_train.modes.base import PipelineResult
from ppi_train.runs.checkpoints import ResolvedCheckpoint, resolve_candidate
from ppi_train.runs.configs import PredictConfig
from ppi_train.runs.datasets import training_fastas
from ppi_train.runs.embedder import EmbeddingSettings
from ppi_train.runs.inputs import (
    drop_or_refuse_missing,
    open_cache,
    refuse_missing,
    refuse_other_names,
)
from ppi_train.runs.lineage import code_version
from ppi_train.tracking.run import TrackedDataset, TrackedRun

logger = logging.getLogger(__name__)

# Larger files are not uploaded; the run records only their path and digest.
UPLOADED_BYTES = 50_000_000


@dataclass(frozen=True, kw_only=True)
class PredictionInputs:
    """Proteins by number, their embeddings, and pairs of these numbers.

    `digest` is the sha256 of the proteins and pairs, in their order. `dropped` counts what was left out
    because of `missing=drop`: pairs of a table, or proteins of lists.
    """

    name: str
    source: str
    cache: EmbeddingCache
    proteins: tuple[str, ...]
    pairs: PairGrid | PairList
    dropped: int

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


def prediction_inputs(config: PredictConfig, checkpoint: Checkpoint) -> PredictionInputs:
    """Reads pairs or proteins, and opens or makes their embeddings.

    Embeddings are made in the same way as those of the training run.

    Raises:
        DataError: a table, list or FASTA is wrong, or no pair is left.
        CacheError: the embeddings are not of the kind that the model was trained on, or proteins are
            missing and `missing=error`.
        ConfigError: there is nothing to embed.
    """
    options = config.prediction
    fastas = named_fastas(config.data, config.cache)
    if options.pairs:
        table = read_pairs(options.pairs, labels="ignored")
        cache = _cache(config, checkpoint, fastas, {table.source: table.proteins})
        return _of_table(config, table, cache, fastas)
    if options.proteins_a and options.proteins_b:
        lists = [read_proteins(path) for path in (options.proteins_a, options.proteins_b)]
        fastas = [*fastas, *(proteins.fasta for proteins in lists if proteins.fasta)]
        if not fastas and not config.cache.embeddings:
            raise ConfigError(
                "the proteins have neither sequences nor embeddings",
                where=", ".join(proteins.source for proteins in lists),
                got="accessions alone",
                remedy="give fasta, embeddings or dataset, or lists that are FASTA files",
            )
        named = {listed.source: listed.accessions for listed in lists}
        return _of_lists(config, lists, _cache(config, checkpoint, fastas, named), fastas)
    return _of_all(config, _cache(config, checkpoint, fastas, {}), fastas)


def named_fastas(data: DatasetOptions, cache: CacheOptions) -> list[Path]:
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
    cache: CacheOptions,
    compute: DeviceOptions,
    checkpoint: Checkpoint,
    fastas: Sequence[Path],
    named: Mapping[str, Collection[str]],
) -> EmbeddingCache:
    """The given embedding cache, or one made with the model's recipe.

    Args:
        data, cache, compute: Options of the mode.
        checkpoint: The model.
        fastas: What `named_fastas` gives, and others.
        named: The proteins that are scored, by the file that names them; empty for all.

    Raises:
        CacheError: see `open_cache`; proteins that are to be embedded have no sequence.
    """
    if cache.embeddings is None and named:
        refuse_other_names(named, fastas, missing=cache.missing)
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
    )
    warn_of_other_numbers(opened, embedding)
    return opened


def _cache(
    config: PredictConfig,
    checkpoint: Checkpoint,
    fastas: Sequence[Path],
    named: Mapping[str, Collection[str]],
) -> EmbeddingCache:
    return opened_cache(config.data, config.cache, config.compute, checkpoint, fastas, named)


def _of_table(
    config: PredictConfig, table: PairTable, cache: EmbeddingCache, fastas: Sequence[Path]
) -> PredictionInputs:
    if table.duplicates:
        logger.info("%s: %s duplicate rows merged", table.source, f"{table.duplicates:,}")
    name = Path(table.source).stem
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
    )


def _of_all(config: PredictConfig, cache: EmbeddingCache, fastas: Sequence[Path]) -> PredictionInputs:
    source = config.cache.fasta or config.data.dataset or str(config.cache.embeddings)
    named = {name for fasta in fastas for name in read_fasta(fasta).sequences} or set(cache.lengths)
    proteins = _with_embedding(sorted(named), source, config, cache, fastas)
    return PredictionInputs(
        name=config.data.dataset or Path(source).stem,
        source=source,
        cache=cache,
        proteins=tuple(proteins),
        pairs=_with_pairs(
            PairGrid(shared=len(proteins), include_self=config.prediction.include_self), source
        ),
        dropped=len(named) - len(proteins),
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


def run(config: PredictConfig, tracked: TrackedRun) -> PipelineResult:
    """Scores pairs, writes the table, and records it in the run.

    The run gets the path and digest of the table, and the table itself if it is small.

    Raises:
        ConfigError: an output exists or cannot be written, or there are parts of another prediction.
        TrackingError: no such run or registered model.
        CheckpointError: the run has no complete checkpoint.
        DataError, CacheError: see `prediction_inputs`.
        StorageError: the disk is full.
    """
    options = config.prediction
    output, edges = Path(str(options.output)), Path(options.edges) if options.edges else None
    check_output_path("output", output)
    if edges:
        check_output_path("edges", edges)
    check_outputs(output, edges, overwrite=options.overwrite)
    resolved = resolve_candidate(config.evaluated)
    checkpoint = resolved.read()
    inputs = prediction_inputs(config, checkpoint)
    device = resolve_device(config.compute.device)
    _log_start(config, tracked, resolved, checkpoint, inputs)
    origin = {
        "checkpoint": resolved.digest,
        **inputs.cache.digests,
        "proteins": inputs.digest,
        "device": device.type,
    }
    prediction = Prediction(
        output=output,
        edges=edges,
        overwrite=options.overwrite,
        proteins=inputs.proteins,
        pairs=inputs.pairs,
        top_k=options.top_k,
        min_probability=options.min_probability,
        uncertainty=options.uncertainty,
        origin=origin,
        about={"run_id": resolved.run.run_id, "model": checkpoint.description["model"]["name"]},
    )
    counts = make_prediction(prediction, lambda: encoded_proteins(checkpoint, inputs, device))
    metrics = _metrics(counts, inputs)
    tracked.log_metrics(metrics)
    outputs = _log_files(tracked, output, edges)
    logger.info("%s of %s pairs kept: %s", f"{counts.kept:,}", f"{counts.pairs:,}", output)
    return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs=outputs)


def encoded_proteins(
    checkpoint: Checkpoint, inputs: PredictionInputs, device: torch.device
) -> EncodedProteins:
    """The model of a checkpoint and the encoded states of all proteins."""
    model = model_from_checkpoint(checkpoint, device)
    features = features_of(inputs.cache, inputs.proteins, model.GRANULARITY).to(device)
    with Progress(len(features), unit="protein") as progress:
        states = encode_all(model, features, encoded=progress.advance)
    return EncodedProteins(model=model, states=states, device=device)


def _log_start(
    config: PredictConfig,
    tracked: TrackedRun,
    resolved: ResolvedCheckpoint,
    checkpoint: Checkpoint,
    inputs: PredictionInputs,
) -> None:
    tracked.identify(
        model=checkpoint.description["model"]["name"],
        dataset=inputs.name,
        evaluated_run_id=resolved.run.run_id,
        code_version=code_version(),
        **inputs.cache.tags,
    )
    tracked.log_parameters(logged_parameters(config))
    tracked.log_datasets([inputs.dataset])
    link = tracked.link_to(resolved.run.run_id, resolved.run.name, resolved.run.experiment_id)
    tracked.describe(f"Scores pairs of {inputs.name} with the best checkpoint of {link}.")
    pairs, proteins = inputs.pairs.pairs, len(inputs.proteins)
    logger.info("%s pairs of %s proteins", f"{pairs:,}", f"{proteins:,}")


def _metrics(counts: PredictionCounts, inputs: PredictionInputs) -> dict[str, float]:
    """Counts, and the scoring rate if anything was scored."""
    metrics = {
        "predict/proteins": float(len(inputs.proteins)),
        "predict/pairs": float(counts.pairs),
        "predict/kept": float(counts.kept),
        "predict/dropped": float(inputs.dropped),
    }
    if counts.scored:
        metrics["throughput/pairs_per_second"] = counts.scored / counts.seconds
    return metrics


def _log_files(tracked: TrackedRun, output: Path, edges: Path | None) -> dict[str, str]:
    """Tags the path and digest of each file, and uploads small files."""
    files = {"output": output, "edges": edges}
    outputs = {name: str(path) for name, path in files.items() if path is not None}
    tags: dict[str, str] = {}
    for name, path in files.items():
        if path is None:
            continue
        tags |= {f"ppi.{name}": str(path.absolute()), f"ppi.{name}_digest": file_digest(path)}
        if path.stat().st_size < UPLOADED_BYTES:
            tracked.log_file(path, "predictions")
    tracked.set_tags(tags)
    return outputs
