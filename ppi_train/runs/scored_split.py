"""Splits that are scored: choice of the pairs, their embeddings, the scores.

The pairs are those that the user names, or else a split that belongs to the run's training data. Their
embeddings are made as in training, and the best checkpoint of the run scores them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppi_train.checkpoints import Checkpoint, model_from_checkpoint
from ppi_train.config.loading import load_config
from ppi_train.config.options import DatasetOptions
from ppi_train.config.places import cache_here, file_here
from ppi_train.data.benchmarks import NotInMirrorError
from ppi_train.data.benchmarks.prepare import Split
from ppi_train.data.pairs import PairTable
from ppi_train.embeddings.cache.reader import EmbeddingCache, has_other_numbers, warn_of_other_numbers
from ppi_train.errors import CacheError, ConfigError, UserError
from ppi_train.inference.input_statistics import take_asked_statistics
from ppi_train.inference.scoring import score_pairs_with_uncertainty
from ppi_train.models.device import resolve_device, seed_everything
from ppi_train.runs.checkpoints import ResolvedCheckpoint
from ppi_train.runs.configs import MODES, FinetuneConfig, ScoringConfig, TrainConfig
from ppi_train.runs.datasets import DEFAULT_DATASET, prepare
from ppi_train.runs.embedder import EmbeddingSettings
from ppi_train.runs.inputs import (
    SplitFiles,
    SplitInputs,
    drop_or_refuse_missing,
    names_by_source,
    open_cache,
    proteins_to_embed,
    read_tables,
    refuse_other_names,
)
from ppi_train.runs.labels import data_label
from ppi_train.runs.training_pairs import logged_pairs, protein_digests
from ppi_train.tracking.runs import RunInfo

logger = logging.getLogger(__name__)

Trained = TrainConfig | FinetuneConfig


@dataclass(frozen=True, kw_only=True)
class SplitSource:
    """The split that an evaluation scores.

    Attributes:
        split: `train`, `validation` or `test`.
        name: Name of the data set, or of the user's table.
        files: The pairs, and the FASTA if the embeddings are made from it.
        sequences: The FASTA of the proteins if there is one, even if embeddings are given instead.
    """

    split: str
    name: str
    files: SplitFiles
    sequences: Path | None


def evaluated_split(config: ScoringConfig, trained: Trained, run_id: str) -> SplitSource:
    """Selects the split that an evaluation scores.

    It is the split that the config names, or else follows from the data that run `run_id` was trained on.

    Raises:
        ConfigError: no pairs are named, and the user's own tables of the run have no test set.
        DataError: the data set is not available.
    """
    fasta = Path(config.cache.fasta) if config.cache.fasta else None
    sequences = fasta or (file_here(trained.cache.fasta) if trained.cache.fasta else None)
    own_fasta = fasta if config.cache.embeddings else sequences
    if config.pairs.test_pairs:
        path = Path(config.pairs.test_pairs)
        files = SplitFiles(pairs=path, fasta=own_fasta)
        return SplitSource(split="test", name=data_label(path), files=files, sequences=sequences)
    if trained.pairs.train_pairs and not config.data.dataset:
        return replace(_own_split(config, trained, own_fasta, run_id), sequences=sequences)
    return _dataset_split(config, trained, fasta)


def _own_split(config: ScoringConfig, trained: Trained, fasta: Path | None, run_id: str) -> SplitSource:
    """A split of the user's tables that the run was trained on."""
    own = {"train": trained.pairs.train_pairs, "validation": trained.pairs.val_pairs}
    split = "validation" if config.pairs.split == "auto" else config.pairs.split
    pairs = own.get(split)
    if pairs is None:
        raise ConfigError(
            "the run was trained on tables of your own, which have no test set",
            where=f"run {run_id}",
            remedy="give test_pairs, or split=validation",
        )
    if config.pairs.split == "auto":
        logger.warning("no test_pairs given: scoring the run's validation pairs %s", pairs)
    files = SplitFiles(pairs=file_here(pairs), fasta=fasta)
    return SplitSource(split=split, name=data_label(pairs), files=files, sequences=fasta)


def _dataset_split(config: ScoringConfig, trained: Trained, fasta: Path | None) -> SplitSource:
    """A split of the named data set, or of the run's own."""
    name = config.data.dataset or trained.data.dataset or DEFAULT_DATASET
    wanted = replace(config.data, dataset=name, data_seed=config.data.data_seed or trained.data.data_seed)
    found = available_split(wanted, config.pairs.split)
    own_or_found = None if config.cache.embeddings else fasta or found.fasta
    files = SplitFiles(pairs=found.pairs, fasta=own_or_found, embed_all=fasta is None)
    return SplitSource(split=found.name, name=name, files=files, sequences=fasta or found.fasta)


