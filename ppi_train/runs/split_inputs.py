"""Inputs of an evaluation: pairs, and embeddings made as in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ppi_train.checkpoints import Checkpoint
from ppi_train.config.loading import load_config
from ppi_train.config.schema import MODES, FinetuneConfig, ScoringConfig, TrainConfig
from ppi_train.errors import UserError
from ppi_train.runs.checkpoints import ResolvedCheckpoint
from ppi_train.runs.embedder import EmbeddingSettings
from ppi_train.runs.inputs import Inputs, open_cache, read_tables, settle_missing
from ppi_train.runs.leakage import logged_pairs
from ppi_train.runs.split_source import EvaluatedSplit, Trained, evaluated_split


def trained_config(checkpoint: Checkpoint) -> Trained:
    """The config of the run that wrote a checkpoint."""
    schema = MODES[checkpoint.description["mode"]]
    trained, _ = load_config(schema, checkpoint.description["config"])
    assert isinstance(trained, TrainConfig | FinetuneConfig)
    return trained


def evaluation_inputs(
    config: ScoringConfig, split: EvaluatedSplit, checkpoint: Checkpoint, trained: Trained
) -> Inputs:
    """Reads the pairs of a split, and opens or makes their embeddings.

    Raises:
        DataError: the pairs are wrong.
        CacheError: the embeddings are not of the kind that the model was trained on, or are missing.
    """
    tables = read_tables({split.split: split.files})
    embedding: dict[str, Any] = checkpoint.description["embedding"]
    recipe = embedding["recipe"]
    fasta = split.files.fasta
    cache = open_cache(
        config.embeddings or (trained.embeddings if fasta is None else None),
        [fasta] if fasta else [],
        EmbeddingSettings.of_recipe(recipe, dtype=embedding["dtype"], device=config.device),
        data_dir=Path(config.data_dir),
        wanted=recipe,
        memory_mb=config.cache_memory_mb,
    )
    return settle_missing(split.name, tables, cache, missing=config.missing, fasta=fasta)


def validation_inputs(resolved: ResolvedCheckpoint, config: ScoringConfig, scored: Inputs) -> Inputs:
    """The validation pairs of a run, whichever split the config scores.

    They are the pairs that the run has logged, with the embeddings of the scored split if those have all of
    the proteins; otherwise pairs and embeddings come from the files that the run was trained on.

    Args:
        resolved: The run.
        config: Config of the evaluation.
        scored: Inputs of the scored split.

    Raises:
        UserError: they are no longer available.
    """
    try:
        table = logged_pairs(resolved.run, "validation")
    except UserError:
        table = None
    if table is not None and not scored.cache.missing(table.proteins):
        return Inputs(name=scored.name, tables={"validation": table}, cache=scored.cache, dropped={})
    checkpoint = resolved.read()
    trained = trained_config(checkpoint)
    own = replace(
        config, split="validation", dataset=None, test_pairs=None, fasta=None, embeddings=trained.embeddings
    )
    split = evaluated_split(own, trained, resolved.run.run_id)
    return evaluation_inputs(own, split, checkpoint, trained)
