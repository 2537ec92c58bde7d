"""What the training loop asks of the thing that is learned: items, their loss, and how well it goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn


class Task(Protocol):
    """Items to learn from, such as pairs of proteins.

    Attributes:
        unit: What rates count, in the singular.
        size: Items of an epoch.
        round_name: What an epoch of the loop is called: `epoch`, or a part of one.
        units_per_item: Units that one item stands for.
        device: Where the items lie, and the model must.
    """

    unit: str
    round_name: str
    size: int
    units_per_item: int
    device: torch.device

    def order(self, epoch: int) -> Tensor:
        """The items (size,) of an epoch, counted from 0, in their order; a function of the seed alone."""

    def loss(self, model: nn.Module, items: Tensor) -> Tensor:
        """The sum of the losses of some items, as one batch; runs under mixed precision if that is on."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Metrics of the model, in evaluation mode, on the validation items; `val/loss` among them.

        Raises:
            UserError: they are not finite numbers.
        """

    def headline(self, metrics: Mapping[str, float]) -> str:
        """The validation metrics that a line of progress shows."""