def available_split(data: DatasetOptions, split: str) -> Split:
    """Prepares a split of a data set.

    `auto` is the test split, or else, with a warning, the validation split if the mirror has no test files.
    """
    wanted = "test" if split == "auto" else split
    try:
        return prepare(data, (wanted,)).splits[wanted]
    except NotInMirrorError as error:
        if split != "auto":
            raise
        logger.warning(
            "the mirror does not hold the test files of %s (%s): scoring VALIDATION instead",
            data.dataset,
            error.what,
        )
        return prepare(data, ("validation",)).splits["validation"]


def trained_config(checkpoint: Checkpoint) -> Trained:
    """The config of the run that wrote a checkpoint."""
    schema = MODES[checkpoint.description["mode"]]
    trained, _ = load_config(schema, checkpoint.description["config"])
    assert isinstance(trained, TrainConfig | FinetuneConfig)
    return trained


def evaluation_inputs(
    config: ScoringConfig, split: SplitSource, checkpoint: Checkpoint, trained: Trained
) -> SplitInputs:
    """Reads the pairs of a split, and opens or makes their embeddings.

    Raises:
        ConfigError: there are neither sequences nor embeddings.
        DataError: the pairs are wrong.
        CacheError: the embeddings are not of the kind that the model was trained on, or are missing.
    """
    if not (split.files.fasta or config.cache.embeddings or trained.cache.embeddings):
        raise ConfigError(  # the proteins of own pairs need not be those of the data set
            "neither sequences nor embeddings of the proteins of the pairs",
            where=str(split.files.pairs),
            got="a run that was trained on a data set, not on a FASTA",
            remedy="give fasta=FILE, or embeddings=CACHE that was made as in training",
        )
    tables = read_tables({split.split: split.files})
    embedding: dict[str, Any] = checkpoint.description["embedding"]
    recipe = embedding["recipe"]
    fasta = split.files.fasta
    if fasta and config.cache.embeddings is None:
        refuse_other_names(names_by_source(tables), [fasta], missing=config.cache.missing)
    cache = open_cache(
        config.cache.embeddings or (cache_here(trained.cache.embeddings) if fasta is None else None),
        [fasta] if fasta else [],
        EmbeddingSettings.of_recipe(recipe, dtype=embedding["dtype"], device=config.compute.device),
        needed=proteins_to_embed({split.split: split.files}, tables),
        data_dir=Path(config.data.data_dir),
        wanted=recipe,
        memory_mb=config.cache.cache_memory_mb,
    )
    warn_of_other_numbers(cache, embedding)
    return drop_or_refuse_missing(split.name, tables, cache, missing=config.cache.missing, fasta=fasta)


def validation_inputs(
    resolved: ResolvedCheckpoint, config: ScoringConfig, scored: SplitInputs
) -> SplitInputs:
    """The validation pairs of a run, whichever split the config scores.

    They are the pairs that the run has logged, with the embeddings of the scored split if those are of the
    same proteins, by name and sequence; otherwise pairs and embeddings come from the files that the run was
    trained on.

    Args:
        resolved: The run.
        config: Config of the evaluation.
        scored: SplitInputs of the scored split.

    Raises:
        UserError: they are no longer available.
    """
    table = _logged_validation(resolved.run, config.data, scored.cache)
    if table is not None:
        return SplitInputs(name=scored.name, tables={"validation": table}, cache=scored.cache, dropped={})
    checkpoint = resolved.read()
    trained = trained_config(checkpoint)
    own = config.replace(
        split="validation",
        dataset=None,
        test_pairs=None,
        fasta=None,
        embeddings=cache_here(trained.cache.embeddings),
    )
    split = evaluated_split(own, trained, resolved.run.run_id)
    return evaluation_inputs(own, split, checkpoint, trained)


def _logged_validation(run: RunInfo, data: DatasetOptions, cache: EmbeddingCache) -> PairTable | None:
    """The logged validation pairs, if a cache has all of their proteins with the run's sequences."""
    try:
        table = logged_pairs(run, "validation")
        if cache.missing(table.proteins):
            return None
        trained, found = protein_digests(run, data), cache.sequence_digests(table.proteins)
    except UserError:
        return None
    return table if found.items() <= trained.items() else None


