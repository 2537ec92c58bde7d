"""Rough scores of a block of pairs, computed in bf16, with a bound on their error.

A scan that keeps few pairs need not score all of them exactly: it scores exactly only those that the rough
scores do not rule out.

Legend of shapes: n and m proteins on the two sides of a block, k members, h numbers of a member's state, d
hidden units of a member's head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# Unit roundoff of bf16, which has 8 significant bits.
_ROUNDOFF = 2.0**-8
# What sums in float32 differ by, of a logit or of 1.
_FLOAT32 = 2.0**-19
# The derivative of gelu is 1/2 within this.
_SLOPE_RADIUS = 0.63
_STEEPEST = 0.5 + _SLOPE_RADIUS
# Standard deviations in the bound: a sub-Gaussian error exceeds it with a probability of 2 exp(-9 * 9 / 2),
# 6e-18, in each pair.
_DEVIATIONS = 9.0


@dataclass(frozen=True)
class RoughBlock:
    """Rough scores of a block, and the way to exact ones.

    Attributes:
        logits: (n, m).
        error: (n, m), bounds on the distance from the exact logits.
        exact: The logits (c,) of some cells of the flattened block, (c,) int64, ascending: the numbers that
            `PairModel.score_block` gives, to the last bit.
    """

    logits: Tensor
    error: Tensor
    exact: Callable[[Tensor], Tensor]

    def plus(self, more: Tensor) -> RoughBlock:
        """The block with an exact part (n, m) added to each logit."""

        def exact(cells: Tensor) -> Tensor:
            return self.exact(cells).add_(more.flatten()[cells])

        return RoughBlock(self.logits + more, self.error, exact)


def stacked(strips: Sequence[RoughBlock], rows: int, columns: int) -> RoughBlock:
    """A block of which the first strip of rows has all columns, and the next ones only the last columns.

    The other logits and errors are 0, and their exact scores must not be asked for.

    Args:
        strips: Of as many rows each, but the last.
        rows, columns: The size of the block.
    """
    logits, error = torch.zeros(rows, columns), torch.zeros(rows, columns)
    height = len(strips[0].logits)
    for number, strip in enumerate(strips):
        start, (strip_rows, strip_columns) = number * height, strip.logits.shape
        place = slice(start, start + strip_rows), slice(columns - strip_columns, columns)
        logits[place], error[place] = strip.logits, strip.error

    def exact(cells: Tensor) -> Tensor:
        row, column = cells // columns, cells % columns
        counts = (row // height).bincount(minlength=len(strips)).tolist()
        scores = []
        for number, (strip, rows_of, columns_of) in enumerate(
            zip(strips, row.split(counts), column.split(counts), strict=True)
        ):
            width = strip.logits.shape[1]
            scores.append(strip.exact((rows_of - number * height) * width + columns_of - (columns - width)))
        return torch.cat(scores)

    return RoughBlock(logits, error, exact)


class HeadWeights(NamedTuple):
    """The weights of the head that scores pairs.

    Attributes:
        difference: (k, h, d), those of |a - b|.
        product: (k, h, d), those of a * b.
        bias: (k, d).
        out: (k, d), of the output layer, divided by k.
        constant: (), added to each logit.
    """

    difference: Tensor
    product: Tensor
    bias: Tensor
    out: Tensor
    constant: Tensor


class _Side(NamedTuple):
    """The states of the proteins on one side, and those states plus the shift, rounded to bf16."""

    states: Tensor
    shifted: Tensor


@torch.no_grad()
def rough_scores(weights: HeadWeights, a_nkh: Tensor, b_mkh: Tensor) -> tuple[Tensor, Tensor]:
    """Scores all n x m pairs in bf16, in about half the time of float32.

    |a - b| is 2 max(a, b) - a - b. The larger of two bf16 numbers that are not negative is the larger of
    their bits as integers, which takes a fifth of the time of a difference; therefore each dimension is
    shifted to be nowhere negative. What is linear in b joins the weights of a * b, and what is constant for
    an a joins the bias. So a row of pairs takes one product, of [max(a, b), b].

    Returns:
        The logits, and bounds on their errors, (n, m) each. Some are not finite if a state is not.
    """
    a_nkh, b_mkh, shift = _reflected(a_nkh, b_mkh)
    a, b = (_Side(states, (states + shift).bfloat16()) for states in (a_nkh, b_mkh))
    linear_b = (b.shifted.float() - shift).bfloat16()
    first = (2 * weights.difference).bfloat16()
    # Of |a - b|, as they are after rounding.
    difference = first.float() / 2
    offsets = torch.einsum("nkh,khd->nkd", a.shifted.float() + shift, difference)
    logits = _rows(
        weights, first, difference, a=a, larger=b.shifted, linear=linear_b, biases=weights.bias - offsets
    )
    linear_error = (linear_b.float() - (b.shifted.float() - shift)).square()
    error = _error(weights, difference, a=a, b=b, shift=shift, linear_error=linear_error, offsets=offsets)
    return logits, error.add_(_FLOAT32 * (1 + logits.abs()))


def _reflected(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The states of both sides with some dimensions negated, and the shift (k, h) that makes them positive.

    |a - b| and a * b stay the same if both are negated; that is done where it makes the shift smaller, since
    rounding errors grow with the shift.
    """
    low = torch.minimum(a.amin(dim=0), b.amin(dim=0))
    high = torch.maximum(a.amax(dim=0), b.amax(dim=0))
    sign = torch.where(high >= -low, 1.0, -1.0)
    return a * sign, b * sign, torch.minimum(-low, high).clamp(min=0)


