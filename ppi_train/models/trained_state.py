"""State of a model that training changes beside the weights, such as running means.

The processes of a training each see some of the batches. What they saw is learned after the optimiser step,
by all of them and in the order of the batches, so that their number changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn


class TrainedState(nn.Module):
    """A part of a model with such state."""

    _held: list[Tensor] | None = None

    def after_step(self) -> None:
        """Called after each optimiser step: the weights are others now."""

    def see(self, seen: Tensor) -> None:
        """Learns what a batch shows, at once or when it is no longer held back."""
        if self._held is None:
            self.learn(seen)
        else:
            self._held.append(seen)

    def learn(self, seen: Tensor) -> None:
        """Changes the state by what a batch has shown."""
        raise NotImplementedError


@contextmanager
def held_back(parts: Sequence[TrainedState]) -> Iterator[list[list[Tensor]]]:
    """What each part sees in the block, which it does not learn."""
    seen: list[list[Tensor]] = [[] for _ in parts]
    for part, tensors in zip(parts, seen, strict=True):
        part._held = tensors
    try:
        yield seen
    finally:
        for part in parts:
            part._held = None
