"""Scoring of a split by the best checkpoint of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ppi_train.checkpoints import model_from_checkpoint
from ppi_train.config.schema import ScoringConfig
from ppi_train.data.pairs import PairTable
from ppi_train.inference.scoring import score_pairs_with_uncertainty
from ppi_train.models.device import resolve_device, seed_everything
from ppi_train.runs.checkpoints import ResolvedCheckpoint
from ppi_train.runs.inputs import Inputs
from ppi_train.runs.split_inputs import evaluation_inputs, trained_config
from ppi_train.runs.split_source import EvaluatedSplit, evaluated_split


@dataclass(frozen=True, kw_only=True)
class ScoredSplit:
    """A split scored by the best checkpoint of a run.

    The calibrated `logits` and their standard deviations `uncertainty` are (n,) float32; `labels` are (n,)
    int8; `index`, (n, 2), has the proteins of each pair by their numbers in the table.
    """

    model: str
    split: str
    inputs: Inputs
    device: torch.device
    logits: np.ndarray
    uncertainty: np.ndarray
    labels: np.ndarray
    index: np.ndarray

    @property
    def table(self) -> PairTable:
        return self.inputs.tables[self.split]

    def where(self, keep: np.ndarray) -> ScoredSplit:
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


def split_for(resolved: ResolvedCheckpoint, config: ScoringConfig) -> EvaluatedSplit:
    """The configured split, or the default one of the run's data set."""
    return evaluated_split(config, trained_config(resolved.read()), resolved.run.run_id)


def score_split(resolved: ResolvedCheckpoint, config: ScoringConfig, split: EvaluatedSplit) -> ScoredSplit:
    """Scores a split with a checkpoint.

    The embeddings are made in the same way as those of the training run.
    """
    checkpoint = resolved.read()
    inputs = evaluation_inputs(config, split, checkpoint, trained_config(checkpoint))
    seed_everything(config.seed, deterministic=config.deterministic)
    device = resolve_device(config.device)
    model = model_from_checkpoint(checkpoint, device)
    data = inputs.pair_data(split.split, model.GRANULARITY).to(device)
    scores = score_pairs_with_uncertainty(model, data, batch_size=config.batch_size)
    logits, uncertainty = (values.cpu().numpy() for values in scores)
    return ScoredSplit(
        model=checkpoint.description["model"]["name"],
        split=split.split,
        inputs=inputs,
        device=device,
        logits=logits,
        uncertainty=uncertainty,
        labels=data.labels.cpu().numpy().astype(np.int8),
        index=inputs.tables[split.split].index,
    )
