"""How alike two proteins are, as evidence of its own that they interact."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

_FIRST_WEIGHT = 0.3
_SHIFTS = (1, 2, 3, 5, 8)
_AT_ONCE = 256


class SimilarityExpert(nn.Module):
    """A logit from the cosine of two proteins' fixed features, in deviations of the cosine of strangers.

    It has two numbers to learn, and a loss of its own, as the members of an ensemble have: side by side
    with networks that know the training proteins by heart it would be taught that these need no help.

    Args:
        inputs: Features of a protein, s.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.weight = nn.Parameter(torch.tensor(_FIRST_WEIGHT))
        self.bias = nn.Parameter(torch.tensor(0.0))
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(0.0))

    def fit(self, features: Tensor) -> None:
        """Takes mean and deviation of the cosine from shuffled pairs of proteins (n, s)."""
        sketch = self.sketch(features)
        cosines = torch.cat([(sketch * sketch.roll(shift, dims=0)).sum(dim=1) for shift in _SHIFTS])
        deviation = cosines.std(correction=0)
        self.mean.copy_(cosines.mean())
        # Without a difference to tell there is nothing to say.
        self.scale.copy_(torch.where(deviation > 1e-6, 1 / deviation, 0.0))

    def sketch(self, features: Tensor) -> Tensor:
        """Features (n, s) -> what pairs are compared by, (n, s)."""
        return normalize(features, dim=1)

    def forward(self, sketch_a: Tensor, sketch_b: Tensor) -> Tensor:
        """Sketches of m proteins on both sides -> what is added to the logits (m,)."""
        return self._evidence((sketch_a * sketch_b).sum(dim=1))

    def block(self, sketches_a: Tensor, sketches_b: Tensor) -> Tensor:
        """Each of n with each of m others (n, m)."""
        return self._evidence(sketches_a @ sketches_b.t())

    def losses(self, sketch: Tensor, pairs: Tensor, targets: Tensor) -> Tensor:
        """Its own cross entropies (m,), of pairs (m, 2) of the proteins of a sketch (n, s).

        The bias is theirs alone: what is added says nothing of the share of positives, which the networks
        have learned.
        """
        with torch.no_grad():  # Some at a time, in memory that stays in the processor's cache.
            cosines = torch.cat([(sketch[a] * sketch[b]).sum(dim=1) for a, b in _some(pairs)])
        logits = self._evidence(cosines) + self.bias
        return binary_cross_entropy_with_logits(logits, targets, reduction="none")

    def _evidence(self, cosines: Tensor) -> Tensor:
        return self.weight * self.scale * (cosines - self.mean)


def _some(pairs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for some in pairs.split(_AT_ONCE):
        yield some[:, 0], some[:, 1]
