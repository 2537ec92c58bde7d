"""The residues behind the score of a pair."""

from __future__ import annotations

import numpy as np
import torch

from ppi_train.features import Features
from ppi_train.inference.scoring import calibrated
from ppi_train.models.base import PairModel


def explain_pair(
    model: PairModel, features: Features, rows: tuple[int, int], device: torch.device
) -> tuple[float, list[np.ndarray]]:
    """The calibrated logit of a pair, and the residue weights of its two proteins.

    Args:
        model: A model that explains.
        features: Those of the pair's distinct proteins, one or two.
        rows: Which of them are the two proteins.
        device: Where model and features are.

    Returns:
        The logit, and weights (l,) float32 of each protein.

    Raises:
        ConfigError: the model cannot explain.
    """
    (proteins,) = features.load([torch.arange(len(features), device=device)])
    pair = torch.tensor([rows], device=device)
    of_a, of_b = model.explain(proteins, pair)
    with torch.inference_mode():
        states = model.encode(proteins)
        score = model.score(model.select(states, pair[:, 0]), model.select(states, pair[:, 1]))
        logit = calibrated(model, score).item()
    return logit, [weights[0].float().cpu().numpy() for weights in (of_a, of_b)]
