"""Tests of rough scores of a block, with bounds, and of exact scores of some of its pairs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ppi_train.models.pair_head import MemberPairHead
from ppi_train.models.rough_block import RoughBlock

# Members, width of a state, width of the head.
SHAPES = [(4, 128, 32), (3, 100, 17), (1, 64, 16), (2, 7, 5)]


def head_of(members: int, hidden: int, width: int, *, scale: float = 1.0) -> MemberPairHead:
    torch.manual_seed(members)
    head = MemberPairHead(members=members, hidden_dim=hidden, head_dim=width, dropout=0.0).eval()
    head.hidden.weight.data.mul_(scale)
    return head


def rough(head: MemberPairHead, a: Tensor, b: Tensor) -> RoughBlock:
    block = head.rough_block(a, b)
    assert block is not None
    return block


def usual(count: int, width: int) -> Tensor:
    return torch.randn(count, width)


def skewed(count: int, width: int) -> Tensor:
    """As a layer norm of what gelu gives, some of it with negative gains."""
    states = torch.nn.functional.layer_norm(torch.nn.functional.gelu(torch.randn(count, width)), (width,))
    return states * torch.randn(width)


def far_from_zero(count: int, width: int) -> Tensor:
    return torch.randn(count, width) + 3 * torch.randn(width)


def with_outliers(count: int, width: int) -> Tensor:
    return torch.randn(count, width) ** 3


def nearly_equal(count: int, width: int) -> Tensor:
    return torch.randn(width) + 1e-3 * torch.randn(count, width)


STATES = [usual, skewed, far_from_zero, with_outliers, nearly_equal]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("states_of", STATES)
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_exact_scores_are_well_within_the_bounds(
    shape: tuple[int, int, int], states_of: Callable[[int, int], Tensor], scale: float
) -> None:
    head = head_of(*shape, scale=scale)
    states = states_of(150, shape[0] * shape[1])
    a, b = states[:50], states[50:]
    block = rough(head, a, b)
    apart = (block.logits.double() - head.double().block(a.double(), b.double())).abs()
    assert float((apart / block.error).max()) < 0.5


def test_bounds_of_usual_states_are_narrow() -> None:
    head = head_of(4, 128, 32, scale=3.0)
    states = usual(200, 4 * 128)
    block = rough(head, states[:50], states[50:])
    assert float(block.error.max()) < float(block.logits.std())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_states_that_are_not_finite_are_seen(value: float) -> None:
    head = head_of(2, 16, 8)
    states = usual(40, 32)
    states[7, 3] = value
    block = rough(head, states[:20], states[20:])
    assert not torch.isfinite(block.logits + block.error).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.7, 1.0])
def test_some_pairs_have_the_scores_of_the_whole_block(shape: tuple[int, int, int], share: float) -> None:
    head = head_of(*shape)
    states = usual(140, shape[0] * shape[1])
    a, b = states[:40], states[40:]
    chosen = torch.rand(40, 100) < share
    chosen[3] = share > 0
    chosen[4] = False
    some = head.cells(a, b, chosen.flatten().nonzero().squeeze(1))
    assert torch.equal(some, head.block(a, b)[chosen])


def test_a_head_of_one_unit_has_no_rough_scores() -> None:
    assert head_of(2, 16, 1).rough_block(usual(40, 32), usual(40, 32)) is None
