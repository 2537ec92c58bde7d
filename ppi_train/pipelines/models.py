"""From a checkpoint to a model ready to score, and back to what the checkpoint must say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ppi_train.errors import CheckpointError
from ppi_train.models.base import PairModel
from ppi_train.models.registry import build_model
from ppi_train.training.checkpoint import Checkpoint


def new_model(name: str, input_dim: int, hyperparameters: Mapping[str, object]) -> PairModel:
    """A model with random weights."""
    return build_model(name, input_dim=input_dim, **hyperparameters)


def model_from_checkpoint(checkpoint: Checkpoint, device: torch.device) -> PairModel:
    """The model in evaluation mode, with the temperature that was fitted for it.

    Raises:
        CheckpointError: the weights do not fit the model that the checkpoint describes, or it has a
            temperature that is no positive number.
    """
    try:
        described: Mapping[str, Any] = checkpoint.description["model"]
        model = new_model(described["name"], described["input_dim"], described["hyperparameters"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            "the checkpoint does not describe a model that this version has", got=error
        ) from None
    try:
        model.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        raise CheckpointError(
            "the weights do not fit the model that the checkpoint describes",
            got=str(error).splitlines()[-1].strip(),
            expected=f"{described['name']} {described['hyperparameters']}",
        ) from None
    model.temperature = checkpoint.temperature
    return model.to(device).eval()
