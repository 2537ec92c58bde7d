"""What an embedder is: sequences in, arrays out, and an identity that caches and checkpoints keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Embedder(Protocol):
    """Turns sequences into embeddings; two embedders with equal digests give equal numbers."""

    name: str
    granularity: str
    dimension: int

    def parameters(self) -> dict[str, object]:
        """The settings that the numbers follow from, as plain JSON."""

    def digest(self) -> str:
        """sha256 over name, parameters and, where there are any, weights."""

    def embed(self, sequences: Sequence[str]) -> np.ndarray:
        """One row a sequence, (n, dimension) float32."""
