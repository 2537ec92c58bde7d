"""Encode once, score many: how a model is applied to pairs outside the training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ppi_train.training.batches import PairData
from ppi_train.training.features import EveryProtein, Features


class Scorer(Protocol):
    """The functions of a model that scoring needs; see `PairModel`."""

    temperature: float

    def encode(self, proteins: Any) -> Any: ...

    def select(self, states: Any, rows: Tensor) -> Any: ...

    def join(self, states: Sequence[Any]) -> Any: ...

    def score(self, state_a: Any, state_b: Any) -> Tensor: ...

    def score_with_uncertainty(self, state_a: Any, state_b: Any) -> tuple[Tensor, Tensor]: ...


@torch.inference_mode()
def encode_all(
    model: Scorer, features: Features, *, encoded: Callable[[int], object] = lambda _: None
) -> Any:
    """The states of all proteins, each encoded once; the model must be in evaluation mode.

    Args:
        encoded: Told how many proteins were encoded, some at a time.
    """
    states = []
    for rows, some in zip(features.chunks(), EveryProtein(features), strict=True):
        states.append(model.encode(some))
        encoded(len(rows))
    return model.join(states)


def calibrated(model: Scorer, scores: Tensor) -> Tensor:
    """A model's logits, or their deviations, over its temperature: as they leave the project, float32.

    The one place that applies it. The sigmoid of such a logit is the model's probability.
    """
    return scores.float() / model.temperature


@torch.inference_mode()
def score_pairs(model: Scorer, data: PairData, *, batch_size: int = 8192) -> Tensor:
    """Calibrated logits (n_pairs,) float32: each protein is encoded once, and scored with all its partners.

    The model must be in evaluation mode.
    """
    return score_pairs_with_uncertainty(model, data, batch_size=batch_size)[0]


@torch.inference_mode()
def score_pairs_with_uncertainty(
    model: Scorer, data: PairData, *, batch_size: int = 8192
) -> tuple[Tensor, Tensor]:
    """Calibrated logits and their standard deviations, each (n_pairs,) float32; see `score_pairs`."""
    if not len(data):
        return torch.empty(0), torch.empty(0)
    states = encode_all(model, data.features)
    scored = [
        model.score_with_uncertainty(model.select(states, one[:, 0]), model.select(states, one[:, 1]))
        for one in data.pairs.split(batch_size)
    ]
    logits, deviations = (calibrated(model, torch.cat(part)) for part in zip(*scored, strict=True))
    return logits, deviations
