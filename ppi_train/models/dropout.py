"""Dropout at the cost of the arithmetic around it, on a processor.

Torch draws each mask there from numbers of 53 bits, one at a time, which takes longer than a GELU of the same
values by an order of magnitude. Here a draw has 16 bits, and four of them come from one random number. All
draws come from torch's generator. On other devices everything is torch's own.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ppi_train.models.device import product_dtype

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
    # Compared as float32, which is exact: torch compares numbers of 16 bits one by one.
    kept = draws.view(torch.int16)[: x.numel()].view(x.shape).float().ge_(dropped - _LEVELS // 2)
    return x * kept.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))


def product_without(x_kdn: Tensor, weight_kdh: Tensor, dropped_kd: Tensor, share: float) -> Tensor:
    """The products (n, k * h) of inputs and weights of k members, without the inputs that each drops.

    Args:
        x_kdn: The inputs, transposed, in the precision of the products.
        weight_kdh: Their weights, float32.
        dropped_kd: Whether an input is dropped, for all rows.
        share: The share that is dropped on average, by which the others are scaled.
    """
    scale = 1 / (1 - share)
    if x_kdn.device.type != "cpu":
        kept_kdn = x_kdn * (~dropped_kd * scale)[:, :, None]
        return torch.bmm(kept_kdn.transpose(1, 2), weight_kdh.to(x_kdn.dtype)).transpose(0, 1).flatten(1)
    kept_kd = ~dropped_kd
    rows = kept_kd.nonzero()[:, 1].split(kept_kd.sum(dim=1).tolist())
    product: Tensor = _ProductsOfRows.apply(x_kdn, weight_kdh, rows, scale)  # type: ignore[no-untyped-call]
    return product


class _ProductsOfRows(torch.autograd.Function):
    """x[rows].T @ weight[rows] * scale of each member; all three products leave out the other rows."""

    @staticmethod
    def forward(ctx: Any, x_kdn: Tensor, weight_kdh: Tensor, rows: Sequence[Tensor], scale: float) -> Tensor:
        members, _, width = weight_kdh.shape
        product = weight_kdh.new_empty(x_kdn.shape[2], members * width)
        kept: list[tuple[Tensor, Tensor]] = []
        with torch.autocast(product.device.type, enabled=False):
            for x_dn, weight_dh, own, part_nh in zip(
                x_kdn, weight_kdh, rows, product.split(width, dim=1), strict=True
            ):
                kept.append((x_dn.index_select(0, own), weight_dh.index_select(0, own).to(x_dn.dtype)))
                _write_product(kept[-1][0].t(), kept[-1][1], part_nh)
        ctx.save_for_backward(weight_kdh, *(part for parts in zip(*kept, strict=True) for part in parts))
        ctx.rows, ctx.scale, ctx.inputs = rows, scale, x_kdn.shape
        return product.mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        like, *kept = ctx.saved_tensors
        members = len(like)
        x, weights = kept[:members], kept[members:]
        parts = (gradient * ctx.scale).to(x[0].dtype).chunk(members, dim=1)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = x[0].new_zeros(ctx.inputs)
            for found, own, weight_rh, part_nh in zip(of_x, ctx.rows, weights, parts, strict=True):
                found.index_copy_(0, own, weight_rh @ part_nh.t())
        if ctx.needs_input_grad[1]:
            of_weight = torch.zeros_like(like)  # with its strides, so that nothing is transposed later
            for found, own, x_rn, part_nh in zip(of_weight, ctx.rows, x, parts, strict=True):
                found.index_copy_(0, own, (x_rn @ part_nh).to(found.dtype))
        return of_x, of_weight, None, None


def product_of_kept(x_nki: Tensor, weight_kih: Tensor, dropped_ki: Tensor, share: float) -> Tensor:
    """As `product_without`, of inputs that differ among members, which are not transposed.

    Args:
        x_nki: The inputs of each member.
        weight_kih: Their weights.
        dropped_ki: Whether an input is dropped, for all rows.
        share: The share that is dropped on average, by which the others are scaled.

    Returns:
        (n, k * h), in the precision of the weights.
    """
    kept_kih = (~dropped_ki).to(weight_kih.dtype).mul_(1 / (1 - share))[:, :, None]
    product: Tensor = _ProductsOfMembers.apply(x_nki, weight_kih * kept_kih, product_dtype(x_nki))  # type: ignore[no-untyped-call]
    return product


class _ProductsOfMembers(torch.autograd.Function):
    """x @ weight of each member.

    A plain `bmm` but for the layouts: x, its gradient and the product are (n, k, ...) in memory.
    """

    @staticmethod
    def forward(ctx: Any, x_nki: Tensor, weight_kih: Tensor, dtype: torch.dtype) -> Tensor:
        x, weight = x_nki.to(dtype), weight_kih.to(dtype)
        ctx.save_for_backward(x, weight)
        product = weight_kih.new_empty(len(x), len(weight), weight.shape[2])
        with torch.autocast(product.device.type, enabled=False):
            for x_ni, weight_ih, part_nh in zip(x.unbind(1), weight, product.unbind(1), strict=True):
                _write_product(x_ni, weight_ih, part_nh)
        return product.flatten(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        parts = gradient.view(len(x), len(weight), -1).to(x.dtype)
        of_x, of_weight = gradient.new_empty(x.shape), gradient.new_empty(weight.shape)
        for number, part_nh in enumerate(parts.unbind(1)):
            _write_product(part_nh, weight[number].t(), of_x[:, number])
            _write_product(x[:, number].t(), part_nh, of_weight[number])
        return of_x, of_weight, None


def _write_product(first: Tensor, second: Tensor, found: Tensor) -> None:
    """Writes a product to memory, whose precision may be higher."""
    if found.dtype == first.dtype:
        torch.mm(first, second, out=found)
    else:
        found.copy_(first @ second)
