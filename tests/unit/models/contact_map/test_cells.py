"""Cells computed in blocks are those of the plain formula, and so are their derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ppi_train.models.contact_map.cells import BLOCK_CELLS, Cells, PairConvolution

SIZES = [(5, 4), (3, 4), (5, 1)]
H, CHANNELS = 6, 3


@pytest.fixture(params=[1, 7, 10**6])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BLOCK_CELLS, "cpu", request.param)


def sides(dtype: torch.dtype) -> list[Tensor]:
    """Padded with noise, which must not matter; some numbers are equal on both sides."""
    made = [torch.randn(len(SIZES), max(size[side] for size in SIZES), H, dtype=dtype) for side in (0, 1)]
    return [side.relu().requires_grad_() for side in made]


def plain(layer: PairConvolution, a: Tensor, b: Tensor) -> Cells:
    values = a.new_zeros(len(SIZES), CHANNELS + 1, a.shape[1], b.shape[1])
    own: list[Tensor] = []
    for number, (rows, columns) in enumerate(SIZES):
        one, other = a[number, :rows, None], b[number, :columns]
        features = torch.cat([(one - other).abs(), one * other], dim=2)
        cells = (features @ torch.cat([layer.difference, layer.product], dim=1).t() + layer.bias).relu()
        values[number, :-1, :rows, :columns] = cells.permute(2, 0, 1)
        values[number, -1, :rows, :columns] = 1
        own.append(cells.flatten(0, 1))
    every = torch.cat(own)
    return Cells(values, every.mean(dim=0), every.var(dim=0, correction=0), len(every))


@pytest.mark.usefixtures("block")
def test_cells_and_gradients_are_those_of_the_plain_formula() -> None:
    torch.manual_seed(0)
    layer, (a, b) = PairConvolution(H, CHANNELS), sides(torch.float32)
    found, expected = layer(a, b, SIZES), plain(layer, a, b)
    weights = [torch.randn_like(part) for part in expected[:3]]
    weights[0][:, -1] = 0
    for one, other in zip(found[:3], expected[:3], strict=True):
        torch.testing.assert_close(one, other)
    assert found.n_cells == expected.n_cells
    inputs = (a, b, *layer.parameters())
    gradients = (
        torch.autograd.grad([*cells[:3]], inputs, grad_outputs=weights) for cells in (found, expected)
    )
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_the_derivatives_of_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BLOCK_CELLS, "cpu", 9)
    torch.manual_seed(0)
    layer = PairConvolution(H, CHANNELS).double()
    a, b = (torch.rand_like(side).requires_grad_() for side in sides(torch.float64))

    def of_cells(a: Tensor, b: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        names = ("difference", "product", "bias")
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (a, b, SIZES))[:3]  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(of_cells, (a, b, *layer.parameters()))


def test_padding_has_no_cells() -> None:
    layer, (a, b) = PairConvolution(H, CHANNELS), sides(torch.float32)
    values = layer(a, b, SIZES).values
    assert values[1, -1].sum() == 12
    assert not values[1, :, 3:].any()
    assert not values[2, :, :, 1:].any()


def test_half_precision_is_near() -> None:
    torch.manual_seed(0)
    layer, (a, b) = PairConvolution(H, CHANNELS), sides(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(a, b, SIZES)
    assert (found.values.dtype, found.mean.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(found.values.float(), layer(a, b, SIZES).values, atol=0.03, rtol=0.03)
    found.values.float().sum().backward()
    assert a.grad is not None
    assert a.grad.dtype == torch.float32
