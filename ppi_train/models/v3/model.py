"""`v3`: learned summaries of a protein's residues, scored against the partner's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ppi_train.models.base import Packed, member_losses
from ppi_train.models.dropout import product_of_kept
from ppi_train.models.ensemble import MemberEncoder
from ppi_train.models.pair_head import EnsembleModel, MemberPairHead
from ppi_train.models.rough_block import RoughBlock
from ppi_train.models.v3.attention_pool import N_ENDS, Scaling, attention_pool, residue_weights
from ppi_train.models.v3.layers import N_MOMENTS, ResidueStatistics, SimilarityExpert

if TYPE_CHECKING:
    from ppi_train.models.v3 import V3Options

_SLOT_SPREAD = 2.0
"""Slot inputs are divided by this many deviations of the mean: the fixed statistics dominate at first."""
_COVARIANCE_SHARE = 0.4
"""Weight of the covariance inputs: there are more of them than of all others."""
_STEPS = 24
"""Steps of the sum that approximates the integral of gradients."""


class States(NamedTuple):
    """Encoded states of n proteins.

    `members` are the members' states with offsets (n, k * h + 1), `sketch` the input of the similarity
    expert (n, s).
    """

    members: Tensor
    sketch: Tensor


class SlotEncoder(nn.Module):
    """Encodes fixed statistics and attention-pooled residues, one state per member.

    Each slot weights the residues by a learned query and by how near the ends they are, so that a protein
    costs time linear in its length, independent of its partners. Each member has slots of its own: with
    shared slots the members' errors would be similar, and averaging would hardly reduce them.

    Args:
        statistics: Number of fixed statistics of a protein, t.
        input_dim: Numbers in a residue's embedding, d.
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
        """States (n, k * hidden_dim) from standardised statistics and slots.

        Takes statistics (n, t) and slots (n, k * s, d).
        """
        states: Tensor = self.states(statistics, self._of_slots(slots.view(len(slots), len(self.weight), -1)))
        return states

    def _of_slots(self, slots_nki: Tensor) -> Tensor:
        """The slots' part (n, k * h) of the first map, in training without the dropped inputs.

        The mask is the same for a whole batch, and differs among members.
        """
        share = self.states.input_dropout
        if not (self.training and share):
            return torch.bmm(slots_nki.transpose(0, 1), self.weight).transpose(0, 1).flatten(1)
        dropped = torch.rand(self.weight.shape[:2], device=self.weight.device) < share
        return product_of_kept(slots_nki, self.weight, dropped, share)


