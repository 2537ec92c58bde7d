"""Products of pair features have the values and gradients of the plain formula, and no order of sides."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ppi_train.models.pair_features import pair_products

MEMBERS, WIDTH, OUT, PROTEINS = 3, 5, 4, 11


def given(pairs: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """States, pairs and weights; proteins occur more than once, and one with itself."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(PROTEINS, MEMBERS * WIDTH, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(MEMBERS, 2 * WIDTH, OUT, generator=generator, dtype=dtype).requires_grad_()
    rows = torch.randint(PROTEINS, (pairs, 2), generator=generator)
    rows[0] = 3
    return states, rows, weight


def by_formula(states: Tensor, pairs: Tensor, weight: Tensor) -> Tensor:
    a, b = (states[rows].view(len(pairs), MEMBERS, WIDTH) for rows in pairs.unbind(1))
    return torch.einsum("mkf,kfc->kmc", torch.cat([(a - b).abs(), a * b], dim=2), weight)


# As many as are computed at once, fewer, and more.
@pytest.mark.parametrize("pairs", [1, 256, 700])
def test_values_and_gradients_are_those_of_the_formula(pairs: int) -> None:
    states, rows, weight = given(pairs, torch.float64)
    found, expected = pair_products(states, rows, weight), by_formula(states, rows, weight)
    torch.testing.assert_close(found, expected)
    direction = torch.randn(found.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad(value, (states, weight), direction) for value in (found, expected)]
    for value, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(value, wanted)


def test_the_derivatives() -> None:
    states, rows, weight = given(8, torch.float64)
    apart = rows[rows[:, 0] != rows[:, 1]]  # |a - b| has no derivative where they are equal
    assert torch.autograd.gradcheck(
        lambda *inputs: pair_products(inputs[0], apart, inputs[1]), (states, weight)
    )


@pytest.mark.parametrize("half", [False, True])
def test_the_order_of_a_pair_changes_no_bit(half: bool) -> None:
    states, rows, weight = given(700)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        assert torch.equal(pair_products(states, rows, weight), pair_products(states, rows.flip(1), weight))


def test_frozen_states_get_no_gradient() -> None:
    states, rows, weight = given(20)
    pair_products(states.detach(), rows, weight).sum().backward()
    assert states.grad is None
    assert weight.grad is not None


def test_bf16_is_close() -> None:
    states, rows, weight = given(300)
    full = pair_products(states, rows, weight)
    with torch.autocast("cpu", torch.bfloat16):
        half = pair_products(states, rows, weight)
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    torch.testing.assert_close(half, full, atol=0.1, rtol=0.02)
    gradients = [torch.autograd.grad(value.sum(), (states, weight)) for value in (full, half)]
    for wanted, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, atol=0.02 * float(wanted.abs().max()), rtol=0)


def test_no_pairs() -> None:
    states, _, weight = given(1)
    found = pair_products(states, torch.empty(0, 2, dtype=torch.int64), weight)
    found.sum().backward()
    assert found.shape == (MEMBERS, 0, OUT)
    assert states.grad is not None
    assert not states.grad.any()
