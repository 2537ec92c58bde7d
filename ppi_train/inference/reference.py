"""The reference proteins of a model: which they are, and the scores of pairs with them.

See `ppi_train.models.reference` for what they are for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ppi_train.evaluation.reference_share import fitted_share
from ppi_train.features import Features, PairData
from ppi_train.inference.scoring import Share, encode_all, score_states
from ppi_train.models.base import PairModel
from ppi_train.models.reference import REFERENCES

# Proteins that are encoded at once: residues of long ones take memory.
_AT_ONCE = 16


@torch.inference_mode()
def take_reference(model: PairModel, features: Features) -> None:
    """Takes reference proteins among those of a table, always the same ones of the same table.

    The share that is taken off stays as it is. The model must be in evaluation mode.
    """
    drawn = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))[:REFERENCES]
    rows = drawn.sort().values.split(_AT_ONCE)
    model.take_reference(model.join([model.encode(proteins) for proteins in features.load(rows)]))


@torch.inference_mode()
def score_with_new_reference(
    model: PairModel, data: PairData, *, share: Share, from_first: Callable[[Callable[[], float]], float]
) -> tuple[Tensor, float | None]:
    """Scores labelled pairs with reference proteins among theirs, and a share that is fitted on them.

    Proteins and share become those of the model, which must be in evaluation mode.

    Args:
        share, from_first: As `ppi_train.training.ranks.Ranks` has them.

    Returns:
        The logits (n,) float32, and the share; None for a model without reference proteins.
    """
    model.set_reference_share(0.0)
    take_reference(model, data.features)
    states = encode_all(model, data.features, share=share)
    logits = score_states(model, states, data.pairs, share=share)[0]
    means = model.means_with_reference(states)
    if means is None or not len(data):
        return logits, None
    singles = means[data.pairs.long()].sum(dim=1)
    labels = data.labels
    taken = from_first(
        lambda: fitted_share(logits.cpu().numpy(), singles.cpu().numpy(), labels.cpu().numpy())
    )
    model.set_reference_share(taken)
    return logits - taken * singles, taken
