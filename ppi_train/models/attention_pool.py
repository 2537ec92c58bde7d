"""Attention pooling of packed residues: a few weighted means a protein, at a cost linear in its length."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

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
    near = nearness_to_ends(len(residues_ld)).to(residues_ld.device)
    # Turned before the softmax, which is twenty times slower across rows than along them.
    return torch.softmax((residues_ld @ query_dk + near @ ends_ek).t().contiguous(), dim=-1)


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
    def forward(ctx: Any, proteins: Packed, query_dk: Tensor, ends_ek: Tensor) -> Tensor:
        shape = len(proteins), query_dk.shape[1], proteins.values.shape[-1]  # (n, k, d)
        pooled = proteins.values.new_empty(shape, dtype=torch.float32)
        weights = []
        with torch.autocast(pooled.device.type, enabled=False):
            for slots_kd, residues in zip(pooled, Scratch(proteins), strict=True):
                weights.append(residue_weights(residues, query_dk, ends_ek))
                torch.mm(weights[-1], residues, out=slots_kd)
        ctx.proteins, ctx.weights = proteins, weights
        ctx.save_for_backward(pooled)
        ctx.shapes = query_dk.shape, ends_ek.shape
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient_nkd: Tensor) -> tuple[None, Tensor, Tensor]:
        (pooled,) = ctx.saved_tensors
        query, ends = (gradient_nkd.new_zeros(shape) for shape in ctx.shapes)
        # d softmax: weight * (its own part - the weighted mean of all parts).
        mean_nk = (gradient_nkd * pooled).sum(dim=-1)
        with torch.autocast(gradient_nkd.device.type, enabled=False):
            each = zip(Scratch(ctx.proteins), ctx.weights, gradient_nkd, mean_nk, strict=True)
            for residues, weights_kl, gradient_kd, mean_k in each:
                logits = weights_kl.t() * (residues @ gradient_kd.t() - mean_k)
                query.addmm_(residues.t(), logits)
                ends.addmm_(nearness_to_ends(len(residues)).to(ends.device).t(), logits)
        return None, query, ends


def attention_pool(residues: Packed, query_dk: Tensor, ends_ek: Tensor) -> Tensor:
    """Weighted means of each protein's residues.

    Args:
        residues: n proteins of d numbers a residue, of any floating type; no gradient flows into them.
        query_dk: What each of the k slots looks for.
        ends_ek: How much each slot looks at the ends; see `nearness_to_ends`.

    Returns:
        (n, k, d) float32.
    """
    pooled: Tensor = _AttentionPool.apply(residues, query_dk, ends_ek)  # type: ignore[no-untyped-call]
    return pooled
