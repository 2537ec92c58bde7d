"""The `predict` mode: scores pairs with the best checkpoint of a run."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch

from ppi_train.checkpoints import Checkpoint, model_from_checkpoint
from ppi_train.config.loading import logged_parameters
from ppi_train.evaluation.base_rate import expected_metrics, expected_text
from ppi_train.evaluation.pair_metrics import sigmoid
from ppi_train.features import features_of
from ppi_train.inference.input_statistics import take_asked_statistics
from ppi_train.inference.output import Annotations
from ppi_train.inference.output_parts import check_outputs
from ppi_train.inference.predict import Workers, make_prediction
from ppi_train.inference.prediction import Prediction, PredictionCounts
from ppi_train.inference.scan import EncodedProteins
from ppi_train.inference.scoring import encode_all
from ppi_train.io.files import file_digest
from ppi_train.io.outputs import MANIFEST, check_output_path
from ppi_train.io.progress import Progress
from ppi_train.models.device import resolve_device
from ppi_train.modes.base import PipelineResult
from ppi_train.modes.predict.inputs import PredictionInputs, prediction_inputs
from ppi_train.modes.predict.marks import annotate, novel_pairs, read_known
from ppi_train.modes.predict.messages import best_partners_text, files_text
from ppi_train.modes.workers import tracked_pool
from ppi_train.runs.checkpoints import ResolvedCheckpoint, resolve_candidate
from ppi_train.runs.configs import PredictConfig
from ppi_train.runs.lineage import code_version
from ppi_train.runs.training_pairs import calibration_prevalence
from ppi_train.tracking.run import TrackedRun

logger = logging.getLogger(__name__)

# Larger files are not uploaded; the run records only their path and digest.
UPLOADED_BYTES = 50_000_000


def run(config: PredictConfig, tracked: TrackedRun) -> PipelineResult:
    """Scores pairs, writes the table, and records it in the run.

    The run gets the path and digest of the table, and the table itself if it is small.

    Raises:
        ConfigError: an output exists or cannot be written, or there are parts of another prediction.
        TrackingError: no such run or registered model.
        CheckpointError: the run has no complete checkpoint.
        DataError, CacheError: see `prediction_inputs`, `read_known` and `annotate`.
        StorageError: the disk is full.
    """
    options = config.prediction
    output, edges = Path(str(options.output)), Path(options.edges) if options.edges else None
    check_output_path("output", output, folder=options.folder)
    if edges:
        check_output_path("edges", edges)
    given = {name: getattr(options, name) for name in ("top_k", "min_probability", "uncertainty")}
    check_outputs(output, edges, overwrite=options.overwrite, job=given)
    with tracked_pool(config.parallel, tracked) as pool:
        resolved = resolve_candidate(config.evaluated)
        checkpoint = resolved.read()
        known = read_known(config)
        inputs = prediction_inputs(config, checkpoint, pool)
        device = resolve_device(config.compute.device)
        if config.statistics.asked:
            checkpoint = with_asked_statistics(checkpoint, inputs)
        _log_start(config, tracked, resolved, checkpoint, inputs)
        annotations = annotate(config, inputs, resolved, known)
        if options.novel_only:
            inputs = novel_pairs(inputs, annotations)
        prediction = _prediction(
            config, inputs, annotations, resolved, device, checkpoint.description["model"]["name"]
        )
        counts = make_prediction(
            prediction,
            lambda: encoded_proteins(checkpoint, inputs, device),
            Workers(pool=pool, checkpoint=checkpoint, device=str(device)) if pool.remote else None,
        )
    expected, lines = _expected_precision(counts, resolved)
    metrics = _metrics(counts, inputs) | expected
    tracked.log_metrics(metrics)
    outputs = _log_files(tracked, output, edges)
    lines += [
        best_partners_text(query, partners, inputs.proteins, annotations)
        for query, partners in counts.best.items()
    ]
    for line in (*lines, files_text(counts, output, edges)):
        logger.info("%s", line)
    return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs=outputs)


def _prediction(
    config: PredictConfig,
    inputs: PredictionInputs,
    annotations: Annotations,
    resolved: ResolvedCheckpoint,
    device: torch.device,
    model: str,
) -> Prediction:
    options = config.prediction
    origin = {
        "checkpoint": resolved.digest,
        **inputs.cache.digests,
        "proteins": inputs.digest,
        "device": device.type,
        **({"input_statistics": "asked"} if config.statistics.asked else {}),
    }
    return Prediction(
        output=Path(str(options.output)),
        folder=options.folder,
        edges=Path(options.edges) if options.edges else None,
        overwrite=options.overwrite,
        proteins=inputs.proteins,
        pairs=inputs.pairs,
        queries=inputs.queries,
        top_k=options.top_k,
        min_probability=options.min_probability,
        uncertainty=options.uncertainty,
        annotations=annotations,
        origin=origin,
        about={"run_id": resolved.run.run_id, "model": model},
    )


def with_asked_statistics(checkpoint: Checkpoint, inputs: PredictionInputs) -> Checkpoint:
    """The checkpoint with the input statistics of all proteins that are asked about.

    They are among the weights, from which every process makes the model.

    Raises:
        DataError: there are too few proteins.
    """
    model = model_from_checkpoint(checkpoint, torch.device("cpu"))
    take_asked_statistics(
        model, features_of(inputs.cache, inputs.proteins, model.GRANULARITY), where=inputs.source
    )
    return replace(checkpoint, weights=model.state_dict())


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
        "predict/tasks": float(counts.tasks),
        "predict/kept": float(counts.kept),
        "predict/dropped": float(inputs.dropped),
        **{f"predict/{mark}": float(count) for mark, count in counts.marked.items()},
    }
    if counts.scored:
        metrics["system/pairs_per_second"] = counts.scored / counts.seconds
    return metrics


def _expected_precision(
    counts: PredictionCounts, resolved: ResolvedCheckpoint
) -> tuple[dict[str, float], list[str]]:
    """Metrics and lines of what can be expected where interactions are rare; empty if that is not known."""
    prevalence = calibration_prevalence(resolved.run)
    if prevalence is None:
        return {}, []
    # In float64: the highest probabilities are 1 in float32.
    probabilities = sigmoid(counts.highest)
    text = expected_text(probabilities, prevalence)
    return expected_metrics(probabilities, prevalence), [text] if text else []


def _log_files(tracked: TrackedRun, output: Path, edges: Path | None) -> dict[str, str]:
    """Tags the path and digest of each output, and uploads small ones.

    The digest of a folder is that of its manifest, which has those of its parts.
    """
    files = {"output": output, "edges": edges}
    outputs = {name: str(path) for name, path in files.items() if path is not None}
    tags: dict[str, str] = {}
    for name, path in files.items():
        if path is None:
            continue
        digest = file_digest(path / MANIFEST if path.is_dir() else path)
        tags |= {f"ppi.{name}": str(path.absolute()), f"ppi.{name}_digest": digest}
        content, folder = [path], "predictions"
        if path.is_dir():
            content, folder = sorted(path.iterdir()), f"predictions/{path.name}"
        if sum(file.stat().st_size for file in content) < UPLOADED_BYTES:
            for file in content:
                tracked.log_file(file, folder)
    tracked.set_tags(tags)
    return outputs
