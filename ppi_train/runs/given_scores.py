"""A split with the scores that another tool gave to its pairs."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ppi_train.data.fasta import read_fasta
from ppi_train.data.identity import digests_of
from ppi_train.data.pairs import PairTable, read_pairs
from ppi_train.data.score_tables import ScoreTable, logits_of, other_labels
from ppi_train.errors import DataError
from ppi_train.runs.configs import ScoringConfig
from ppi_train.runs.embedder import EmbeddingSettings
from ppi_train.runs.inputs import (
    SplitFiles,
    drop_or_refuse_missing,
    open_cache,
    proteins_to_embed,
    read_tables,
)
from ppi_train.runs.labels import data_label
from ppi_train.runs.scored_split import SplitScores, SplitSource, available_split
from ppi_train.runs.training_pairs import TrainingLineage

logger = logging.getLogger(__name__)


def split_of_config(config: ScoringConfig) -> SplitSource:
    """The split that the config names, without a run.

    Raises:
        DataError: the data set is not available.
    """
    if config.pairs.test_pairs:
        fasta = Path(str(config.cache.fasta))
        files = SplitFiles(pairs=Path(config.pairs.test_pairs), fasta=fasta)
        return SplitSource(split="test", name=data_label(files.pairs), files=files, sequences=fasta)
    found = available_split(config.data, config.pairs.split)
    files = SplitFiles(pairs=found.pairs, fasta=found.fasta, embed_all=True)
    return SplitSource(split=found.name, name=str(config.data.dataset), files=files, sequences=found.fasta)


def split_with_scores(
    config: ScoringConfig, split: SplitSource, scores: ScoreTable, name: str
) -> SplitScores:
    """The pairs of a split with their scores.

    Raises:
        DataError: pairs have no score, and `missing=error`; or none has one.
        CacheError: proteins have no sequence.
    """
    tables = read_tables({split.split: split.files})
    fasta = split.files.fasta
    # The cheapest embeddings, for what comes with them: lengths, and digests of the sequences.
    cache = open_cache(
        None,
        [fasta] if fasta else [],
        EmbeddingSettings(),
        needed=proteins_to_embed({split.split: split.files}, tables),
        data_dir=Path(config.data.data_dir),
        wanted={},
        memory_mb=config.cache.cache_memory_mb,
    )
    inputs = drop_or_refuse_missing(split.name, tables, cache, missing=config.cache.missing, fasta=fasta)
    table = inputs.tables[split.split]
    logits = np.zeros(len(table), np.float32)
    unscored = SplitScores(
        model=name,
        split=split.split,
        inputs=inputs,
        device=torch.device("cpu"),
        logits=logits,
        uncertainty=logits,
        labels=table.required_labels,
        index=table.index,
        prevalence=float(table.required_labels.mean()),
        given_by=name,
    )
    return with_scores(unscored, scores, name, missing=config.cache.missing)


def with_scores(scored: SplitScores, scores: ScoreTable, name: str, *, missing: str) -> SplitScores:
    """The same pairs with other scores.

    Args:
        scored: A split.
        scores: Those of another tool.
        name: The name of the tool.
        missing: `error`, or `drop` to leave out and count the pairs that have no score.

    Raises:
        DataError: pairs have no score, and `missing=error`; or none has one.
    """
    table = scored.table
    logits, there = logits_of(table, scores)
    _check_missing(table, scores, there, missing=missing)
    others = other_labels(table, scores)
    if others:
        logger.warning(
            "%s: %s pairs have another label there than in %s, whose labels count",
            scores.source, f"{others:,}", table.source,
        )  # fmt: skip
    extra = len(scores.values) - int(there.sum())
    if extra:
        logger.info("%s: %s further pairs are not scored here", scores.source, f"{extra:,}")
    given = replace(
        scored,
        model=name,
        given_by=name,
        logits=logits.astype(np.float32),
        uncertainty=np.zeros(len(table), np.float32),
        prevalence=float(table.required_labels.mean()),
    )
    if there.all():
        return given
    given = replace(given.where(there), unscored=int((~there).sum()))
    logger.warning("%s: %s", scores.source, given.left_out)
    return given


def _check_missing(table: PairTable, scores: ScoreTable, there: np.ndarray, *, missing: str) -> None:
    lacking = np.flatnonzero(~there)
    if not lacking.size:
        return
    names = [" and ".join(table.proteins[number] for number in table.index[row]) for row in lacking[:3]]
    if missing == "error" or lacking.size == len(table):
        some = ", ".join(f"{a} and {b}" for a, b in list(scores.values)[:2])
        raise DataError(
            f"{lacking.size:,} of {len(table):,} pairs have no score",
            where=scores.source,
            got=f"none for {'; '.join(names)}",
            expected=f"a score for each pair of {table.source}; the file has {some}",
            remedy="score all pairs; or give missing=drop, whose figures cannot be compared with others",
        )


def lineage_of_tool(trained_on: str | None, fasta: Path | None) -> TrainingLineage | None:
    """The pairs that a tool was trained on; None if they are not known.

    Args:
        trained_on: A table of pairs.
        fasta: Sequences of their proteins, as far as they are there.

    Raises:
        DataError: a file is wrong.
    """
    if trained_on is None:
        return None
    table = read_pairs(trained_on)
    sequences = dict(read_fasta(fasta).sequences) if fasta else {}
    return TrainingLineage(
        table=table, sequences=sequences, digests=(digests_of(sequences),), runs=(), notes=()
    )
