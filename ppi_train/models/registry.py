"""The registry of models: the name, hyper-parameters and construction of each.

It imports no torch: the command line reads the hyper-parameters from here.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ppi_train.config.groups import OptionGroup
from ppi_train.errors import ConfigError, nearest

if TYPE_CHECKING:
    from ppi_train.models.base import PairModel


@dataclass(frozen=True, kw_only=True)
class ModelOptions(OptionGroup, ABC):
    """The hyper-parameters of a model, with its defaults; builds the model.

    Those declared by `option` are parameters of the training modes; others are for code alone.
    """

    SECTION: ClassVar[str] = "model"
    BATCH_SIZE: ClassVar[int] = 4096
    """Default number of pairs in a training batch."""
    GAINS_BY_BF16: ClassVar[tuple[str, ...]] = ()
    """Types of device on which training is faster in bf16, if they have it: `amp=auto` then takes it."""

    @classmethod
    def offered(cls) -> tuple[dataclasses.Field[Any], ...]:
        """The hyper-parameters that the training modes have as parameters."""
        return tuple(item for item in dataclasses.fields(cls) if "rule" in item.metadata)

    @abstractmethod
    def build(self, input_dim: int) -> PairModel:
        """A new model with random weights, for embeddings of `input_dim` numbers."""


ModelFactory = type[ModelOptions]
F = TypeVar("F", bound=ModelFactory)
MODEL_FACTORIES: dict[str, ModelFactory] = {}
"""What makes each model: `MODEL_FACTORIES[name](**hyperparameters).build(input_dim)`."""


def register(name: str) -> Callable[[F], F]:
    """Registers the hyper-parameters of a model under a unique name."""

    def add(factory: F) -> F:
        assert name not in MODEL_FACTORIES, f"two models are named {name!r}"
        MODEL_FACTORIES[name] = factory
        return factory

    return add


def find_model(name: str) -> ModelFactory:
    """The hyper-parameters of a model by its name.

    Raises:
        ConfigError: an unknown name; the message lists similar and known names.
    """
    if name not in MODEL_FACTORIES:
        raise ConfigError(
            "there is no such model",
            got=name,
            expected=", ".join(sorted(MODEL_FACTORIES)),
            remedy=nearest(name, MODEL_FACTORIES),
        )
    return MODEL_FACTORIES[name]


def build_model(name: str, *, input_dim: int, **hyperparameters: object) -> PairModel:
    """A new model with random weights, and defaults for absent hyper-parameters.

    Raises:
        ConfigError: an unknown name; see `find_model`.
    """
    return find_model(name)(**hyperparameters).build(input_dim)


def model_defaults() -> dict[str, dict[str, object]]:
    """The defaults of each model: parameter name -> model name -> value."""
    found: dict[str, dict[str, object]] = {}
    for model, factory in MODEL_FACTORIES.items():
        for item in factory.offered():
            found.setdefault(item.name, {})[model] = item.default
        found.setdefault("batch_size", {})[model] = factory.BATCH_SIZE
    return found
