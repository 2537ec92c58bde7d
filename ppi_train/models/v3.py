"""`v3`: a protein as a few learned summaries of its residues, scored against those of its partner."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from ppi_train.models.attention_pool import N_ENDS, Scratch, attention_pool, residue_weights
from ppi_train.models.members import EnsembleModel, MemberEncoder, MemberPairHead
from ppi_train.models.packed import Packed
from ppi_train.models.registry import register

END = 50
"""Residues of either end with a mean of their own."""
N_STATISTICS = 5
_SLOT_SPREAD = 2.0
"""A slot's inputs are in units of so many deviations of the mean: the fixed statistics speak first."""
_STEPS = 24
"""Of the sum that stands for the integral of gradients."""


class SlotEncoder(nn.Module):
    """Fixed statistics and learned weighted means of a protein's residues, to one state a member.

    Each slot weighs the residues by what it looks for and how near the ends they are (attention with a
    learned query), so that a protein costs time linear in its length, whatever it is later paired with.
    A member has slots of its own: with shared ones, members err alike, and their mean hardly less than each.

    Args:
        input_dim: Numbers of a residue, d.
        slots: Learned summaries of a protein for each of the k members, s.
    """

    def __init__(
        self,
        input_dim: int,
        *,
        slots: int,
        members: int,
        hidden_dim: int,
        dropout: float,
        input_dropout: float,
    ) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(input_dim, members * slots) / math.sqrt(input_dim))
        self.ends = nn.Parameter(torch.zeros(N_ENDS, members * slots))
        bound = 1 / math.sqrt(slots * input_dim)
        self.weight = nn.Parameter(
            torch.empty(members, slots * input_dim, hidden_dim).uniform_(-bound, bound)
        )
        self.states = MemberEncoder(
            N_STATISTICS * input_dim,
            members=members,
            hidden_dim=hidden_dim,
            num_layers=1,
            dropout=dropout,
            input_dropout=input_dropout,
        )

    def forward(self, features: Tensor) -> Tensor:
        """Standardised statistics and slots (n, (5 + k * s) * d) -> states (n, k * hidden_dim)."""
        statistics = features[:, : len(self.states.weight)]
        slots_kni = features[:, statistics.shape[1] :].unflatten(1, (len(self.weight), -1)).transpose(0, 1)
        of_slots = torch.bmm(slots_kni, self._seen()).transpose(0, 1).flatten(1)
        states: Tensor = self.states(statistics, of_slots)
        return states

    def _seen(self) -> Tensor:
        """The weights of the slots, those of dropped inputs at zero, for a member and a batch alike."""
        shown = torch.ones_like(self.weight[:, :, :1])
        return self.weight * dropout(shown, self.states.input_dropout, self.training)


