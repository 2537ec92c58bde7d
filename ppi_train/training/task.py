"""The interface between the trainer and a learning task.

A task provides items, their loss, and validation metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ppi_train.training.ranks import Ranks


class Task(Protocol):
    """Items to learn from, such as pairs of proteins.

    Attributes:
        unit: Name of the unit in which rates are counted, in the singular.
        size: Items of an epoch.
        n_batches: Batches of an epoch.
        round_name: What the trainer calls an epoch: `epoch`, or `part`.
        units_per_item: Number of units in an item.
        device: Device of the items; the model must be on it as well.
        seed: Seed of the batches, and of what is drawn within them, such as dropout.
    """

    unit: str
    round_name: str
    size: int
    n_batches: int
    units_per_item: int
    device: torch.device
    seed: int

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """The items of each batch of an epoch, counted from 0.

        They depend on nothing but the seed and the epoch.

        Every item is in one batch; a batch may be empty.
        """

    def load(self, batches: Sequence[Tensor]) -> Iterator[Any]:
        """Yields the input of `loss` for each batch; may read ahead."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The sum of the losses of a batch's items.

        Runs under mixed precision if that is on.
        """

    def validate(self, model: nn.Module, ranks: Ranks) -> dict[str, float]:
        """Validation metrics of a model in evaluation mode, the same on every rank.

        `val/loss` is among them.

        Raises:
            UserError: a metric is not a finite number.
        """

    def headline(self, metrics: Mapping[str, float]) -> str:
        """The validation metrics shown in a line of progress."""
