"""Dropout drops what it says, and products leave out what is dropped."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ppi_train.models.dropout import dropout, product_without


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


def test_a_product_leaves_out_dropped_inputs() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(30, 7, requires_grad=True), torch.randn(30, 4, requires_grad=True)
    dropped, direction = torch.rand(30) < 0.4, torch.randn(7, 4)
    plain = (x * (~dropped / (1 - 0.4))[:, None]).t() @ weight
    found = product_without(x, weight, dropped, 0.4)
    assert torch.allclose(found, plain, atol=1e-5)
    of_found, of_plain = (torch.autograd.grad(y, (x, weight), direction) for y in (found, plain))
    for of_one, of_other in zip(of_found, of_plain, strict=True):
        assert torch.allclose(of_one, of_other, atol=1e-5)


def test_the_derivatives_of_a_product() -> None:
    torch.manual_seed(0)
    x, weight = (torch.randn(6, n, dtype=torch.float64, requires_grad=True) for n in (3, 2))
    dropped = torch.tensor([0, 1, 0, 0, 1, 0]).bool()
    assert torch.autograd.gradcheck(lambda x, weight: product_without(x, weight, dropped, 0.3), (x, weight))


def test_all_inputs_dropped() -> None:
    x, weight = (torch.randn(3, 2, requires_grad=True) for _ in range(2))
    found = product_without(x, weight, torch.ones(3).bool(), 0.5)
    found.sum().backward()
    assert not found.any()
    assert weight.grad is not None
    assert not weight.grad.any()
