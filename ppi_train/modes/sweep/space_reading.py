"""Reading the searched parameters of a search space, with all of their problems."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from ppi_train.config.fields import FieldSpec, as_bool, describe_fields
from ppi_train.config.loading import unknown_name
from ppi_train.errors import nearest
from ppi_train.models.choice import models_by_hyperparameter
from ppi_train.models.registry import MODEL_FACTORIES
from ppi_train.modes.sweep.searched import Searched, after_steps, steps_within, stored
from ppi_train.runs.configs import TrainConfig

_FOR_A_CHOICE = ("values", "when")
_FOR_A_RANGE = ("low", "high", "log", "step", "when")
_KEYS = ("values", *_FOR_A_RANGE)
_MOST_STEPS = 1_000_000

# Why the same value serves all trials.
_SAME_DATA = "all trials have the same data"
_NOT_SEARCHED = {
    "processes": "the sweep divides the machine among its trials",
    "missing": _SAME_DATA,
    "offline": "the sweep decides where its trials are recorded",
    "tracking_flush_seconds": "the sweep decides where its trials are recorded",
}
# Trials of other pairs cannot be compared, and a network is divided before the first trial.
_OF_A_SECTION = {"data": _SAME_DATA, "network": _SAME_DATA, "split": _SAME_DATA}
_OF_A_PATH = {
    "file": "all trials have the same files",
    "cache": "all trials have the same embeddings",
    "here": "the sweep decides where its trials write",
}


class ParameterReader:
    """Reads the searched parameters of one space; `problems` collects what is wrong with them.

    Args:
        config: The config of the command, whose values the trials have for what is not searched.
        given: Names of the parameters given to the command.
        grid: Whether all combinations are tried.
    """

    def __init__(self, config: TrainConfig, given: Collection[str], *, grid: bool) -> None:
        self.problems: list[str] = []
        self._config = config
        self._given = given
        self._grid = grid
        self._names: frozenset[str] = frozenset()
        self._models: tuple[str, ...] = (config.model.model,)
        self._specs = {spec.name: spec for spec in describe_fields(TrainConfig)}

    def read(self, entries: Mapping[str, object]) -> tuple[Searched, ...]:
        """The searched parameters, the model first; those with a problem are left out."""
        self._names = frozenset(entries)
        found: list[Searched] = []
        for name in sorted(entries, key=lambda name: name != "model"):
            searched = self._parameter(name, entries[name])
            if name == "model":
                # After a problem with the model, any may be meant: no problems follow from that one.
                self._models = tuple(map(str, searched.values)) if searched else tuple(MODEL_FACTORIES)
            found += [searched] if searched else []
        return tuple(found)

    def _parameter(self, name: str, entry: object) -> Searched | None:
        spec = self._specs.get(name)
        if spec is None:
            self.problems.append(unknown_name(name, self._specs))
            return None
        reasons = (
            _OF_A_PATH.get(spec.rule.place),
            _NOT_SEARCHED.get(spec.name),
            _OF_A_SECTION.get(spec.section),
        )
        reason = next(filter(None, reasons), None)
        if reason:
            self.problems.append(f"{name}: cannot be searched: {reason}")
            return None
        before = len(self.problems)
        if name in self._given:
            self._add(name, "searched, and also given to the command; leave one of them out")
        form = self._form(name, entry)
        models = self._models_with(spec, form.get("when")) if form else None
        searched = self._searched(spec, form, models) if form else None
        return searched if len(self.problems) == before else None

    def _form(self, name: str, entry: object) -> Mapping[str, Any]:
        """The keys of a parameter; empty if they are not those of a list or a range."""
        if isinstance(entry, list):
            return {"values": entry}
        if not isinstance(entry, Mapping):
            self._add(name, f"expected a list of values, or low and high; got {entry!r}")
            return {}
        unknown = [key for key in entry if key not in _KEYS]
        for key in unknown:
            self.problems.append(unknown_key(f"{name}.", key, _KEYS))
        fitting = _FOR_A_CHOICE if "values" in entry else _FOR_A_RANGE
        for key in [key for key in entry if key in _KEYS and key not in fitting]:
            self._add(name, f"{key} does not go with values")
        missing = [] if "values" in entry else [key for key in ("low", "high") if key not in entry]
        if len(missing) == 2:
            self._add(name, "expected values, or low and high")
        elif missing:
            self._add(name, f"{missing[0]} is missing")
        return {} if missing else entry

    def _models_with(self, spec: FieldSpec, when: object) -> frozenset[str] | None:
        """The models whose trials have a parameter; None: all trials."""
        owners = models_by_hyperparameter().get(spec.name)
        if when is None:
            found = frozenset(self._models).intersection(owners or self._models)
            if not found:
                models = " or ".join(self._models)
                self._add(spec.name, f"no trial has it: it is of {', '.join(owners or ())}, not of {models}")
            return found if owners else None
        if spec.name == "model":
            self._add("model", "when: a condition is one of the model, and does not go with it")
            return None
        return frozenset(self._named_models(spec.name, when, owners))

    def _named_models(self, name: str, when: object, owners: Collection[str] | None) -> list[str]:
        named = when.get("model") if isinstance(when, Mapping) and set(when) == {"model"} else None
        listed = [named] if isinstance(named, str) else named
        if not listed or not isinstance(listed, list) or not all(isinstance(model, str) for model in listed):
            self._add(name, f"when: expected `model:` and one model or a list of them; got {when!r}")
            return []
        for model in listed:
            if model not in MODEL_FACTORIES:
                hint = nearest(model, MODEL_FACTORIES) or f"known: {', '.join(MODEL_FACTORIES)}"
                self._add(name, f"when: no such model: {model!r}; {hint}")
            elif model not in self._models:
                self._add(name, f"when: no trial has the model {model}, only {' or '.join(self._models)}")
            elif owners and model not in owners:
                self._add(name, f"when: {model} has no such parameter; it is of {', '.join(owners)}")
        return [model for model in listed if model in MODEL_FACTORIES]

    def _searched(
        self, spec: FieldSpec, form: Mapping[str, Any], models: frozenset[str] | None
    ) -> Searched | None:
        if "values" in form:
            values = self._choices(spec, form["values"])
            self._refuse_values(spec, values, models)
            return Searched(name=spec.name, kind="choice", values=tuple(values), models=models)
        if spec.kind not in ("integer", "number"):
            self._add(spec.name, f"low and high are for numbers, and this is {spec.kind}; list its values")
            return None
        return self._range(spec, form, models)

    def _choices(self, spec: FieldSpec, listed: object) -> list[object]:
        if not isinstance(listed, list) or not listed:
            self._add(spec.name, f"expected a list of one or more values; got {listed!r}")
            return []
        found: list[object] = []
        for written in listed:
            try:
                value = None if written is None and spec.optional else spec.parse(written)
            except ValueError as error:
                self._add(spec.name, str(error))
                continue
            if stored(value) in [stored(other) for other in found]:
                self._add(spec.name, f"{written!r} is listed twice")
            found.append(value)
        return found

    def _range(
        self, spec: FieldSpec, form: Mapping[str, Any], models: frozenset[str] | None
    ) -> Searched | None:
        before = len(self.problems)
        low, high, step = (self._number(spec, key, form.get(key)) for key in ("low", "high", "step"))
        log = self._log(spec, form.get("log", False))
        if step is not None and step <= 0:
            self._add(spec.name, f"step: expected a value above 0; got {step!r}")
        if step is not None and log:
            self._add(spec.name, "step does not go with log")
        if low is None or high is None:
            return None
        if log and low <= 0:
            self._add(spec.name, f"low: log needs a value above 0; got {low!r}")
        if low >= high:
            text = f"both are {low!r}" if low == high else f"low is {low!r}, and high is {high!r}"
            self._add(spec.name, f"low and high: expected low below high; {text}")
        self._refuse_values(spec, [low, high], models)
        if len(self.problems) == before:
            high = self._reached(spec, low, high, step)
        if self._grid and log:
            self._add(spec.name, "a grid has no log ranges; list the values")
        elif self._grid and step is None and spec.kind == "number":
            self._add(spec.name, "a grid needs a step for a range of numbers, or a list of values")
        return Searched(name=spec.name, kind=spec.kind, low=low, high=high, log=log, step=step, models=models)

    def _number(self, spec: FieldSpec, key: str, value: object) -> Any:
        """A number of the range; None if it is not given, or not a number of the parameter's kind."""
        if value is None and key == "step":
            return None
        try:
            return spec.coerce(value)
        except ValueError as error:
            self._add(spec.name, f"{key}: {error}")
            return None

    def _log(self, spec: FieldSpec, value: object) -> bool:
        try:
            return as_bool(value)
        except ValueError as error:
            self._add(spec.name, f"log: {error}")
            return False

    def _reached(self, spec: FieldSpec, low: float, high: float, step: float | None) -> float:
        """The highest value that whole steps from the lowest reach."""
        if not math.isfinite(high - low) or (high - low) / (step or math.inf) > _MOST_STEPS:
            self._add(spec.name, f"low and high are more than {_MOST_STEPS:,} steps apart")
        elif step is not None:
            steps = steps_within(low, high, step)
            if not steps:
                self._add(spec.name, f"step: {step!r} is more than the whole range")
            return after_steps(low, steps, step)
        return high

    def _refuse_values(
        self, spec: FieldSpec, values: Collection[object], models: frozenset[str] | None
    ) -> None:
        """Adds the problems of values that the schema or one of the models refuses."""
        found: list[str] = []
        broken = [None if value is None else spec.rule.broken_by(value) for value in values]
        found += [f"{spec.name}: {problem}" for problem in broken if problem]
        for model in sorted(models or self._models):
            base = self._config.replace(model=model)
            before = base.problems()
            for value in values:
                after = base.replace(**{spec.name: value}).problems()
                found += [self._because_of(spec.name, value, text) for text in after if text not in before]
        # Models of equal bounds have the same problem.
        self.problems += dict.fromkeys(text for text in found if text)

    def _because_of(self, name: str, value: object, problem: str) -> str:
        """A problem of the config with the parameter's name; empty if a searched one can solve it."""
        about = problem.partition(":")[0]
        if about == name:
            return problem
        return "" if about in self._names else f"{name}: with {value}, {problem}"

    def _add(self, name: str, problem: str) -> None:
        self.problems.append(f"{name}: {problem}")


def unknown_key(prefix: str, key: object, known: Collection[str]) -> str:
    """The message for an unknown key of the file, with the known ones."""
    return f"{prefix}{key}: no such key; {nearest(str(key), known) or 'known: ' + ', '.join(known)}"
