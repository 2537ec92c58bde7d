"""What an embedder is: sequences in, arrays out, and an identity that caches and checkpoints keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch


class Embedder(Protocol):
    """Turns sequences into embeddings; two embedders with equal digests give equal numbers."""

    name: str
    granularity: str
    dimension: int

    def parameters(self) -> dict[str, object]:
        """The settings that the numbers follow from, as plain JSON."""

    def digest(self) -> str:
        """sha256 over name, parameters and, where there are any, weights."""

    def embed(self, sequences: Sequence[str]) -> Iterable[np.ndarray]:
        """One float32 array a sequence, in their order: (d,) for granularity `protein`, (L, d) for `residue`.

        All are in memory at once: the caller bounds how many residues it asks for.
        """


@dataclass(frozen=True, kw_only=True)
class TrainedWeights:
    """Weights that a run of `train_embedder` has left; `digest` is that of its checkpoint."""

    run_id: str
    digest: str
    description: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class EmbedderRequest:
    """Which embedder, and how; what an embedder has no use for it leaves.

    Attributes:
        name: In the registry.
        granularity: `protein` or `residue`; None: what the embedder gives by itself.
        weights: Of an embedder that was trained here.
        model: Published weights: a short name, a hub's ID, or a local folder.
        precision: `float32`, `bf16` or `fp16`.
        device: Where it runs; None: the CPU.
    """

    name: str
    granularity: str | None = None
    weights: TrainedWeights | None = None
    model: str | None = None
    precision: str = "float32"
    device: torch.device | None = None
