"""Attention pooling of packed residues: a few weighted means a protein, at a cost linear in its length."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppi_train.models.packed import Packed

_REACHES = (10.0, 50.0)
"""Over how many residues what counts as an end of a protein fades."""
N_ENDS = 2 * len(_REACHES)


@lru_cache(maxsize=4096)
def nearness_to_ends(length: int) -> Tensor:
    """How near each residue is to the first and to the last, (length, 4): exp(-steps / reach), times 3.

    Signals of where a protein goes stand at its ends; a slot may look there wherever the end is.
    """
    steps = torch.arange(length, dtype=torch.float32)
    ends = [torch.exp(-one / reach) for one in (steps, length - 1 - steps) for reach in _REACHES]
    return 3 * torch.stack(ends, dim=1)


def residue_weights(residues_ld: Tensor, query_dk: Tensor, ends_ek: Tensor) -> Tensor:
    """The weights (k, l) of one protein's residues in each slot; each slot's sum to 1."""
    near_le = nearness_to_ends(len(residues_ld)).to(residues_ld.device)
    logits_lk = torch.addmm(near_le @ ends_ek, residues_ld, query_dk)
    # Turned before the softmax, which is twenty times slower across rows than along them; and not made
    # turned, since a product of few rows is not shared well among threads.
    return torch.softmax(logits_lk.t().contiguous(), dim=-1)


class Scaling(NamedTuple):
    """From the numbers of the slots the mean, times the scale, each (k, d), and kept within the bound."""

    mean: Tensor
    scale: Tensor
    bound: float


class Scratch:
    """One piece of memory for the float32 numbers of a protein after the other: new memory costs more."""

    def __init__(self, proteins: Packed) -> None:
        longest = int(proteins.lengths.max()) if len(proteins) else 0
        self._proteins = proteins
        self._memory = proteins.values.new_empty(longest, proteins.values.shape[-1], dtype=torch.float32)

    def __iter__(self) -> Iterator[Tensor]:
        """The residues (l, d) of each protein, valid until the next."""
        for start, end in pairwise(self._proteins.offsets.tolist()):
            yield self._memory[: end - start].copy_(self._proteins.values[start:end])


class _AttentionPool(torch.autograd.Function):
    """One protein at a time, so that its residues, in float32, stay in the processor's cache.

    Only the weights are kept for the way back. The residues are data: they get no gradient.
    """

    @staticmethod
    def forward(ctx: Any, proteins: Packed, query_dk: Tensor, ends_ek: Tensor, scaling: Scaling) -> Tensor:
        shape = len(proteins), query_dk.shape[1], proteins.values.shape[-1]  # (n, k, d)
        pooled = proteins.values.new_empty(shape, dtype=torch.float32)
        weights = []
        with torch.autocast(pooled.device.type, enabled=False):
            for slots_kd, residues in zip(pooled, Scratch(proteins), strict=True):
                weights.append(residue_weights(residues, query_dk, ends_ek))
                torch.mm(weights[-1], residues, out=slots_kd)
                slots_kd.sub_(scaling.mean).mul_(scaling.scale).clamp_(-scaling.bound, scaling.bound)
        ctx.proteins, ctx.weights, ctx.scaling = proteins, weights, scaling
        ctx.save_for_backward(pooled)
        ctx.shapes = query_dk.shape, ends_ek.shape
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient_nkd: Tensor) -> tuple[None, Tensor, Tensor, None]:
        (pooled,) = ctx.saved_tensors
        query_dk, ends_ek = (gradient_nkd.new_zeros(shape) for shape in ctx.shapes)
        _, scale, bound = ctx.scaling
        with torch.autocast(gradient_nkd.device.type, enabled=False):
            each = zip(Scratch(ctx.proteins), ctx.weights, gradient_nkd, pooled, strict=True)
            for residues, weights_kl, gradient_kd, slots_kd in each:
                unbound_kd = torch.where(slots_kd.abs() < bound, gradient_kd * scale, 0.0)
                parts_kl = (residues @ unbound_kd.t()).t().contiguous()
                # d softmax: weight * (its own part - the weighted mean of all parts).
                mean_k1 = (parts_kl * weights_kl).sum(dim=-1, keepdim=True)
                logits_kl = parts_kl.sub_(mean_k1).mul_(weights_kl)
                query_dk.addmm_(residues.t(), logits_kl.t())
                near_le = nearness_to_ends(len(residues)).to(ends_ek.device)
                ends_ek.addmm_(near_le.t(), logits_kl.t())
        return None, query_dk, ends_ek, None


def attention_pool(residues: Packed, query_dk: Tensor, ends_ek: Tensor, scaling: Scaling) -> Tensor:
    """Weighted means of each protein's residues, scaled.

    Args:
        residues: n proteins of d numbers a residue, of any floating type; no gradient flows into them.
        query_dk: What each of the k slots looks for.
        ends_ek: How much each slot looks at the ends; see `nearness_to_ends`.
        scaling: Of the means.

    Returns:
        (n, k, d) float32.
    """
    pooled: Tensor = _AttentionPool.apply(residues, query_dk, ends_ek, scaling)  # type: ignore[no-untyped-call]
    return pooled
