"""Attention pooling of packed residues, at a cost linear in protein length.

Each protein gets a few weighted means of its residues.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppi_train.models.packed import Packed

_REACHES = (10.0, 50.0)
"""Decay lengths, in residues, of the closeness to an end of a protein."""
N_ENDS = 2 * len(_REACHES)


@lru_cache(maxsize=4096)
def nearness_to_ends(length: int) -> Tensor:
    """Closeness of each residue to both ends, (length, 4).

    The values are 3 * exp(-steps / reach).

    Localisation signals are at a protein's ends; a slot can attend to them at any protein length.
    """
    steps = torch.arange(length, dtype=torch.float32)
    ends = [
        torch.exp(-steps_from_end / reach)
        for steps_from_end in (steps, length - 1 - steps)
        for reach in _REACHES
    ]
    return 3 * torch.stack(ends, dim=1)


def residue_weights(residues_ld: Tensor, query_dk: Tensor, ends_ek: Tensor) -> Tensor:
    """Attention weights (k, l) of one protein's residues, per slot.

    The weights of each slot sum to 1.
    """
    near_le = nearness_to_ends(len(residues_ld)).to(residues_ld.device)
    logits_lk = torch.addmm(near_le @ ends_ek, residues_ld, query_dk)
    # Transposed before the softmax, which is twenty times slower across rows than along them; and not
    # computed transposed, since a product of few rows is not divided well among threads.
    return torch.softmax(logits_lk.t().contiguous(), dim=-1)


class Scaling(NamedTuple):
    """Standardisation of slot values: subtract mean, multiply by scale, clip.

    `mean` and `scale` are (k, d) each; `bound` is the largest absolute value.
    """

    mean: Tensor
    scale: Tensor
    bound: float


class Scratch:
    """A reused float32 buffer for one protein at a time.

    Allocating memory for each protein costs more.
    """

    def __init__(self, proteins: Packed) -> None:
        longest = int(proteins.lengths.max()) if len(proteins) else 0
        self._proteins = proteins
        self._memory = proteins.values.new_empty(longest, proteins.values.shape[-1], dtype=torch.float32)

    def __iter__(self) -> Iterator[Tensor]:
        """Yields the residues (l, d) of each protein, valid until the next."""
        for start, end in pairwise(self._proteins.offsets.tolist()):
            yield self._memory[: end - start].copy_(self._proteins.values[start:end])


class _AttentionPool(torch.autograd.Function):
    """Attention pooling as an autograd function, one protein at a time.

    The residues of one protein, in float32, stay in the processor's cache.

    Only the weights are kept for the backward pass. The residues are data: they get no gradient.
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
        query_dk: The learned query of each of the k slots.
        ends_ek: How much each slot attends to the ends; see `nearness_to_ends`.
        scaling: Standardisation of the means.

    Returns:
        (n, k, d) float32.
    """
    pooled: Tensor = _AttentionPool.apply(residues, query_dk, ends_ek, scaling)  # type: ignore[no-untyped-call]
    return pooled
