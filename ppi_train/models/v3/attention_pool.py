"""Attention pooling: a few weighted means of each protein's residues, at a cost linear in its length.

Where gradients are taken, proteins of similar length are padded and computed together: a product with the
few slots of one protein is too small to be fast. Elsewhere each protein is computed alone, so that its
states are the same bit for bit whatever it is encoded with.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppi_train.models.base import Packed
from ppi_train.models.device import product_dtype

_REACHES = (10.0, 50.0)
"""Decay lengths, in residues, of the closeness to an end of a protein."""
N_ENDS = 2 * len(_REACHES)


@lru_cache(maxsize=4096)
def nearness_to_ends(length: int) -> Tensor:
    """Closeness of each residue to both ends, (length, 4).

    The values are 3 * exp(-steps / reach).

    Localisation signals are at a protein's ends; a slot can attend to them at any protein length.
    """
    # What is made in inference mode cannot be used later where gradients are taken, as `explain` does.
    with torch.inference_mode(mode=False):
        steps = torch.arange(length)
        return _nearness(steps, length - 1 - steps)


def _nearness(from_start: Tensor, from_end: Tensor) -> Tensor:
    """Closeness to both ends (l, 4) of residues so many steps (l,) away from each."""
    steps = torch.stack([from_start, from_end], dim=1)
    return 3 * torch.exp(-steps[:, :, None] / torch.tensor(_REACHES)).flatten(1)


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

    def apply(self, slots: Tensor) -> Tensor:
        """Standardises slots (..., k, d) in place."""
        return slots.sub_(self.mean).mul_(self.scale).clamp_(-self.bound, self.bound)

    def gradient(self, gradient: Tensor, slots: Tensor) -> Tensor:
        """The gradient of slots (..., k, d) before standardisation, from that of what it made of them."""
        # Arithmetic in float32 has vector instructions in torch where a choice by booleans has none.
        return slots.abs().lt_(self.bound).mul_(self.scale).mul_(gradient)


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
    if torch.is_grad_enabled() and (query_dk.requires_grad or ends_ek.requires_grad):
        dtype = product_dtype(query_dk)
        pooled: Tensor = _AttentionPool.apply(residues, query_dk, ends_ek, scaling, dtype)  # type: ignore[no-untyped-call]
        return pooled
    slots = _new_slots(residues, query_dk)
    with torch.autocast(slots.device.type, enabled=False):
        for slots_kd, protein in zip(slots, Scratch(residues), strict=True):
            torch.mm(residue_weights(protein, query_dk, ends_ek), protein, out=slots_kd)
            scaling.apply(slots_kd)
    return slots


def _new_slots(residues: Packed, query_dk: Tensor) -> Tensor:
    """Memory (n, k, d)."""
    return query_dk.new_empty(len(residues), query_dk.shape[1], residues.values.shape[-1])


class _AttentionPool(torch.autograd.Function):
    """Attention pooling of groups of proteins.

    Only the weights are kept for the backward pass. The residues are data: they get no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, proteins: Packed, query_dk: Tensor, ends_ek: Tensor, scaling: Scaling, dtype: torch.dtype
    ) -> Tensor:
        pooled, weights, groups = _new_slots(proteins, query_dk), [], _Groups(proteins)
        with torch.autocast(pooled.device.type, enabled=False):
            query = query_dk.to(dtype)
            for group in groups.residues(dtype):
                weights.append(group.weights(query, ends_ek))
                slots_gkd = torch.bmm(weights[-1].to(dtype), group.residues).to(pooled.dtype)
                pooled.index_copy_(0, group.rows, scaling.apply(slots_gkd))
        ctx.groups, ctx.weights, ctx.scaling, ctx.dtype = groups, weights, scaling, dtype
        ctx.save_for_backward(pooled)
        ctx.shapes = query_dk.shape, ends_ek.shape
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient_nkd: Tensor) -> tuple[None, Tensor, Tensor, None, None]:
        (pooled,) = ctx.saved_tensors
        query_kd, ends_ke = (gradient_nkd.new_zeros(shape).t().contiguous() for shape in ctx.shapes)
        for group, weights_gkl in zip(ctx.groups.residues(ctx.dtype), ctx.weights, strict=True):
            gradient_gkd, slots_gkd = (part.index_select(0, group.rows) for part in (gradient_nkd, pooled))
            unbound = ctx.scaling.gradient(gradient_gkd, slots_gkd).to(ctx.dtype)
            parts_glk = torch.bmm(group.residues, unbound.transpose(1, 2)).to(weights_gkl.dtype)
            parts_gkl = parts_glk.transpose(1, 2).contiguous()
            logits_gkl = torch._softmax_backward_data(parts_gkl, weights_gkl, -1, weights_gkl.dtype)
            logits_kr = logits_gkl.transpose(0, 1).flatten(1)
            query_kd.add_(logits_kr.to(ctx.dtype) @ group.residues.flatten(0, 1))
            ends_ke.addmm_(logits_kr, group.nearness)
        return None, query_kd.t(), ends_ke.t(), None, None