@dataclass(frozen=True, kw_only=True)
class SplitScores:
    """A split scored by the best checkpoint of a run.

    The calibrated `logits` and their standard deviations `uncertainty` are (n,) float32; `labels` are (n,)
    int8; `index`, (n, 2), has the proteins of each pair by their numbers in the table. `prevalence` is the
    share of interacting pairs where the model was calibrated, or else that of these pairs. `given_by` names
    the tool, if the scores are not those of a model of this project, and `unscored` counts the pairs that are
    left out because it gave them none.
    """

    model: str
    split: str
    inputs: SplitInputs
    device: torch.device
    logits: np.ndarray
    uncertainty: np.ndarray
    labels: np.ndarray
    index: np.ndarray
    prevalence: float
    given_by: str = ""
    unscored: int = 0

    @property
    def left_out(self) -> str:
        """What the missing scores mean; empty if there are all."""
        if not self.unscored:
            return ""
        return (
            f"{self.unscored:,} of {self.unscored + len(self.table):,} pairs have no score and are left out: "
            "the figures are not comparable with those of all pairs"
        )

    @property
    def table(self) -> PairTable:
        return self.inputs.tables[self.split]

    @property
    def sequence_digests(self) -> dict[str, str]:
        """Sequence digests of the scored proteins, by accession."""
        return self.inputs.cache.sequence_digests(self.table.proteins)

    def where(self, keep: np.ndarray) -> SplitScores:
        """The pairs selected by the mask `keep`, (n,) bool."""
        tables = {**self.inputs.tables, self.split: self.table.select(keep)}
        return replace(
            self,
            inputs=replace(self.inputs, tables=tables),
            logits=self.logits[keep],
            uncertainty=self.uncertainty[keep],
            labels=self.labels[keep],
            index=tables[self.split].index,
        )


def split_for(resolved: ResolvedCheckpoint, config: ScoringConfig) -> SplitSource:
    """The configured split, or the default one of the run's data set."""
    return evaluated_split(config, trained_config(resolved.read()), resolved.run.run_id)


def refuse_other_numbers(
    compared: Mapping[str, tuple[ResolvedCheckpoint, SplitScores]], *, allowed: bool
) -> str:
    """Refuses scores of embeddings with other numbers than those that a model was trained on.

    Args:
        compared: The models by what they are in the comparison, with their scores.
        allowed: Whether they are only named.

    Returns:
        Which models have other numbers, with commas between.

    Raises:
        CacheError: some have, and that is not allowed.
    """
    others = [
        who
        for who, (resolved, scores) in compared.items()
        if has_other_numbers(scores.inputs.cache, resolved.read().description["embedding"])
    ]
    if others and not allowed:
        raise CacheError(
            f"the embeddings have other numbers than those that the {' and the '.join(others)} "
            "was trained on, so that a comparison proves nothing",
            got=f"numbers with the digest {compared[others[0]][1].inputs.cache.content_digest[:12]}",
            expected="the digest ppi.embedding_content_digest of the training run",
            remedy="give the embeddings of the training: embeddings=PATH; or, if they were made again on "
            "other hardware and differ in the last digits only, allow_other_numbers=true",
        )
    return ", ".join(others)


def score_split(
    resolved: ResolvedCheckpoint, config: ScoringConfig, split: SplitSource, *, asked_statistics: bool = False
) -> SplitScores:
    """Scores a split with a checkpoint.

    The embeddings are made in the same way as those of the training run.

    Args:
        resolved: The run.
        config: Config of the evaluation.
        split: What is scored.
        asked_statistics: Whether the inputs are standardised by the proteins of the split, not by those of
            training.
    """
    checkpoint = resolved.read()
    inputs = evaluation_inputs(config, split, checkpoint, trained_config(checkpoint))
    seed_everything(config.compute.seed, deterministic=config.compute.deterministic)
    device = resolve_device(config.compute.device)
    model = model_from_checkpoint(checkpoint, device)
    data = inputs.pair_data(split.split, model.GRANULARITY).to(device)
    if asked_statistics:
        take_asked_statistics(model, data.features, where=inputs.tables[split.split].source)
    scores = score_pairs_with_uncertainty(model, data, batch_size=config.scoring.batch_size)
    logits, uncertainty = (values.cpu().numpy() for values in scores)
    labels = data.labels.cpu().numpy().astype(np.int8)
    return SplitScores(
        model=checkpoint.description["model"]["name"],
        split=split.split,
        inputs=inputs,
        device=device,
        logits=logits,
        uncertainty=uncertainty,
        labels=labels,
        index=inputs.tables[split.split].index,
        prevalence=checkpoint.prevalence or float(labels.mean()),
    )
