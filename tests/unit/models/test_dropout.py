"""Dropout drops what it says, and products leave out what is dropped."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ppi_train.models.dropout import dropout, product_of_kept, product_without


def drawn(share: float, seed: int = 0, *, values: int = 200_001) -> Tensor:
    torch.manual_seed(seed)
    return dropout(torch.ones(values), share, training=True)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.3, 0.5, 0.999])
def test_the_share_is_dropped_and_the_expectation_stays(share: float) -> None:
    found = drawn(share)
    spread = (share * (1 - share) / len(found)) ** 0.5
    assert abs((found == 0).double().mean().item() - share) < 5 * spread + 2**-16
    assert abs(found.double().mean().item() - 1) < 5 * spread / (1 - share)
    dropped = round(share * 2**16) / 2**16
    assert found[found != 0].unique().tolist() == pytest.approx([1 / (1 - dropped)])


def test_the_seed_determines_what_is_dropped() -> None:
    assert torch.equal(drawn(0.3), drawn(0.3))
    assert not torch.equal(drawn(0.3), drawn(0.3, seed=1))


def test_neighbours_are_dropped_independently() -> None:
    kept = (drawn(0.3) != 0).double()
    for distance in range(1, 9):
        together = torch.corrcoef(torch.stack([kept[:-distance], kept[distance:]]))[0, 1]
        assert abs(together) < 5 / len(kept) ** 0.5


def test_dropout_of_nothing_is_the_input() -> None:
    x = torch.randn(5)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0, training=True) is x


def test_the_gradient_is_dropped_with_the_value() -> None:
    x = torch.ones(4, 1000, dtype=torch.bfloat16, requires_grad=True)
    found = dropout(x, 0.25, training=True)
    found.sum().backward()
    assert found.dtype == torch.bfloat16
    assert x.grad is not None
    assert torch.equal(x.grad, found.detach())


def inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs (n, k, d) and weights (k, d, h) of three members, and what each drops; one drops nothing."""
    torch.manual_seed(0)
    x, weight = (torch.randn(*shape, dtype=dtype, requires_grad=True) for shape in ((7, 3, 30), (3, 30, 4)))
    dropped = torch.rand(3, 30) < 0.4
    dropped[1] = False
    return x, weight, dropped


def by_gathering(x: Tensor, weight: Tensor, dropped: Tensor, share: float) -> Tensor:
    return product_without(x.permute(1, 2, 0), weight, dropped, share)


PRODUCTS = pytest.mark.parametrize("product", [by_gathering, product_of_kept])


@PRODUCTS
def test_a_product_leaves_out_dropped_inputs(product: Callable[..., Tensor]) -> None:
    x, weight, dropped = inputs()
    direction = torch.randn(7, 12)
    plain = torch.einsum("nkd,kdh->nkh", x, weight * (~dropped / (1 - 0.4))[:, :, None]).flatten(1)
    found = product(x, weight, dropped, 0.4)
    torch.testing.assert_close(found, plain)
    of_found, of_plain = (torch.autograd.grad(y, (x, weight), direction) for y in (found, plain))
    for value, expected in zip(of_found, of_plain, strict=True):
        torch.testing.assert_close(value, expected)


@PRODUCTS
def test_the_derivatives_of_a_product(product: Callable[..., Tensor]) -> None:
    x, weight, dropped = inputs(torch.float64)
    assert torch.autograd.gradcheck(lambda x, weight: product(x, weight, dropped, 0.3), (x, weight))


def test_members_can_have_the_same_inputs() -> None:
    x, weight, dropped = inputs()
    shared = x[:, 0]
    found = product_without(shared.t().expand(3, -1, -1), weight, dropped, 0.4)
    torch.testing.assert_close(
        found, product_of_kept(shared[:, None].expand(-1, 3, -1), weight, dropped, 0.4)
    )


@PRODUCTS
def test_a_product_in_bf16_is_close(
    product: Callable[..., Tensor],
) -> None:
    x, weight, dropped = inputs()
    full = product(x, weight, dropped, 0.4)
    with torch.autocast("cpu", torch.bfloat16):
        half = product(x.bfloat16() if product is by_gathering else x, weight, dropped, 0.4)
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    torch.testing.assert_close(half, full, atol=0.05, rtol=0.02)
    gradients = [torch.autograd.grad(y.sum(), (x, weight)) for y in (full, half)]
    for wanted, found in zip(*gradients, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted, atol=0.1, rtol=0.02)


@PRODUCTS
def test_all_inputs_dropped(product: Callable[..., Tensor]) -> None:
    x, weight, dropped = inputs()
    found = product(x, weight, torch.ones_like(dropped), 0.5)
    found.sum().backward()
    assert not found.any()
    assert weight.grad is not None
    assert not weight.grad.any()
