"""Symmetric features of pairs, |a - b| and a * b, and the products that follow them.

A step of training would spend more time on passes over these features than on the states of which they are
made. So they are made for a few pairs at a time, in memory that stays in the processor's cache and in the
layout of the product, and made again for the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppi_train.models.device import product_dtype

_PAIRS_AT_ONCE = {"cpu": 256}
"""Pairs whose features are in memory at once, by the type of the device."""
_PAIRS_ELSEWHERE = 16_384


def pair_products(states: Tensor, pairs: Tensor, weight_kfc: Tensor) -> Tensor:
    """Products of the features of m pairs and the weights of k members.

    They are bitwise identical with the sides of a pair exchanged.

    Args:
        states: (n, k * h), the members' states of proteins.
        pairs: (m, 2), rows of these.
        weight_kfc: (k, 2 * h, c), of |a - b| and of a * b.

    Returns:
        (k, m, c), in the precision of the weights.
    """
    dtype = product_dtype(weight_kfc)
    products: Tensor = _PairProducts.apply(states, pairs.t().contiguous(), weight_kfc, dtype)  # type: ignore[no-untyped-call]
    return products


class _PairProducts(torch.autograd.Function):
    """[|a - b|, a * b] @ weight of each member and pair."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, sides: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        weights = weight.to(dtype)
        ctx.save_for_backward(states, sides, weights)
        products = weight.new_empty(len(weight), sides.shape[1], weight.shape[2])
        with torch.autocast(states.device.type, enabled=False):
            for pairs, few in _features(states, sides, weight.shape):
                products[:, pairs] = torch.bmm(few.features.to(dtype), weights)
        return products

    @staticmethod
    def backward(ctx: Any, gradient_kmc: Tensor) -> tuple[Tensor | None, None, Tensor, None]:
        states, sides, weights = ctx.saved_tensors
        of_states = torch.zeros_like(states) if ctx.needs_input_grad[0] else None
        # Transposed, since a product of many rows is faster than one of many columns.
        of_weight_kcf = states.new_zeros(weights.transpose(1, 2).shape)
        for pairs, few in _features(states, sides, weights.shape):
            gradient = gradient_kmc[:, pairs].to(weights.dtype)
            features = few.features.to(weights.dtype)
            if weights.dtype == states.dtype:
                of_weight_kcf.baddbmm_(gradient.transpose(1, 2), features)
            else:
                of_weight_kcf.add_(torch.bmm(gradient.transpose(1, 2), features))
            if of_states is not None:
                of_features = torch.bmm(gradient, weights.transpose(1, 2)).to(states.dtype)
                for side, of_side in zip(sides, few.gradients(of_features), strict=True):
                    of_states.index_add_(0, side[pairs], of_side)
        return of_states, None, of_weight_kcf.transpose(1, 2), None


class _Few(NamedTuple):
    """The states of both sides of a few pairs, (k, m, h) of memory (m, k * h), and their features."""

    a: Tensor
    b: Tensor
    difference: Tensor
    features: Tensor

    def fill(self, states: Tensor, rows_a: Tensor, rows_b: Tensor) -> None:
        """Takes the states of proteins (n, k * h) and computes the features (k, m, 2 * h)."""
        for rows, side in ((rows_a, self.a), (rows_b, self.b)):
            torch.index_select(states, 0, rows, out=_flat(side))
        apart, product = self.features.chunk(2, dim=2)
        torch.sub(self.a, self.b, out=self.difference)
        torch.abs(self.difference, out=apart)
        torch.mul(self.a, self.b, out=product)

    def gradients(self, of_features: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients (m, k * h) of both sides' states, which overwrite these."""
        of_apart, of_product = of_features.chunk(2, dim=2)
        of_difference = self.difference.sgn_().mul_(of_apart)
        self.b.mul_(of_product).add_(of_difference)
        self.a.mul_(of_product).sub_(of_difference)
        return _flat(self.b), _flat(self.a)


def _features(states: Tensor, sides: Tensor, weights: torch.Size) -> Iterator[tuple[slice, _Few]]:
    """The features of a few pairs at a time, in the same memory: valid until the next ones."""
    members, width, _ = weights
    count = sides.shape[1]
    at_once = min(count, _PAIRS_AT_ONCE.get(states.device.type, _PAIRS_ELSEWHERE))
    a, b = (states.new_empty(at_once, members, width // 2).transpose(0, 1) for _ in range(2))
    memory = _Few(a, b, torch.empty_like(a), states.new_empty(members, at_once, width))
    for start in range(0, count, at_once or 1):
        pairs = slice(start, min(start + at_once, count))
        few = _Few(*(part[:, : pairs.stop - start] for part in memory))
        few.fill(states, *(side[pairs] for side in sides))
        yield pairs, few


def _flat(side: Tensor) -> Tensor:
    """The memory (m, k * h) of states (k, m, h)."""
    return side.transpose(0, 1).view(side.shape[1], -1)
