"""Tests of attention pooling and its gradients against a plain formula."""

from __future__ import annotations

import pytest
import torch

from ppi_train.models.base import Packed
from ppi_train.models.v3.attention_pool import N_ENDS, Scaling, attention_pool, nearness_to_ends

LENGTHS = [4, 1, 30, 7]
D, K = 6, 3


def packed(dtype: torch.dtype = torch.float32) -> Packed:
    values = torch.randn(sum(LENGTHS), D, generator=torch.Generator().manual_seed(0)).to(dtype)
    return Packed(values, torch.tensor([0, *LENGTHS]).cumsum(0))


def parameters() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    query, ends = (torch.randn(rows, K, generator=generator) for rows in (D, N_ENDS))
    return query.requires_grad_(), ends.requires_grad_()


def scaling() -> Scaling:
    """Of a bound that some numbers are beyond."""
    generator = torch.Generator().manual_seed(3)
    mean, scale = (torch.randn(K, D, generator=generator) for _ in range(2))
    return Scaling(mean, scale, bound=1.0)


def by_formula(residues: Packed, query: torch.Tensor, ends: torch.Tensor, scaling: Scaling) -> torch.Tensor:
    slots = []
    for protein in residues.values.float().split(LENGTHS):
        logits = protein @ query + nearness_to_ends(len(protein)) @ ends
        weights = logits.exp() / logits.exp().sum(dim=0)
        slots.append((weights[:, :, None] * protein[:, None, :]).sum(dim=0))
    return ((torch.stack(slots) - scaling.mean) * scaling.scale).clamp(-scaling.bound, scaling.bound)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_slots_and_gradients_are_those_of_the_formula(dtype: torch.dtype) -> None:
    residues = packed(dtype)
    toward = torch.randn(len(LENGTHS), K, D, generator=torch.Generator().manual_seed(2))
    found = []
    for pool in (attention_pool, by_formula):
        query, ends = parameters()
        slots = pool(residues, query, ends, scaling())
        assert 0 < (slots.abs() == 1).sum() < slots.numel() / 2
        (slots * toward).sum().backward()
        found.append((slots.detach(), query.grad, ends.grad))
    for value, expected in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows_at_once", [1, 8, 40, 1000])
def test_the_groups_of_proteins_do_not_matter(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    toward = torch.randn(len(LENGTHS), K, D, generator=torch.Generator().manual_seed(2))
    found = []
    for rows in (rows_at_once, 3072):
        monkeypatch.setattr("ppi_train.models.v3.attention_pool._ROWS_AT_ONCE", rows)
        query, ends = parameters()
        slots = attention_pool(packed(), query, ends, scaling())
        (slots * toward).sum().backward()
        found.append((slots.detach(), query.grad, ends.grad))
    for value, expected in zip(*found, strict=True):
        torch.testing.assert_close(value, expected)


def test_bf16_is_close() -> None:
    toward = torch.randn(len(LENGTHS), K, D, generator=torch.Generator().manual_seed(2))
    found = []
    for half in (False, True):
        query, ends = parameters()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            slots = attention_pool(packed(torch.float16), query, ends, scaling())
        (slots * toward).sum().backward()
        assert query.grad is not None
        assert ends.grad is not None
        found.append((slots.detach(), query.grad, ends.grad))
    assert not torch.equal(found[0][0], found[1][0])
    for wanted, value in zip(*found, strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, wanted, atol=0.05 * float(wanted.abs().max()), rtol=0)


@torch.no_grad()
def test_what_a_protein_is_encoded_with_changes_no_bit() -> None:
    query, ends = parameters()
    together = attention_pool(packed(), query, ends, scaling())
    alone = [
        attention_pool(packed().take(torch.tensor([protein])), query, ends, scaling())
        for protein in range(len(LENGTHS))
    ]
    assert torch.equal(torch.cat(alone), together)


def test_training_and_inference_pool_the_same() -> None:
    query, ends = parameters()
    slots = attention_pool(packed(), query, ends, scaling())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):  # inference is in float32
        torch.testing.assert_close(attention_pool(packed(), query, ends, scaling()), slots.detach())


def test_the_ends_are_near_themselves_alone() -> None:
    near = nearness_to_ends(1000)
    assert near.shape == (1000, N_ENDS)
    assert near[0].tolist() == pytest.approx([3, 3, 0, 0], abs=1e-6)
    assert near[-1].tolist() == pytest.approx([0, 0, 3, 3], abs=1e-6)
    assert near[500].abs().max() < 1e-3


def test_what_inference_has_made_can_be_used_where_gradients_are_taken() -> None:
    nearness_to_ends.cache_clear()
    with torch.inference_mode():
        nearness_to_ends(7)
    weights = torch.ones(N_ENDS, requires_grad=True)
    (nearness_to_ends(7) @ weights).sum().backward()
    assert weights.grad is not None
