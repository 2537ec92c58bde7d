"""The choice of a model, and the hyper-parameters of all models by flat names."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from ppi_train.config.fields import Constraint, option
from ppi_train.config.groups import OptionGroup
from ppi_train.models.registry import MODEL_FACTORIES, ModelFactory

G = TypeVar("G", bound=type[OptionGroup])


def _with_hyperparameters(group: G) -> G:
    """Adds a field for each hyper-parameter of any model; None stands for the model's default."""
    for name, models in models_by_hyperparameter().items():
        annotations = {typing.get_type_hints(MODEL_FACTORIES[model])[name] for model in models}
        assert len(annotations) == 1, f"{name} has another type in each of {', '.join(models)}"
        group.__annotations__[name] = annotations.pop() | None
        # The bounds may differ by model: `validate` checks them.
        setattr(group, name, option(None, _help(name, models)))
    return group


def models_by_hyperparameter() -> dict[str, list[str]]:
    """The names of the models that have each hyper-parameter."""
    found: dict[str, list[str]] = {}
    for model, factory in MODEL_FACTORIES.items():
        for item in factory.offered():
            found.setdefault(item.name, []).append(model)
    return found


def _help(name: str, models: list[str]) -> str:
    """The help of a hyper-parameter; where models differ, that of each."""
    by_text: dict[str, list[str]] = {}
    for model in models:
        by_text.setdefault(_rule(MODEL_FACTORIES[model], name).help, []).append(model)
    if len(by_text) == 1:
        return next(iter(by_text))
    return " ".join(f"{', '.join(named)}: {text}" for text, named in by_text.items())


def _rule(factory: ModelFactory, name: str) -> Constraint:
    rule: Constraint = factory.__dataclass_fields__[name].metadata["rule"]
    return rule


@dataclass(frozen=True, kw_only=True)
@_with_hyperparameters
class ModelChoice(OptionGroup):
    """A model, and the hyper-parameters that are given; the others are its defaults.

    Beside `model` it has one field for each hyper-parameter that any model declares.
    """

    SECTION: ClassVar[str] = "model"

    model: str = option(
        "pooled_mlp",
        "Architecture; it has its own defaults for what follows.",
        choices=tuple(MODEL_FACTORIES),
    )

    @property
    def factory(self) -> ModelFactory:
        return MODEL_FACTORIES[self.model]

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Those of the chosen model: given values, else its own defaults."""
        given = vars(self)
        return {
            item.name: item.default if given[item.name] is None else given[item.name]
            for item in self.factory.offered()
        }

    def validate(self) -> list[str]:
        found = []
        for name, models in models_by_hyperparameter().items():
            owner = self.model if self.model in models else models[0]
            value = vars(self)[name]
            problem = None if value is None else _rule(MODEL_FACTORIES[owner], name).broken_by(value)
            if problem:
                found.append(f"{name}: {problem}")
        return found

    def unused_options(self, given: frozenset[str]) -> list[str]:
        return [
            f"{name}={vars(self)[name]} has no effect: {self.model} has no such parameter"
            for name, models in models_by_hyperparameter().items()
            if name in given and self.model not in models
        ]
