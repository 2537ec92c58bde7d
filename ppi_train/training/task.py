"""What the training loop asks of the thing that is learned: items, their loss, and how well it goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Task(Protocol):
    """Items to learn from, such as pairs of proteins.

    Attributes:
        unit: What rates count, in the singular.
        size: Items of an epoch.
        n_batches: Batches of an epoch.
        round_name: What an epoch of the loop is called: `epoch`, or a part of one.
        units_per_item: Units that one item stands for.
        device: Where the items lie, and the model must.
    """

    unit: str
    round_name: str
    size: int
    n_batches: int
    units_per_item: int
    device: torch.device

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """The items of each batch of an epoch, counted from 0; a function of the seed alone.

        Every item stands in one batch; a batch may be empty.
        """

    def load(self, batches: Sequence[Tensor]) -> Iterator[Any]:
        """Yields what `loss` takes of each of the batches, and may read ahead."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The sum of the losses of a batch's items; runs under mixed precision if that is on."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Metrics of the model, in evaluation mode, on the validation items; `val/loss` among them.

        Raises:
            UserError: they are not finite numbers.
        """

    def headline(self, metrics: Mapping[str, float]) -> str:
        """The validation metrics that a line of progress shows."""
