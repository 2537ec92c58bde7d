"""Dropout at the cost of the arithmetic around it, on a processor.

Torch draws each mask there from numbers of 53 bits, one at a time, which takes longer than a GELU of the same
values by an order of magnitude. Here a draw has 16 bits, and four of them come from one random number. All
draws come from torch's generator. On other devices everything is torch's own.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_LEVELS = 2**16
_OF_TORCH = ContextVar("draws of torch", default=False)


@contextlib.contextmanager
def draws_of_torch(wanted: bool) -> Iterator[None]:
    """Has `dropout` draw as torch does, if wanted: a run that version 0.2 began goes on with its draws."""
    before = _OF_TORCH.set(wanted)
    try:
        yield
    finally:
        _OF_TORCH.reset(before)


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """Dropout as that of torch; on a processor the share is rounded to a multiple of 1 / 65,536.

    What is kept is scaled by the rounded share, so that the expectation is exact.
    """
    if not (training and share):
        return x
    if x.device.type != "cpu" or _OF_TORCH.get():
        return functional.dropout(x, share)
    dropped = min(round(share * _LEVELS), _LEVELS - 1)
    draws = torch.empty(math.ceil(x.numel() / 4), dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - _LEVELS // 2
    return x * kept.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))


def product_without(x_dn: Tensor, weight_dh: Tensor, dropped_d: Tensor, share: float) -> Tensor:
    """The product (n, h) of inputs and weights, with some of the inputs dropped for all rows.

    Args:
        x_dn: The inputs, transposed.
        weight_dh: Their weights.
        dropped_d: Whether an input is dropped.
        share: The share that is dropped on average, by which the others are scaled.
    """
    scale = 1 / (1 - share)
    if x_dn.device.type != "cpu":
        return (x_dn * (~dropped_d * scale)[:, None]).t() @ weight_dh
    product: Tensor = _ProductOfRows.apply(x_dn, weight_dh, (~dropped_d).nonzero().squeeze(1), scale)  # type: ignore[no-untyped-call]
    return product


class _ProductOfRows(torch.autograd.Function):
    """x[rows].T @ weight[rows] * scale, whose three products leave out the other rows."""

    @staticmethod
    def forward(ctx: Any, x_dn: Tensor, weight_dh: Tensor, rows: Tensor, scale: float) -> Tensor:
        x, weight = x_dn.index_select(0, rows), weight_dh.index_select(0, rows)
        ctx.save_for_backward(x, weight, rows)
        ctx.scale, ctx.count = scale, len(x_dn)
        return (x.t() @ weight).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient_nh: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight, rows = ctx.saved_tensors
        gradient = gradient_nh * ctx.scale
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = x.new_zeros(ctx.count, x.shape[1]).index_copy_(0, rows, weight @ gradient.t())
        if ctx.needs_input_grad[1]:
            of_weight = weight.new_zeros(ctx.count, weight.shape[1]).index_copy_(0, rows, x @ gradient)
        return of_x, of_weight, None, None
