"""The registry through which all models are built."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from ppi_train.errors import ConfigError, nearest
from ppi_train.models.base import PairModel

ModelFactory = type[PairModel]
MODEL_FACTORIES: dict[str, ModelFactory] = {}


def register(name: str) -> Callable[[ModelFactory], ModelFactory]:
    """Registers a factory `(input_dim, **hyperparameters) -> PairModel` under a unique name."""

    def add(factory: ModelFactory) -> ModelFactory:
        assert name not in MODEL_FACTORIES, f"two models are named {name!r}"
        MODEL_FACTORIES[name] = factory
        return factory

    return add


def own_batch_size(name: str) -> int:
    """The model's default number of pairs in a training batch.

    Raises:
        ConfigError: an unknown name.
    """
    return _factory(name).BATCH_SIZE


def own_hyperparameters(name: str, given: Mapping[str, object]) -> dict[str, object]:
    """The given hyper-parameters that a model has.

    A value of None is replaced by the model's default.

    Raises:
        ConfigError: an unknown name.
    """
    has = inspect.signature(_factory(name)).parameters
    return {
        parameter: has[parameter].default if value is None else value
        for parameter, value in given.items()
        if parameter in has
    }


def build_model(name: str, *, input_dim: int, **hyperparameters: object) -> PairModel:
    """A new model with random weights.

    Raises:
        ConfigError: an unknown name; the message lists similar and known names.
    """
    return _factory(name)(input_dim=input_dim, **hyperparameters)


def _factory(name: str) -> ModelFactory:
    if name not in MODEL_FACTORIES:
        raise ConfigError(
            "there is no such model",
            got=name,
            expected=", ".join(sorted(MODEL_FACTORIES)),
            remedy=nearest(name, MODEL_FACTORIES),
        )
    return MODEL_FACTORIES[name]
