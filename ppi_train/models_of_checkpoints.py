"""Construction of models from hyper-parameters and from checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ppi_train.checkpoints import Checkpoint
from ppi_train.errors import CheckpointError
from ppi_train.models.base import PairModel
from ppi_train.models.registry import build_model

# Weights of a matrix that is built regardless of the checkpoint's size: 64 MiB.
_FREE_WEIGHTS = 1 << 24


def new_model(name: str, input_dim: int, hyperparameters: Mapping[str, object]) -> PairModel:
    """A model with random weights."""
    return build_model(name, input_dim=input_dim, **hyperparameters)


def model_from_checkpoint(checkpoint: Checkpoint, device: torch.device) -> PairModel:
    """The model of a checkpoint in evaluation mode, with its fitted temperature.

    Raises:
        CheckpointError: the weights do not fit the model that the checkpoint describes, or it has a
            temperature that is not a positive number.
    """
    try:
        described: Mapping[str, Any] = checkpoint.description["model"]
        _check_sizes(described, checkpoint.weights)
        model = new_model(described["name"], described["input_dim"], described["hyperparameters"])
    except (KeyError, TypeError, ValueError, RuntimeError, AssertionError, ArithmeticError) as error:
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


def _check_sizes(described: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> None:
    """Refuses a description much larger than the stored weights.

    Checked before memory is allocated for the model.

    Raises:
        ValueError: matrices of sizes far beyond the number of the weights, or more layers than tensors.
    """
    sizes = {**described["hyperparameters"], "input_dim": described["input_dim"]}
    sizes.pop("max_residues", None)  # takes no weights
    whole = {name: int(size) for name, size in sizes.items() if isinstance(size, int | float)}
    claimed = whole.get("members", 1) * whole.get("hidden_dim", 1) * max(whole.values())
    total = sum(tensor.numel() for tensor in weights.values())
    if claimed > max(_FREE_WEIGHTS, 4 * total) or whole.get("num_layers", 1) > len(weights):
        raise ValueError(f"{whole} for {total:,} weights in {len(weights)} tensors")