class V3(EnsembleModel):
    """An ensemble over fixed and learned summaries of residues.

    It combines `ResidueStatistics`, `SlotEncoder`, `MemberPairHead` and `SimilarityExpert`.

    Args:
        input_dim: Numbers in a residue's embedding, d.
        options: Hyper-parameters.
    """

    GRANULARITY: ClassVar[str] = "residue"
    residue_scale: Tensor
    encoder: SlotEncoder

    def __init__(self, input_dim: int, options: V3Options) -> None:
        statistics, slots = ResidueStatistics(input_dim), options.members * options.slots
        super().__init__(statistics.count + slots * input_dim, options.members * options.hidden_dim)
        self.statistics, self.slots = statistics, slots
        self.described_width = statistics.count
        self.register_buffer("residue_scale", torch.ones(input_dim))
        self.encoder = SlotEncoder(
            statistics.count,
            input_dim,
            slots=options.slots,
            members=options.members,
            hidden_dim=options.hidden_dim,
            dropout=options.dropout,
            input_dropout=options.input_dropout,
        )
        self.head = MemberPairHead(
            members=options.members,
            hidden_dim=options.hidden_dim,
            head_dim=options.head_dim,
            dropout=options.dropout,
        )
        self.similarity = SimilarityExpert(statistics.count - statistics.n_moments)

    def fit_input_statistics(self, proteins: Iterable[Packed]) -> None:
        """Fits the principal components of the residues, and all input scales."""
        self.statistics.fit(proteins)
        self.refit_scale(proteins)

    def refit_scale(self, proteins: Iterable[Packed]) -> None:
        """Refits only the scales; the components of the covariances stay.

        The scale of a slot follows from that of the mean.
        """
        described = torch.cat([self.statistics(chunk).cpu() for chunk in proteins])
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
        """Encodes the residues of n proteins into their states."""
        members, sketch = self._encode(proteins)
        return States(self.with_offsets(members), sketch)

    def members_of(self, states: Any) -> Tensor:
        members: Tensor = states.members
        return members

    def _encode(self, proteins: Packed) -> tuple[Tensor, Tensor]:
        """The members' states (n, k * h), and the sketch."""
        described = self.describe(proteins) if proteins.described is None else proteins.described
        slots = attention_pool(proteins, self._query(), self.encoder.ends, self._slot_scaling())
        return self._states(described, slots)

    def _query(self) -> Tensor:
        """The slot queries, in units of the residues' deviation."""
        return self.encoder.query * self.residue_scale[:, None]

    def _slot_scaling(self) -> Scaling:
        mean, scale = (
            buffer[self.statistics.count :].view(self.slots, -1) for buffer in (self.mean, self.scale)
        )
        return Scaling(mean, scale, self.CLIP)

    def _states(self, described: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        """As `_encode`, from raw statistics and scaled slots (n, k, d)."""
        standardised, n_moments = self.standardise(described), self.statistics.n_moments
        share = standardised.new_ones(self.statistics.count)
        share[n_moments:] = _COVARIANCE_SHARE
        sketch = self.similarity.sketch(standardised[:, n_moments:])
        return self.encoder(standardised * share, slots), sketch

    def select(self, states: States, rows: Tensor) -> States:
        return States(*(super(V3, self).select(part, rows) for part in states))

    def join(self, states: Sequence[States]) -> States:
        return States(*(torch.cat(parts) for parts in zip(*states, strict=True)))

    def state_tensors(self, states: States) -> dict[str, Tensor]:
        return states._asdict()

    def states_of(self, tensors: Mapping[str, Tensor]) -> States:
        return States(**tensors)

    def count(self, states: States) -> int:
        return len(states.members)

    def score_members(self, state_a: States, state_b: States) -> Tensor:
        members = super().score_members(state_a, state_b)
        alike: Tensor = self.similarity(state_a.sketch, state_b.sketch)
        return members + alike[:, None]

    def score_block(self, states_a: States, states_b: States) -> Tensor:
        return (
            super()
            .score_block(states_a, states_b)
            .add_(self.similarity.block(states_a.sketch, states_b.sketch))
        )

    def rough_block(self, states_a: States, states_b: States) -> RoughBlock | None:
        block = super().rough_block(states_a, states_b)
        return block and block.plus(self.similarity.block(states_a.sketch, states_b.sketch))

    def losses(self, proteins: Packed, pairs: Tensor, targets: Tensor) -> Tensor:
        """The members' cross entropies, plus the gradient of the similarity loss.

        The members' losses leave out similarity; its own loss adds its gradient, but not its value.
        """
        members, sketch = self._encode(proteins)
        alike: Tensor = self.similarity.losses(sketch, pairs, targets)
        return member_losses(self.head.of_pairs(members, pairs), targets) + (alike - alike.detach())

    def explain(self, proteins: Packed, pairs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Residue weights by integrated gradients.

        A residue's weight is its contribution to the difference between the score and that of featureless
        proteins.

        Integrated gradients (Sundararajan et al. 2017) from proteins whose residues all equal their mean to
        the actual proteins; the absolute value of a residue's part, whichever way it moves the score.
        """
        explained = [self._explain_pair(proteins, pair) for pair in pairs.cpu()]
        return [a for a, _ in explained], [b for _, b in explained]

    @torch.enable_grad()
    def _explain_pair(self, proteins: Packed, pair: Tensor) -> tuple[Tensor, Tensor]:
        sides = [proteins.take(row[None]).values.float() for row in pair]
        means = [side.mean(dim=0) for side in sides]
        parts = [torch.zeros_like(side) for side in sides]
        for step in range(_STEPS):
            share = (step + 0.5) / _STEPS
            between = [
                torch.lerp(mean.expand_as(side), side, share).requires_grad_()
                for mean, side in zip(means, sides, strict=True)
            ]
            logit = self.score(*(self._state_of(residues) for residues in between))
            for part, gradient in zip(parts, torch.autograd.grad(logit.sum(), between), strict=True):
                part += gradient / _STEPS
        a, b = (
            ((side - mean) * part).sum(dim=1).abs()
            for side, mean, part in zip(sides, means, parts, strict=True)
        )
        return a, b

    def _state_of(self, residues: Tensor) -> States:
        """The states of one protein (l, d), differentiable in its residues."""
        mean, scale, bound = self._slot_scaling()
        slots = residue_weights(residues, self._query(), self.encoder.ends) @ residues
        scaled = ((slots - mean) * scale).clamp(-bound, bound)
        members, sketch = self._states(self.statistics.of_residues(residues)[None], scaled[None])
        return States(self.with_offsets(members, gradient=True), sketch)
