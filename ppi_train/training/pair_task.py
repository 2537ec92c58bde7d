"""The training task of pair models: labelled pairs of proteins.

If asked, with new negatives for each epoch, so that a model cannot memorise them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ppi_train.config.options import PairLossOptions
from ppi_train.errors import UserError
from ppi_train.features import PairBatch, PairData, load_batches
from ppi_train.inference.reference import score_with_new_reference
from ppi_train.models.base import PairModel
from ppi_train.training.batches import (
    BLOCK,
    PART,
    epoch_generator,
    groups_for_sharing,
    in_file,
    shared_batches,
    uniform_batches,
)
from ppi_train.training.ranks import Ranks


def redrawn_negatives(data: PairData, *, seed: int, epoch: int) -> Tensor:
    """Pairs with re-paired negatives; the positives stay the same.

    Almost every protein keeps its number of negatives, so that the number of partners carries no new
    information. Where the new pair would be a protein with itself, or a positive, the given pair stays.

    Args:
        data: Pairs (n, 2) and their labels.
        seed, epoch: Equal values give equal pairs, on every device.

    Returns:
        (n, 2), in the order of `data`, on the CPU.
    """
    pairs, labels, proteins = data.pairs.cpu(), data.labels.cpu(), len(data.features)
    generator = epoch_generator(seed, epoch)
    given = pairs[labels == 0]
    known = np.sort(_keys(pairs[labels != 0], proteins))
    drawn = torch.randperm(given.numel(), generator=generator, dtype=pairs.dtype).view(-1, 2)
    ends = given.reshape(-1)
    for chosen, before in zip(drawn.split(PART), given.split(PART), strict=True):
        new = ends[chosen.long()]
        unusable = (new[:, 0] == new[:, 1]) | _among(_keys(new, proteins), known)
        chosen.copy_(torch.where(unusable[:, None], before, new))
    redrawn, done = pairs.clone(), 0
    for part, of_part in zip(redrawn.split(PART), labels.split(PART), strict=True):
        negative = of_part == 0
        count = int(negative.sum())
        part[negative] = drawn[done : done + count]
        done += count
    return redrawn


def _keys(pairs: Tensor, proteins: int) -> np.ndarray:
    """One number for each unordered pair."""
    return (pairs.amin(dim=1).long() * proteins + pairs.amax(dim=1)).numpy()


def _among(keys: np.ndarray, known: np.ndarray) -> Tensor:
    """Which keys are among some that are sorted."""
    order = np.argsort(keys)  # a search for ascending keys stays in the processor's cache
    ascending = keys[order]
    places = np.searchsorted(known, ascending)
    found = np.empty(len(keys), dtype=bool)
    found[order] = np.append(known, -1)[places] == ascending
    return torch.from_numpy(found)


REFERENCE_SHARE = "val/reference_share"

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
        blocks: Whether proteins that are neighbours in the cache come in the same batches, if batches
            share proteins.
        folder: Where the processes of a machine share what they draw, 4 bytes a pair; None for a single
            process.

    Attributes:
        validation_logits: (n,) float32 of the validation pairs, those of the last epoch that was measured.
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
        blocks: bool = False,
        folder: Path | None = None,
    ) -> None:
        self._fresh_negatives = fresh_negatives
        self._train, self._validation, self._ranking_metrics = train, validation, ranking_metrics
        self.seed, self._smoothing = seed, loss.label_smoothing
        self._weights = class_weights(train.labels, loss.class_weight)
        self.device, self.size = train.pairs.device, len(train)
        self._batch_size = batch_size
        self._epochs_pairs = train
        self._positions = train.positions if blocks else None
        self._folder, self._groups = folder, 0
        self.validation_logits = torch.empty(0)
        if share_proteins:
            block = 1 if self._positions is None else BLOCK
            self._groups = groups_for_sharing(self.size, len(train.features), batch_size, block=block)
        self.n_batches = self._groups**2 // 2 or -(-self.size // batch_size)

    def batches(self, epoch: int) -> Sequence[Tensor]:
        if self._fresh_negatives:
            self._epochs_pairs = self._train  # gives up those of the epoch before
            drawn = in_file(
                self._file("pairs", epoch),
                lambda: redrawn_negatives(self._train, seed=self.seed, epoch=epoch),
            )
            self._epochs_pairs = replace(self._train, pairs=drawn.to(self.device))
        file = self._file(f"order-of-{self.n_batches}", epoch)
        if not self._groups:
            return uniform_batches(self.size, self._batch_size, seed=self.seed, epoch=epoch, file=file)
        return shared_batches(
            self._epochs_pairs.pairs.cpu(),
            len(self._train.features),
            self._groups,
            seed=self.seed,
            epoch=epoch,
            positions=self._positions,
            file=file,
        )

    def _file(self, name: str, epoch: int) -> Path | None:
        """Where an epoch's array is shared, if it is; removes that of the epoch before."""
        if self._folder is None:
            return None
        for old in self._folder.glob(f"*{name}-{epoch - 1}.npy*"):
            old.unlink(missing_ok=True)  # the other processes have it open, or remove it at this moment
        return self._folder / f"{name}-{epoch}.npy"

    def load(self, batches: Sequence[Tensor]) -> Iterator[PairBatch]:
        return load_batches(self._epochs_pairs, batches)

    def loss(self, model: nn.Module, batch: PairBatch) -> Tensor:
        targets = batch.labels * (1 - self._smoothing) + self._smoothing / 2
        losses = cast(Tensor, model.losses(batch.proteins, batch.pairs, targets))  # type: ignore[operator]
        if self._weights is not None:
            losses = losses * self._weights[batch.labels.long()]
        return losses.sum()

    def validate(self, model: nn.Module, ranks: Ranks) -> dict[str, float]:
        """`val/loss` (unweighted, unsmoothed, of uncalibrated logits), `val/auroc`, `val/auprc`.

        The model takes its reference proteins from validation; `val/reference_share` is the share of the mean
        logits with them that is taken off.
        """
        self.validation_logits, taken_off = score_with_new_reference(
            cast(PairModel, model), self._validation, share=ranks.share, from_first=ranks.from_first
        )
        metrics = ranks.from_first(lambda: self._metrics(self.validation_logits))
        return metrics if taken_off is None else {**metrics, REFERENCE_SHARE: taken_off}

    def _metrics(self, logits: Tensor) -> dict[str, float]:
        labels = self._validation.labels.float()
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
    positives = int(torch.count_nonzero(labels))
    counts = torch.tensor([len(labels) - positives, positives], device=labels.device).clamp(min=1)
    return len(labels) / (2 * counts.float())