@register("v3")
class V3(EnsembleModel):
    """See `SlotEncoder` and `MemberPairHead`.

    Args:
        input_dim: Numbers in a residue's embedding, d.
        hidden_dim: Width of a member's state.
        head_dim: Width of the hidden layer that scores a pair.
        dropout: Share of activations dropped in training.
        input_dropout: Share of the numbers of statistics and slots that a member does not see in a batch.
        members: Networks whose mean is the score.
        slots: Learned summaries of a protein for each member.
    """

    GRANULARITY: ClassVar[str] = "residue"
    residue_scale: Tensor
    encoder: SlotEncoder

    def __init__(
        self,
        input_dim: int,
        *,
        hidden_dim: int = 128,
        head_dim: int = 32,
        dropout: float = 0.3,
        input_dropout: float = 0.5,
        members: int = 4,
        slots: int = 4,
    ) -> None:
        super().__init__((N_STATISTICS + members * slots) * input_dim)
        self.slots = members * slots
        self.register_buffer("residue_scale", torch.ones(input_dim))
        self.encoder = SlotEncoder(
            input_dim,
            slots=slots,
            members=members,
            hidden_dim=hidden_dim,
            dropout=dropout,
            input_dropout=input_dropout,
        )
        self.head = MemberPairHead(members=members, hidden_dim=hidden_dim, head_dim=head_dim, dropout=dropout)

    def fit_input_statistics(self, proteins: Iterable[Packed]) -> None:
        """Takes the scale of residues and of what is pooled from them, a slot's from that of the mean."""
        statistics = torch.cat([statistics_of(one).cpu() for one in proteins])
        means, _, deviations, _, _ = statistics.chunk(N_STATISTICS, dim=1)
        self._standardise_to(torch.cat([statistics, means.repeat(1, self.slots)], dim=1))
        self.scale[statistics.shape[1] :] /= _SLOT_SPREAD
        within, between = deviations.square().mean(dim=0), means.var(dim=0, correction=0)
        self.residue_scale.copy_(1 / (within + between).sqrt().clamp(min=1e-6))

    def encode(self, proteins: Packed) -> Tensor:
        """Residues of n proteins -> states (n, members * hidden_dim)."""
        return self._states(statistics_of(proteins), self._slots(proteins))

    def _slots(self, proteins: Packed) -> Tensor:
        """(n, members * slots, d)."""
        return attention_pool(proteins, self._query(), self.encoder.ends)

    def _query(self) -> Tensor:
        """What the slots look for, in units of the residues' deviation."""
        return self.encoder.query * self.residue_scale[:, None]

    def _states(self, statistics: Tensor, slots: Tensor) -> Tensor:
        states: Tensor = self.encoder(self.standardise(torch.cat([statistics, slots.flatten(1)], dim=1)))
        return states

    def explain(self, proteins: Packed, pairs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """A residue's weight is its share in what sets the score apart from that of featureless proteins.

        Integrated gradients (Sundararajan et al. 2017) from proteins whose residues are all as their mean to
        the proteins as they are; the size of a residue's part, whichever way it moves the score.
        """
        explained = [self._explain_pair(proteins, pair) for pair in pairs.cpu()]
        return [a for a, _ in explained], [b for _, b in explained]

    @torch.enable_grad()
    def _explain_pair(self, proteins: Packed, pair: Tensor) -> tuple[Tensor, Tensor]:
        sides = [proteins.take(one[None]).values.float() for one in pair]
        means = [one.mean(dim=0) for one in sides]
        parts = [torch.zeros_like(one) for one in sides]
        for step in range(_STEPS):
            share = (step + 0.5) / _STEPS
            between = [
                torch.lerp(mean.expand_as(one), one, share).requires_grad_()
                for mean, one in zip(means, sides, strict=True)
            ]
            logit = self.score(*(self._state_of(one) for one in between))
            for part, gradient in zip(parts, torch.autograd.grad(logit.sum(), between), strict=True):
                part += gradient / _STEPS
        a, b = (
            ((side - mean) * part).sum(dim=1).abs()
            for side, mean, part in zip(sides, means, parts, strict=True)
        )
        return a, b

    def _state_of(self, residues: Tensor) -> Tensor:
        """The state (1, h) of one protein (l, d), by operations that have a gradient for its residues."""
        mean = residues.mean(dim=0)
        # Not from zero, where the root has no slope.
        deviation = ((residues - mean).square().mean(dim=0) + 1e-12).sqrt()
        ends = residues[:END].mean(dim=0), residues[-END:].mean(dim=0)
        slots = residue_weights(residues, self._query(), self.encoder.ends) @ residues
        statistics = torch.cat([mean, residues.amax(dim=0), deviation, *ends])
        return self._states(statistics[None], slots[None])


@torch.no_grad()
def statistics_of(proteins: Packed) -> Tensor:
    """Mean, maximum, deviation, and the means of the first and the last `END` residues.

    Returns:
        (n, N_STATISTICS * d) float32.
    """
    found = proteins.values.new_empty(
        len(proteins), N_STATISTICS, proteins.values.shape[-1], dtype=torch.float32
    )
    for row, residues in zip(found, Scratch(proteins), strict=True):
        torch.mean(residues, dim=0, out=row[0])
        torch.amax(residues, dim=0, out=row[1])
        torch.mean(residues[:END], dim=0, out=row[3])
        torch.mean(residues[-END:], dim=0, out=row[4])
        # Many times faster than `torch.std`; last, since it overwrites the residues.
        torch.mean(residues.sub_(row[0]).square_(), dim=0, out=row[2])
    found[:, 2].sqrt_()
    return found.flatten(1)
