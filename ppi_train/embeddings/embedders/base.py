"""The interface of embedders.

An embedder turns sequences into arrays, and has an identity that caches and checkpoints record.
"""

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
        """The settings that determine the embeddings, as plain JSON."""

    def digest(self) -> str:
        """sha256 over name, parameters and, where there are any, weights."""

    def embed(self, sequences: Sequence[str]) -> Iterable[np.ndarray]:
        """Yields one float32 array per sequence, in order.

        The shape is (d,) for granularity `protein`, and (L, d) for `residue`.

        All are in memory at once: the caller limits the number of residues of a call.
        """


@dataclass(frozen=True, kw_only=True)
class TrainedWeights:
    """Weights from a run of `train_embedder`.

    `digest` is that of its checkpoint.
    """

    run_id: str
    digest: str
    description: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class EmbedderRequest:
    """The choice of an embedder and its options.

    An embedder ignores the options that it does not use.

    Attributes:
        name: Name in the registry.
        granularity: `protein` or `residue`; None: the embedder's default.
        weights: Weights of an embedder that was trained in this project.
        model: Published weights: a short name, a Hugging Face ID, or a local folder.
        precision: `float32`, `bf16` or `fp16`.
        device: Where it runs; None: the CPU.
    """

    name: str
    granularity: str | None = None
    weights: TrainedWeights | None = None
    model: str | None = None
    precision: str = "float32"
    device: torch.device | None = None
