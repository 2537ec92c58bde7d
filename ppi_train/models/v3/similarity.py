"""Similarity of two proteins as separate evidence for their interaction."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

_FIRST_WEIGHT = 0.3
_SHIFTS = (1, 2, 3, 5, 8)
_AT_ONCE = 256


class SimilarityExpert(nn.Module):
    """A logit from the cosine of two proteins' fixed features.

    The cosine is in units of its deviation over unrelated proteins.

    It has two parameters, and a loss of its own, as the members of an ensemble have: trained together with
    networks that have memorised the training proteins, it would learn to contribute nothing.

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
        """Fits the cosine's mean and deviation on shuffled pairs of proteins.

        The features are (n, s).
        """
        sketch = self.sketch(features)
        cosines = torch.cat([(sketch * sketch.roll(shift, dims=0)).sum(dim=1) for shift in _SHIFTS])
        deviation = cosines.std(correction=0)
        self.mean.copy_(cosines.mean())
        # Without any variation of the cosine the evidence is zero.
        self.scale.copy_(torch.where(deviation > 1e-6, 1 / deviation, 0.0))

    def sketch(self, features: Tensor) -> Tensor:
        """Normalised features (n, s), by which pairs are compared."""
        return normalize(features, dim=1)

    def forward(self, sketch_a: Tensor, sketch_b: Tensor) -> Tensor:
        """Evidence (m,) that is added to the logits of m pairs."""
        return self._evidence((sketch_a * sketch_b).sum(dim=1))

    def block(self, sketches_a: Tensor, sketches_b: Tensor) -> Tensor:
        """Evidence (n, m) of all n x m pairs."""
        return self._evidence(sketches_a @ sketches_b.t())

    def losses(self, sketch: Tensor, pairs: Tensor, targets: Tensor) -> Tensor:
        """The expert's own cross entropies (m,) of pairs (m, 2).

        The pairs are rows of a sketch (n, s).

        The bias is used in this loss only: the evidence added to the logits must not encode the share of
        positives, which the networks have learned.
        """
        with torch.no_grad():  # In chunks, in memory that stays in the processor's cache.
            cosines = torch.cat([(sketch[a] * sketch[b]).sum(dim=1) for a, b in _some(pairs)])
        logits = self._evidence(cosines) + self.bias
        return binary_cross_entropy_with_logits(logits, targets, reduction="none")

    def _evidence(self, cosines: Tensor) -> Tensor:
        return self.weight * self.scale * (cosines - self.mean)


def _some(pairs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for chunk in pairs.split(_AT_ONCE):
        yield chunk[:, 0], chunk[:, 1]
