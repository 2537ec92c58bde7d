"""Application of a model to pairs: encode once, score many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from ppi_train.features import Features, PairData

T = TypeVar("T")
R = TypeVar("R")


class Share(Protocol):
    """Deals items to the processes that work together; see `ppi_train.training.ranks`."""

    def __call__(self, work: Callable[[Sequence[T]], Iterable[R]], items: Sequence[T]) -> list[R]: ...


def _alone(work: Callable[[Sequence[T]], Iterable[R]], items: Sequence[T]) -> list[R]:
    return list(work(items))


class Scorer(Protocol):
    """The functions of `PairModel` that scoring needs."""

    temperature: float

    def encode(self, proteins: Any) -> Any: ...

    def select(self, states: Any, rows: Tensor) -> Any: ...

    def join(self, states: Sequence[Any]) -> Any: ...

    def score(self, state_a: Any, state_b: Any) -> Tensor: ...

    def score_with_uncertainty(self, state_a: Any, state_b: Any) -> tuple[Tensor, Tensor]: ...


@torch.inference_mode()
def encode_all(
    model: Scorer,
    features: Features,
    *,
    encoded: Callable[[int], object] = lambda _: None,
    share: Share = _alone,
) -> Any:
    """Encodes all proteins once, and returns their states.

    The model must be in evaluation mode.

    Args:
        encoded: Called after each chunk with its number of encoded proteins.
        share: Has the chunks encoded by several processes.
    """

    def encode(chunks: Sequence[Tensor]) -> Iterator[Any]:
        for rows, proteins in zip(chunks, features.load(chunks), strict=True):
            yield model.encode(proteins)
            encoded(len(rows))

    return model.join(share(encode, features.chunks()))


def calibrated(model: Scorer, scores: Tensor) -> Tensor:
    """Divides logits or their deviations by the model's temperature, as float32.

    All scores that leave the project are calibrated.

    This is the only place that applies the temperature. The sigmoid of a calibrated logit is the model's
    probability.
    """
    return scores.float() / model.temperature


@torch.inference_mode()
def score_pairs(model: Scorer, data: PairData, *, batch_size: int = 8192, share: Share = _alone) -> Tensor:
    """Calibrated logits (n_pairs,) float32 of pairs.

    Each protein is encoded once, and scored with all its partners.

    The model must be in evaluation mode.
    """
    return score_pairs_with_uncertainty(model, data, batch_size=batch_size, share=share)[0]


@torch.inference_mode()
def score_pairs_with_uncertainty(
    model: Scorer, data: PairData, *, batch_size: int = 8192, share: Share = _alone
) -> tuple[Tensor, Tensor]:
    """Calibrated logits and their standard deviations, (n_pairs,) float32 each.

    Otherwise as `score_pairs`.
    """
    states = encode_all(model, data.features, share=share) if len(data) else None
    return score_states(model, states, data.pairs, batch_size=batch_size, share=share)


@torch.inference_mode()
def score_states(
    model: Scorer, states: Any, pairs: Tensor, *, batch_size: int = 8192, share: Share = _alone
) -> tuple[Tensor, Tensor]:
    """As `score_pairs_with_uncertainty`, of pairs (n_pairs, 2) that are rows of encoded states."""
    if not len(pairs):
        return torch.empty(0), torch.empty(0)

    def score(batches: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        return [
            model.score_with_uncertainty(model.select(states, few[:, 0]), model.select(states, few[:, 1]))
            for few in map(Tensor.long, batches)
        ]

    scored = share(score, pairs.split(batch_size))
    logits, deviations = (calibrated(model, torch.cat(part)) for part in zip(*scored, strict=True))
    return logits, deviations
