"""The training task of pair models: labelled pairs of proteins.

If asked, with new negatives for each epoch, so that a model cannot memorise them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ppi_train.config.options import PairLossOptions
from ppi_train.errors import UserError
from ppi_train.features import (
    PairBatch,
    PairData,
    epoch_order,
    groups_for_sharing,
    load_batches,
    shared_batches,
)
from ppi_train.inference.scoring import Scorer, score_pairs


def redrawn_negatives(data: PairData, *, seed: int, epoch: int) -> Tensor:
    """Pairs with re-paired negatives; the positives stay the same.

    Almost every protein keeps its number of negatives, so that the number of partners carries no new
    information. Where the new pair would be a protein with itself, or a positive, the given pair stays.

    Args:
        data: Pairs (n, 2) and their labels.
        seed, epoch: Equal values give equal pairs, on every device.

    Returns:
        (n, 2), in the order of `data`.
    """
    pairs, negative = data.pairs.cpu(), data.labels.cpu() == 0
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    given = pairs[negative]
    ends = given.reshape(-1)
    drawn = ends[torch.randperm(len(ends), generator=generator)].view(-1, 2)
    known = _keys(pairs[~negative], len(data.features))
    unusable = (drawn[:, 0] == drawn[:, 1]) | torch.isin(_keys(drawn, len(data.features)), known)
    redrawn = pairs.clone()
    redrawn[negative] = torch.where(unusable[:, None], given, drawn)
    return redrawn.to(data.pairs.device)


def _keys(pairs: Tensor, proteins: int) -> Tensor:
    """One number for each unordered pair."""
    return pairs.amin(dim=1) * proteins + pairs.amax(dim=1)


RankingMetrics = Callable[[np.ndarray, np.ndarray], Mapping[str, float]]


class PairTask:
    """The training `Task` of all pair models.

    Args:
        loss: Settings of the loss.
        seed: Seed of the order.
        train, validation: The pairs, on one device.
        ranking_metrics: (logits, labels) -> `auroc`, `auprc`, and further metrics to log as `val/...`.
        batch_size: Pairs of a batch.
        share_proteins: Whether each batch contains few distinct proteins, if there are enough pairs.
        fresh_negatives: Whether the negatives are redrawn for each epoch.
    """

    unit = "pair"
    round_name = "epoch"
    units_per_item = 1

    def __init__(
        self,
        loss: PairLossOptions,
        *,
        seed: int,
        train: PairData,
        validation: PairData,
        ranking_metrics: RankingMetrics,
        batch_size: int,
        share_proteins: bool = False,
        fresh_negatives: bool = False,
    ) -> None:
        self._fresh_negatives = fresh_negatives
        self._train, self._validation, self._ranking_metrics = train, validation, ranking_metrics
        self.seed, self._smoothing = seed, loss.label_smoothing
        self._weights = class_weights(train.labels, loss.class_weight)
        self.device, self.size = train.pairs.device, len(train)
        self._batch_size = batch_size
        self._epochs_pairs = train
        self._groups = 0
        if share_proteins:
            self._groups = groups_for_sharing(self.size, len(train.features), batch_size)
        self.n_batches = self._groups**2 // 2 or -(-self.size // batch_size)

    def batches(self, epoch: int) -> Sequence[Tensor]:
        if self._fresh_negatives:
            drawn = redrawn_negatives(self._train, seed=self.seed, epoch=epoch)
            self._epochs_pairs = replace(self._train, pairs=drawn)
        if self._groups:
            pairs, proteins = self._epochs_pairs.pairs, len(self._train.features)
            return shared_batches(pairs, proteins, self._groups, seed=self.seed, epoch=epoch)
        order = epoch_order(self.size, seed=self.seed, epoch=epoch, device=self.device)
        return list(order.split(self._batch_size))

    def load(self, batches: Sequence[Tensor]) -> Iterator[PairBatch]:
        return load_batches(self._epochs_pairs, batches)

    def loss(self, model: nn.Module, batch: PairBatch) -> Tensor:
        targets = batch.labels * (1 - self._smoothing) + self._smoothing / 2
        losses = cast(Tensor, model.losses(batch.proteins, batch.pairs, targets))  # type: ignore[operator]
        if self._weights is not None:
            losses = losses * self._weights[batch.labels.long()]
        return losses.sum()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """`val/loss` (unweighted, unsmoothed, of uncalibrated logits), `val/auroc`, `val/auprc`."""
        logits = score_pairs(cast(Scorer, model), self._validation)
        labels = self._validation.labels
        loss = binary_cross_entropy_with_logits(logits, labels).item()
        if not np.isfinite(loss):
            raise UserError(
                "training diverged: the validation scores are not finite numbers",
                remedy="lower learning_rate, or give amp=off",
            )
        ranking = self._ranking_metrics(logits.cpu().numpy(), labels.cpu().numpy().astype(np.int8))
        return {"val/loss": loss, **{f"val/{name}": value for name, value in ranking.items()}}

    def headline(self, metrics: Mapping[str, float]) -> str:
        return (
            f"val loss {metrics['val/loss']:.4f}  val AUROC {metrics['val/auroc']:.4f}  "
            f"val AUPRC {metrics['val/auprc']:.4f}"
        )


def class_weights(labels: Tensor, mode: str) -> Tensor | None:
    """Loss weights (2,) of the negatives and positives.

    n / (2 * count), so that both classes have equal weight.
    """
    if mode == "none":
        return None
    counts = torch.bincount(labels.long(), minlength=2).clamp(min=1)
    return len(labels) / (2 * counts.float())
