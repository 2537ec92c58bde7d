"""`v3`: a protein as a few learned summaries of its residues, scored against those of its partner."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from ppi_train.models.attention_pool import N_ENDS, Scaling, attention_pool, residue_weights
from ppi_train.models.base import member_losses
from ppi_train.models.members import EnsembleModel, MemberEncoder, MemberPairHead
from ppi_train.models.packed import Packed
from ppi_train.models.registry import register
from ppi_train.models.residue_statistics import N_MOMENTS, ResidueStatistics
from ppi_train.models.similarity import SimilarityExpert

_SLOT_SPREAD = 2.0
"""A slot's inputs are in units of so many deviations of the mean: the fixed statistics speak first."""
_COVARIANCE_SHARE = 0.4
"""A covariance's inputs weigh so much: there are more of them than of all others."""
_STEPS = 24
"""Of the sum that stands for the integral of gradients."""


class States(NamedTuple):
    """What is kept of n proteins: the members' states (n, k * h), and what similarity is told by (n, s)."""

    members: Tensor
    sketch: Tensor


class SlotEncoder(nn.Module):
    """Fixed statistics and learned weighted means of a protein's residues, to one state a member.

    Each slot weighs the residues by what it looks for and how near the ends they are (attention with a
    learned query), so that a protein costs time linear in its length, whatever it is later paired with.
    A member has slots of its own: with shared ones, members err alike, and their mean hardly less than each.

    Args:
        statistics: Fixed numbers of a protein, t.
        input_dim: Numbers of a residue, d.
        slots: Learned summaries of a protein for each of the k members, s.
    """

    def __init__(
        self,
        statistics: int,
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
            statistics,
            members=members,
            hidden_dim=hidden_dim,
            num_layers=1,
            dropout=dropout,
            input_dropout=input_dropout,
        )

    def forward(self, statistics: Tensor, slots: Tensor) -> Tensor:
        """Standardised statistics (n, t) and slots (n, k * s, d) -> states (n, k * hidden_dim)."""
        slots_kni = slots.reshape(len(slots), len(self.weight), -1).transpose(0, 1)
        of_slots = torch.bmm(slots_kni, self._seen()).transpose(0, 1).flatten(1)
        states: Tensor = self.states(statistics, of_slots)
        return states

    def _seen(self) -> Tensor:
        """The weights of the slots, those of dropped inputs at zero, for a member and a batch alike."""
        shown = torch.ones_like(self.weight[:, :, :1])
        return self.weight * dropout(shown, self.states.input_dropout, self.training)


@register("v3")
class V3(EnsembleModel):
    """See `ResidueStatistics`, `SlotEncoder`, `MemberPairHead` and `SimilarityExpert`.

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
        statistics = ResidueStatistics(input_dim)
        super().__init__(statistics.count + members * slots * input_dim)
        self.statistics, self.slots = statistics, members * slots
        self.described_width = statistics.count
        self.register_buffer("residue_scale", torch.ones(input_dim))
        self.encoder = SlotEncoder(
            statistics.count,
            input_dim,
            slots=slots,
            members=members,
            hidden_dim=hidden_dim,
            dropout=dropout,
            input_dropout=input_dropout,
        )
        self.head = MemberPairHead(members=members, hidden_dim=hidden_dim, head_dim=head_dim, dropout=dropout)
        self.similarity = SimilarityExpert(statistics.count - statistics.n_moments)

    def fit_input_statistics(self, proteins: Iterable[Packed]) -> None:
        """Takes the components of the residues, and the scale of them and of what is pooled from them."""
        self.statistics.fit(proteins)
        self.refit_scale(proteins)

    def refit_scale(self, proteins: Iterable[Packed]) -> None:
        """Takes the scales alone, a slot's from that of the mean: what the covariances are of stays."""
        described = torch.cat([self.statistics(one).cpu() for one in proteins])
        means, _, deviations, _, _ = described[:, : self.statistics.n_moments].chunk(N_MOMENTS, dim=1)
        mean, deviation = described.mean(dim=0), described.std(dim=0, correction=0)
        of_mean = slice(means.shape[1])
        self._take_scale(
            torch.cat([mean, mean[of_mean].repeat(self.slots)]),
            torch.cat([deviation, _SLOT_SPREAD * deviation[of_mean].repeat(self.slots)]),
        )
        within, between = deviations.square().mean(dim=0), means.var(dim=0, correction=0)
        self.residue_scale.copy_(1 / (within + between).sqrt().clamp(min=1e-6))
        covariances = self.standardise(described.to(self.mean.device))[:, self.statistics.n_moments :]
        self.similarity.fit(covariances)

    def describe(self, proteins: Packed) -> Tensor:
        described: Tensor = self.statistics(proteins)
        return described

    def encode(self, proteins: Packed) -> States:
        """Residues of n proteins -> their states."""
        described = self.describe(proteins) if proteins.described is None else proteins.described
        slots = attention_pool(proteins, self._query(), self.encoder.ends, self._slot_scaling())
        return self._states(described, slots)

    def _query(self) -> Tensor:
        """What the slots look for, in units of the residues' deviation."""
        return self.encoder.query * self.residue_scale[:, None]

    def _slot_scaling(self) -> Scaling:
        mean, scale = (one[self.statistics.count :].view(self.slots, -1) for one in (self.mean, self.scale))
        return Scaling(mean, scale, self.CLIP)

    def _states(self, described: Tensor, slots: Tensor) -> States:
        """The states of n proteins: of statistics as they are, and of slots (n, k, d) scaled."""
        moments, covariances = self.standardise(described).tensor_split([self.statistics.n_moments], dim=1)
        weighed = torch.cat([moments, _COVARIANCE_SHARE * covariances], dim=1)
        return States(self.encoder(weighed, slots), self.similarity.sketch(covariances))

    def select(self, states: States, rows: Tensor) -> States:
        return States(*(super(V3, self).select(one, rows) for one in states))

    def join(self, states: Sequence[States]) -> States:
        return States(*(torch.cat(one) for one in zip(*states, strict=True)))

    def count(self, states: States) -> int:
        return len(states.members)

    def score_members(self, state_a: States, state_b: States) -> Tensor:
        members: Tensor = self.head(state_a.members, state_b.members)
        alike: Tensor = self.similarity(state_a.sketch, state_b.sketch)
        return members + alike[:, None]

    def score_block(self, states_a: States, states_b: States) -> Tensor:
        block: Tensor = self.head.block(states_a.members, states_b.members)
        return block.add_(self.similarity.block(states_a.sketch, states_b.sketch))

    def losses(self, proteins: Packed, pairs: Tensor, targets: Tensor) -> Tensor:
        """The members' cross entropies without similarity, with the gradient of similarity's own as well."""
        states = self.encode(proteins)
        a, b = (super(V3, self).select(states.members, pairs[:, side]) for side in (0, 1))
        alike: Tensor = self.similarity.losses(states.sketch, pairs, targets)
        return member_losses(self.head(a, b), targets) + (alike - alike.detach())

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

    def _state_of(self, residues: Tensor) -> States:
        """The states of one protein (l, d), by operations that have a gradient for its residues."""
        mean, scale, bound = self._slot_scaling()
        slots = residue_weights(residues, self._query(), self.encoder.ends) @ residues
        scaled = ((slots - mean) * scale).clamp(-bound, bound)
        return self._states(self.statistics.of_residues(residues)[None], scaled[None])
