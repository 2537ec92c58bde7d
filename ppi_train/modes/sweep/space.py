"""The search space of a sweep: that of a file, or the default one of a model."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppi_train.config.loading import listed_problems, read_config_file
from ppi_train.errors import ConfigError, nearest
from ppi_train.modes.sweep.searched import Searched
from ppi_train.modes.sweep.space_reading import ParameterReader, unknown_key
from ppi_train.runs.configs import TrainConfig

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("tpe", "random", "grid")
_KEYS = ("sampler", "parameters")
# Combinations of a grid; many more are a typing error.
_LARGEST_GRID = 100_000

_REGULARISATION = {
    "weight_decay": {"low": 1e-4, "high": 0.3, "log": True},
    "label_smoothing": {"low": 0.0, "high": 0.2, "step": 0.05},
}
# At most, a trial takes about three times as long as one with the model's defaults.
DEFAULT_PARAMETERS: Mapping[str, Mapping[str, object]] = {
    "pooled_mlp": {
        "learning_rate": {"low": 3e-4, "high": 3e-2, "log": True},
        "hidden_dim": [64, 128, 256],
        "dropout": {"low": 0.0, "high": 0.6, "step": 0.05},
        "input_dropout": {"low": 0.0, "high": 0.8, "step": 0.05},
        "epochs": {"low": 4, "high": 12, "step": 2},
        **_REGULARISATION,
    },
    "v3": {
        "learning_rate": {"low": 3e-4, "high": 3e-2, "log": True},
        "hidden_dim": [64, 96, 128, 192],
        "slots": [2, 4, 8],
        "dropout": {"low": 0.0, "high": 0.6, "step": 0.05},
        "input_dropout": {"low": 0.0, "high": 0.8, "step": 0.05},
        "epochs": {"low": 4, "high": 8, "step": 2},
        **_REGULARISATION,
    },
    "contact_map": {
        "learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
        "hidden_dim": [50, 100],
        "dropout": {"low": 0.2, "high": 0.6, "step": 0.1},
        "sparsity": {"low": 0.35, "high": 0.8, "step": 0.15},
        "weight_decay": {"low": 1e-3, "high": 0.1, "log": True},
    },
    "pair_transformer": {
        "learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
        "hidden_dim": [32, 64],
        "dropout": {"low": 0.0, "high": 0.4, "step": 0.1},
        "weight_decay": {"low": 1e-3, "high": 0.1, "log": True},
    },
}
"""What is searched for each model where no file says it, as a file would have it."""


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """What a sweep searches, and how: the parameters, with the model first, and the sampler.

    The `model` of the methods is that of the command, for a space that does not search it.
    """

    sampler: str
    parameters: tuple[Searched, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(searched.name for searched in self.parameters)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that are searched; empty if the model is not."""
        return next((tuple(map(str, item.values)) for item in self.parameters if item.name == "model"), ())

    def suggest(self, trial: optuna.trial.BaseTrial, model: str) -> dict[str, object]:
        """The values for a trial by parameter name, without parameters that its model lacks."""
        values: dict[str, object] = {}
        for searched in self.parameters:
            if searched.is_for(str(values.get("model", model))):
                values[searched.name] = searched.suggest(trial)
        return values

    def grid(self, model: str) -> list[dict[str, object]]:
        """All combinations of values by parameter name; the last parameter varies fastest."""
        trials: list[dict[str, object]] = [{}]
        for searched in self.parameters:
            settings = [{searched.name: value} for value in searched.all_values()]
            trials = [
                {**trial, **setting}
                for trial in trials
                for setting in (settings if searched.is_for(str(trial.get("model", model))) else [{}])
            ]
        return trials

    def grid_size(self, model: str) -> int:
        """How many combinations `grid` has."""
        models = [searched.values for searched in self.parameters if searched.name == "model"]
        others = [searched for searched in self.parameters if searched.name != "model"]
        return sum(
            math.prod(searched.count for searched in others if searched.is_for(str(name)))
            for name in (models[0] if models else (model,))
        )

    def description(self) -> dict[str, object]:
        """The searched values by name as plain JSON, which tells two spaces apart; not the sampler."""
        return {
            searched.name: searched.description()
            for searched in sorted(self.parameters, key=lambda searched: searched.name)
        }


def read_space(path: str, config: TrainConfig, given: Collection[str]) -> SearchSpace:
    """Reads a YAML file of the keys `parameters` and `sampler`.

    Args:
        path: The file.
        config: The config of the command, for what is not searched.
        given: Names of the parameters given to the command; they cannot be searched too.

    Raises:
        ConfigError: all problems at once: unknown names, values that the schema or a model refuses,
            ranges without values, conditions that no trial fulfils.
    """
    return _space(read_config_file(path), config, given, of=f"the search space {path}")


def default_space(model: str, config: TrainConfig, given: Collection[str]) -> SearchSpace:
    """What is searched for a model where no file says it, without the parameters given.

    Raises:
        ConfigError: all of them are given.
    """
    parameters = {name: entry for name, entry in DEFAULT_PARAMETERS[model].items() if name not in given}
    if not parameters:
        raise ConfigError(
            f"nothing is left to search: the default search space of {model} is given in full",
            got=", ".join(DEFAULT_PARAMETERS[model]),
            remedy="leave out some of these parameters, or give search=FILE",
        )
    content = {"parameters": parameters}
    return _space(content, config.replace(model=model), given, of=f"the default search space of {model}")


def _space(
    content: Mapping[str, Any], config: TrainConfig, given: Collection[str], *, of: str
) -> SearchSpace:
    problems = [unknown_key("", key, _KEYS) for key in content if key not in _KEYS]
    sampler = content.get("sampler", "tpe")
    if sampler not in SAMPLERS:
        hint = nearest(str(sampler), SAMPLERS)
        problems.append(
            f"sampler: expected one of {', '.join(SAMPLERS)}; got {sampler!r}" + (f"; {hint}" if hint else "")
        )
    entries = content.get("parameters")
    if not isinstance(entries, Mapping) or not entries:
        problems.append(
            "parameters: expected one or more names with their values, such as `epochs: [4, 8]`; "
            f"got {entries if entries else 'none'}"
        )
        raise listed_problems(problems, of=of)
    reader = ParameterReader(config, given, grid=sampler == "grid")
    space = SearchSpace(sampler=str(sampler), parameters=reader.read(entries))
    problems += reader.problems
    if not problems and sampler == "grid" and space.grid_size(config.model.model) > _LARGEST_GRID:
        size = space.grid_size(config.model.model)
        problems.append(f"sampler: this grid has {size:,} combinations; expected at most {_LARGEST_GRID:,}")
    if problems:
        raise listed_problems(problems, of=of)
    return space