class _Group(NamedTuple):
    """Proteins of similar length, padded to the longest.

    Attributes:
        rows: (g,) int64, which ones of all.
        residues: (g, l, d) in the precision of the products, zero beyond a protein's end.
        nearness: (g * l, e), see `nearness_to_ends`.
        beyond: (g, 1, l), 0 within a protein and -inf beyond its end.
    """

    rows: Tensor
    residues: Tensor
    nearness: Tensor
    beyond: Tensor

    def weights(self, query_dk: Tensor, ends_ek: Tensor) -> Tensor:
        """Attention weights (g, k, l), in the precision of `ends_ek`, zero beyond a protein's end."""
        logits = self.nearness @ ends_ek
        logits += self.residues.flatten(0, 1) @ query_dk
        logits_glk = logits.view(*self.residues.shape[:2], -1)
        # Transposed for the softmax; see `residue_weights`.
        logits_gkl = logits.new_empty(logits_glk.transpose(1, 2).shape)
        torch.add(logits_glk.transpose(1, 2), self.beyond, out=logits_gkl)
        return torch.softmax(logits_gkl, dim=-1)


_ROWS_AT_ONCE = 3072
"""Residues of a group, padding included: large enough for fast products, and some megabytes."""
_LENGTHS = 32
"""Groups are padded to a multiple of this: oneDNN makes a program for each new size of a product in bf16."""


class _Groups:
    """Groups of proteins of similar length."""

    def __init__(self, proteins: Packed) -> None:
        self._values, lengths = proteins.values, proteins.lengths
        self._parts = proteins.values.split(lengths.tolist())
        self._rows = list(_of_similar_length(lengths))
        self._longest = [_padded(int(lengths[rows[0]])) for rows in self._rows]
        counts = torch.tensor([len(rows) for rows in self._rows])
        padded = torch.tensor(self._longest).repeat_interleave(counts)
        from_start = torch.arange(int(padded.sum())) - (padded.cumsum(0) - padded).repeat_interleave(padded)
        from_end = (lengths[torch.cat(self._rows)] - 1).repeat_interleave(padded) - from_start
        nearness = _nearness(from_start, from_end.clamp(min=0)).to(proteins.values.device)
        beyond = torch.zeros(len(from_end)).masked_fill_(from_end < 0, -torch.inf).to(proteins.values.device)
        sizes = [len(rows) * longest for rows, longest in zip(self._rows, self._longest, strict=True)]
        self._nearness, self._beyond, self._most = nearness.split(sizes), beyond.split(sizes), max(sizes)

    def residues(self, dtype: torch.dtype) -> Iterator[_Group]:
        """The groups one after the other, in the same memory: each is valid until the next."""
        width = self._values.shape[-1]
        memory = self._values.new_empty(self._most, width, dtype=dtype)
        exact = self._values.new_empty(max(self._longest), width, dtype=torch.float32)
        each = zip(self._rows, self._longest, self._nearness, self._beyond, strict=True)
        for rows, longest, nearness, beyond in each:
            residues = memory[: len(beyond)].view(len(rows), longest, width)
            for own, row in zip(residues, rows.tolist(), strict=True):
                part = self._parts[row]
                if dtype != torch.float32:  # from float16 to bf16 torch is faster by way of float32
                    part = exact[: len(part)].copy_(part)
                own[: len(part)].copy_(part)
                own[len(part) :].zero_()
            yield _Group(rows.to(memory.device), residues, nearness, beyond.view(len(rows), 1, longest))


def _of_similar_length(lengths: Tensor) -> Iterator[Tensor]:
    """The numbers of proteins of similar length, the longest first, as many as fit into a group."""
    order = lengths.argsort(descending=True, stable=True)
    start = 0
    while start < len(order):
        longest = _padded(int(lengths[order[start]]))
        end = start + max(1, _ROWS_AT_ONCE // longest)
        yield order[start:end]
        start = end


def _padded(length: int) -> int:
    """The length to which the proteins of a group are padded, if the longest has this one."""
    return -(-length // _LENGTHS) * _LENGTHS