def _rows(
    weights: HeadWeights, first: Tensor, difference: Tensor, *, a: _Side, larger: Tensor, linear: Tensor,
    biases: Tensor,
) -> Tensor:  # fmt: skip
    """Logits (n, m): a row for each protein a, with all b."""
    (m, k, h), d = larger.shape, first.shape[2]
    bits_b = larger.transpose(0, 1).contiguous().view(torch.int16)
    bits_a = a.shifted.view(torch.int16)
    both = torch.empty(k, m, 2 * h, dtype=torch.bfloat16)
    maxima = both.view(torch.int16)[:, :, :h]
    both[:, :, h:] = linear.transpose(0, 1)
    both_weights = torch.empty(k, 2 * h, d, dtype=torch.bfloat16)
    both_weights[:, :h] = first
    linear_weights = torch.empty_like(difference)
    rounded = torch.empty(k, m, d, dtype=torch.bfloat16)
    hidden = torch.empty(k, m, d)
    members, minus = list(zip(hidden, weights.out, strict=True)), -difference
    logits = weights.constant.repeat(len(bits_a), m)
    for row, a_kh, bits, bias in zip(logits, a.states, bits_a, biases, strict=True):
        torch.maximum(bits_b, bits[:, None], out=maxima)
        both_weights[:, h:] = torch.addcmul(minus, a_kh[:, :, None], weights.product, out=linear_weights)
        torch.bmm(both, both_weights, out=rounded)
        torch.ops.aten.gelu_(hidden.copy_(rounded).add_(bias[:, None]))
        for member, out in members:
            row.addmv_(member, out)
    return logits


def _error(
    weights: HeadWeights, difference: Tensor, *, a: _Side, b: _Side, shift: Tensor, linear_error: Tensor,
    offsets: Tensor,
) -> Tensor:  # fmt: skip
    """Bounds (n, m) on the error of rough logits.

    A rough logit differs from the exact one by the rounding of the states, of the weights, and of the inputs
    of gelu. To first order that is a sum of tens of thousands of rounding errors, each times a derivative of
    the logit. The bound takes them as independent and symmetric, those of states and fixed weights with their
    actual size and the others as uniform up to the unit roundoff. Such a sum is sub-Gaussian, with the sum of
    squares as its variance; the derivatives are bounded by norms of the weights.
    """
    out = weights.out[:, None]
    rounding = _STEEPEST**2 * _ROUNDOFF**2 / 3
    differences, products = weights.difference * out, weights.product * out
    size_difference, size_product = (part.square().sum(dim=2) for part in (differences, products))
    norm_difference, norm_product = (
        torch.linalg.matrix_norm(part, 2).square()[:, None] for part in (differences, products)
    )
    fixed = _STEEPEST**2 * ((difference - weights.difference) * out).square().sum(dim=2)
    state_difference, state_product = _of_states(differences), _of_states(products)
    squares_a, squares_b = a.states.square(), b.states.square()
    error_a, error_b = ((side.shifted.float() - (side.states + shift)).square() for side in (a, b))
    error_b = 2 * (error_b + linear_error)

    # Where the inputs of gelu are rounded: before their bias is added, a row's part of them is `offsets`.
    of_rows = squares_a * (2 * fixed + 6 * rounding * norm_difference) + error_a * state_difference
    of_rows = of_rows.sum(dim=(1, 2)) + 3 * rounding * (offsets * weights.out).square().sum(dim=(1, 2))
    of_columns = (
        squares_b * (2 * fixed + rounding * (2 * size_difference + 6 * norm_difference))
        + error_b * state_difference
    ).sum(dim=(1, 2))
    of_pairs = squares_b * rounding * (2 * size_product + 3 * norm_product) + error_b * state_product
    # In bf16, as a percent of the bound does not matter.
    squares, of_pairs = (part.flatten(1).bfloat16() for part in (squares_a, of_pairs))
    variance = (squares @ of_pairs.t()).float().add_(of_columns).add_(of_rows[:, None])
    return variance.sqrt_().mul_(_DEVIATIONS)


def _of_states(weights: Tensor) -> Tensor:
    """Bounds (k, h) on the squared derivative of a logit, by a number that enters by weights (k, h, d).

    These are already multiplied with those of the output layer. With the slopes of gelu as 1/2 + r, the
    derivative is half the sum of a row of weights, plus at most its length times that of r.
    """
    d = weights.shape[2]
    half, rest = weights.sum(dim=2).square() / 4, _SLOPE_RADIUS**2 * d * weights.square().sum(dim=2)
    # (x + y)^2 <= 5 x^2 + 5/4 y^2.
    return 5 * half + 1.25 * rest
