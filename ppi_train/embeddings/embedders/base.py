"""The interface of embedders, and what several of them share.

An embedder turns sequences into arrays, and has an identity that caches and checkpoints record. Proteins over
the length limit are truncated before they are embedded, as the cache records. Models of limited length see
long proteins in overlapping windows, batched by length. `pool` makes one vector of a protein's residues.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ppi_train.errors import DataError

if TYPE_CHECKING:
    import torch

TERMINAL_WINDOW = 50
"""Residues at each end that get a mean of their own: localisation signals are there."""
PARTS = ("maximum", "deviation", "head", "tail")


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


def truncate(accession: str, sequence: str, *, max_length: int | None, truncation: str) -> str:
    """Truncates a protein to the residues that are embedded.

    `head` keeps the first `max_length` residues; `head_tail` keeps both ends, the longer half first.

    >>> truncate("P1", "ABCDEFG", max_length=5, truncation="head_tail")
    'ABCFG'

    Raises:
        DataError: `truncation` is `error`, and the protein is longer than `max_length`.
    """
    if max_length is None or len(sequence) <= max_length:
        return sequence
    if truncation == "error":
        raise DataError(
            "a protein is longer than max_length",
            where=accession,
            got=f"{len(sequence)} residues",
            expected=f"at most {max_length}",
            remedy="raise max_length, or give truncation=head or truncation=head_tail",
        )
    if truncation == "head_tail":
        tail = max_length // 2
        return sequence[: max_length - tail] + (sequence[-tail:] if tail else "")
    return sequence[:max_length]


@dataclass(frozen=True)
class Window:
    """A stretch of a sequence that a model processes at once.

    Only the states from `keep_from` to `keep_to` are used.

    All positions are in the whole sequence, from 0, ends excluded; `sequence` is the sequence's number.
    """

    sequence: int
    start: int
    end: int
    keep_from: int
    keep_to: int

    def __len__(self) -> int:
        return self.end - self.start


def windows_of(sequence: int, length: int, *, size: int, overlap: int) -> list[Window]:
    """The fewest windows that overlap by `overlap` or more.

    A window has at most `size` residues.

    They are evenly spaced and equally long, and neighbours split their overlap in half: every residue is
    taken from the window where it is farthest from a cut, so that it has the most context on both sides.

    >>> windows = windows_of(0, 10, size=6, overlap=2)
    >>> [(window.start, window.end, window.keep_from, window.keep_to) for window in windows]
    [(0, 6, 0, 5), (4, 10, 5, 10)]
    """
    steps = max(0, -(-(length - size) // (size - overlap)))
    if not steps:
        return [Window(sequence, 0, length, 0, length)]
    starts = [step * (length - size) // steps for step in range(steps + 1)]
    cuts = [(left + size + right) // 2 for left, right in itertools.pairwise(starts)]
    edges = zip(starts, [0, *cuts], [*cuts, length], strict=True)
    return [Window(sequence, start, start + size, first, last) for start, first, last in edges]


def batches_by_length(windows: Iterable[Window], *, residues: int) -> list[list[Window]]:
    """Batches of at most `residues`, padding included, the longest windows first.

    No batch is empty.

    Sorted by length, a batch has little padding; and the batch that needs the most memory comes first.
    """
    batches: list[list[Window]] = []
    for window in sorted(windows, key=lambda window: (-len(window), window.sequence, window.start)):
        if batches and (len(batches[-1]) + 1) * len(batches[-1][0]) <= residues:
            batches[-1].append(window)
        else:
            batches.append([window])
    return batches


def pooled_dimension(layers: int, width: int) -> int:
    """Width of the output of `pool`."""
    return (layers + len(PARTS)) * width


def pool(layers: Sequence[Tensor]) -> Tensor:
    """Pools the states of all layers of a protein to one vector.

    The mean of each layer; of the last also maximum, deviation, and the mean of either end.

    Args:
        layers: States (L, h) of each layer, of any number format.

    Returns:
        ((len(layers) + 4) * h,) float32.
    """
    # A copy, which lies in the processor's cache: the states of a batch do not.
    last = layers[-1].to(torch.float32, copy=True)
    mean = last.mean(dim=0)
    means = [states.mean(dim=0, dtype=torch.float32) for states in layers[:-1]]
    ends = [last[:TERMINAL_WINDOW].mean(dim=0), last[-TERMINAL_WINDOW:].mean(dim=0)]
    maximum = last.amax(dim=0)
    deviation = last.sub_(mean).square_().mean(dim=0).sqrt_()
    return torch.cat([*means, mean, maximum, deviation, *ends])
