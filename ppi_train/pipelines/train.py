"""`train_only`, alias `pretrain_only`: train, log, checkpoint, evaluate on validation."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import yaml

from ppi_train.config.loading import config_values, logged_parameters
from ppi_train.config.schema import ModelOptions, TrainConfig
from ppi_train.data.embedding_cache import EmbeddingCache, describe_cache
from ppi_train.evaluation.pair_metrics import pair_metrics, ranking_metrics
from ppi_train.models.base import PairModel
from ppi_train.models.registry import build_model
from ppi_train.pipelines.embed import DEFAULT_EMBEDDER, DEFAULT_TRUNCATION, EmbeddingSettings
from ppi_train.pipelines.evaluation_output import log_evaluation
from ppi_train.pipelines.execute import PipelineResult
from ppi_train.pipelines.inputs import Inputs, SplitFiles, open_cache, read_tables, settle_missing
from ppi_train.pipelines.models import model_from_checkpoint
from ppi_train.pipelines.prepare_data import DEFAULT_DATASET, prepare
from ppi_train.tracking.run import TrackedRun
from ppi_train.training.batches import PairData
from ppi_train.training.checkpoint import read_checkpoint
from ppi_train.training.device import describe_device, resolve_device, seed_everything
from ppi_train.training.loop import Trainer, TrainResult
from ppi_train.training.scoring import score_pairs

logger = logging.getLogger(__name__)

_SCORER = "ppi_train.pipelines.served_scorer:SequenceScorer"


def run(config: TrainConfig, tracked: TrackedRun) -> PipelineResult:
    """Trains a model; its checkpoints, metrics and figures are in the tracked run.

    Raises:
        UserError: see the layers below; whatever was finished by then is uploaded.
    """
    config, inputs = load_training_inputs(config)
    device = resolve_device(config.device)
    tracked.identify(model=config.model, device=describe_device(device), **inputs.tags)
    output = Path(config.output_dir) / tracked.run_id
    _log_start(config, inputs, tracked, output)
    seed_everything(config.seed, deterministic=config.deterministic)
    train, validation = inputs.pair_data("train").to(device), inputs.pair_data("validation").to(device)
    trainer = Trainer(
        _new_model(config, inputs.cache, train).to(device),
        config,
        train=train,
        validation=validation,
        ranking_metrics=ranking_metrics,
        log=tracked.log_metrics,
        checkpoints=output / "checkpoints",
        description=_description(config, inputs.cache),
    )
    try:
        result = trainer.run()
    finally:
        # Also when training breaks off: what was computed is not lost.
        if (output / "checkpoints").exists():
            tracked.log_folder(output / "checkpoints", "checkpoints")
    metrics = _log_end(config, inputs, validation, result, tracked, output)
    return PipelineResult(run_id=tracked.run_id, metrics=metrics, outputs={"checkpoints": str(output)})


def load_training_inputs(config: TrainConfig) -> tuple[TrainConfig, Inputs]:
    """The pairs and embeddings of a training run, and the config with its defaults filled in."""
    files, name = _training_files(config)
    tables = read_tables(files)
    fastas = [one.fasta for one in files.values() if one.fasta]
    wanted: dict[str, object] = {"embedder_name": config.embedder}
    if config.embeddings:
        # Only what the user asked for is held against a cache that the user names.
        asked = {"max_length": config.max_length, "truncation": config.truncation}
        wanted |= {key: value for key, value in asked.items() if value is not None}
    settings = EmbeddingSettings(
        embedder=config.embedder or DEFAULT_EMBEDDER,
        max_length=config.max_length,
        truncation=config.truncation or DEFAULT_TRUNCATION,
        dtype=config.embedding_dtype,
    )
    cache = open_cache(
        config.embeddings,
        fastas,
        settings,
        data_dir=Path(config.data_dir),
        wanted=wanted,
    )
    fasta = fastas[0] if fastas else None
    inputs = settle_missing(name, tables, cache, missing=config.missing, fasta=fasta)
    recipe = cache.spec
    resolved = replace(
        config,
        dataset=None if config.train_pairs else name,
        # A cache that the user names may come from an embedder that only they have.
        embedder=config.embedder if config.embeddings else str(recipe.embedder["name"]),
        max_length=recipe.max_length,
        truncation=recipe.truncation,
        embedding_dtype=recipe.dtype,
    )
    return resolved, inputs


def _training_files(config: TrainConfig) -> tuple[dict[str, SplitFiles], str]:
    if config.train_pairs and config.val_pairs:
        fasta = Path(config.fasta) if config.fasta else None
        own = {"train": Path(config.train_pairs), "validation": Path(config.val_pairs)}
        files = {split: SplitFiles(pairs=path, fasta=fasta) for split, path in own.items()}
        return files, Path(config.train_pairs).stem
    dataset = prepare(config, ("train", "validation"))
    files = {
        split: SplitFiles(pairs=one.pairs, fasta=None if config.embeddings else one.fasta)
        for split, one in dataset.splits.items()
    }
    return files, config.dataset or DEFAULT_DATASET


def _hyperparameters(config: TrainConfig) -> dict[str, object]:
    names = [one.name for one in dataclasses.fields(ModelOptions) if one.name != "model"]
    return {name: getattr(config, name) for name in names}


def _new_model(config: TrainConfig, cache: EmbeddingCache, train: PairData) -> PairModel:
    model = build_model(config.model, input_dim=cache.spec.dimension, **_hyperparameters(config))
    model.fit_input_statistics(train.features.cpu())
    return model


def _description(config: TrainConfig, cache: EmbeddingCache) -> dict[str, object]:
    return {
        "model": {
            "name": config.model,
            "input_dim": cache.spec.dimension,
            "hyperparameters": _hyperparameters(config),
        },
        "embedding": describe_cache(cache),
        "config": config_values(config),
    }


def _log_start(config: TrainConfig, inputs: Inputs, tracked: TrackedRun, output: Path) -> None:
    tracked.log_parameters(logged_parameters(config))
    inputs.log(tracked)
    output.mkdir(parents=True, exist_ok=True)
    config_file = output / "config.yaml"
    config_file.write_text(yaml.safe_dump(config_values(config), sort_keys=False))
    tracked.log_file(config_file)
    if inputs.dropped:
        inputs.write_dropped(output / "dropped")
        tracked.log_folder(output / "dropped", "dropped")
    for split, table in inputs.tables.items():
        logger.info("%s: %s pairs of %s proteins", split, f"{len(table):,}", f"{len(table.proteins):,}")


def _log_end(
    config: TrainConfig,
    inputs: Inputs,
    validation: PairData,
    result: TrainResult,
    tracked: TrackedRun,
    output: Path,
) -> dict[str, float]:
    """Scores validation with the best checkpoint, and logs figures, predictions and the model."""
    best = output / "checkpoints" / "best"
    model = model_from_checkpoint(read_checkpoint(best), validation.pairs.device)
    logits = score_pairs(model, validation).cpu().numpy()
    measured = pair_metrics(logits, validation.labels.cpu().numpy().astype(np.int8), are_logits=True)
    metrics = {
        **{f"val/{name}_best": result.best[f"val/{name}"] for name in ("auroc", "auprc", "loss")},
        **{f"val/{name}": value for name, value in measured.items() if name not in ("auroc", "auprc")},
        "best_epoch": result.best["epoch"],
        "throughput/training_pairs_per_second": result.pairs_per_second,
        "throughput/seconds_to_first_step": result.first_step_at - tracked.started_at,
        "throughput/startup_seconds": result.first_step_at - psutil.Process().create_time(),
    }
    log_evaluation(
        inputs.tables["validation"],
        logits,
        tracked,
        output,
        title=f"{config.model} on {inputs.name}, validation",
        split="validation",
        history=result.history,
        best_metric=config.early_stopping_metric,
    )
    model_id = tracked.log_model(
        f"{config.model}-{inputs.name}",
        best,
        scorer=_SCORER,
        requirements=served_requirements(),
        parameters=logged_parameters(config),
        tags={"ppi.model": config.model, "ppi.dataset": inputs.name},
    )
    metrics["throughput/tracking_seconds"] = tracked.seconds
    tracked.log_metrics(metrics, model_id=model_id)
    logger.info(
        "best epoch %d: val AUROC %.4f, val AUPRC %.4f; training %s pairs/s; run %s",
        int(metrics["best_epoch"]), metrics["val/auroc_best"], metrics["val/auprc_best"],
        f"{result.pairs_per_second:,.0f}", tracked.run_id,
    )  # fmt: skip
    return metrics


def served_requirements() -> list[str]:
    """The project's own dependencies at the versions that are installed, for whoever serves the model."""
    names = [re.split(r"[<>=!~; \[]", one)[0] for one in importlib.metadata.requires("ppi_train") or []]
    needed = [name for name in names if name in ("torch", "mlflow", "pyarrow", "safetensors", "pooch")]
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in needed]
