"""A searched parameter: its values, and how a trial gets one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna

Stored = None | bool | int | float | str
"""What a study can store of a choice."""


@dataclass(frozen=True, kw_only=True)
class Searched:
    """A parameter of `train_only`, and the values that trials may give it.

    `kind` is `choice`, with `values`, or `integer` or `number`, with the range from `low` to `high`, both
    included. `models` are those whose trials have the parameter; None: all trials.
    """

    name: str
    kind: str
    values: tuple[object, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    models: frozenset[str] | None = None

    def is_for(self, model: str) -> bool:
        """Whether trials with this model have the parameter."""
        return self.models is None or model in self.models

    def suggest(self, trial: optuna.trial.BaseTrial) -> object:
        """The value for a trial."""
        if self.kind == "choice":
            by_stored = {stored(value): value for value in self.values}
            return by_stored[trial.suggest_categorical(self.name, list(by_stored))]
        if self.kind == "integer":
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return trial.suggest_int(self.name, low, high, step=step, log=self.log)
        value = trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)
        # Optuna adds up steps in binary, which gives 0.30000000000000004.
        return value if self.step is None else self._at(round((value - self.low) / self.step))

    def all_values(self) -> Sequence[object]:
        """Every value; a range needs a step, which is 1 for integers."""
        if self.kind == "choice":
            return self.values
        return [self._at(index) for index in range(self.count)]

    @property
    def count(self) -> int:
        """How many values there are; a range needs a step, which is 1 for integers."""
        if self.kind == "choice":
            return len(self.values)
        return steps_within(self.low, self.high, self.step or 1) + 1

    def description(self) -> dict[str, object]:
        """The values and their condition as plain JSON."""
        condition = {} if self.models is None else {"models": sorted(self.models)}
        if self.kind == "choice":
            return {"kind": self.kind, "values": list(self.values), **condition}
        bounds = {"low": self.low, "high": self.high, "log": self.log, "step": self.step}
        return {"kind": self.kind, **bounds, **condition}

    def _at(self, index: int) -> float:
        return after_steps(self.low, index, self.step or 1)


def stored(value: object) -> Stored:
    """A choice as a study stores it; no parameter that can be searched is a list."""
    assert value is None or isinstance(value, bool | int | float | str)
    return value


def steps_within(low: float, high: float, step: float) -> int:
    """How many steps fit between two numbers, as written in decimals."""
    return int((_decimal(high) - _decimal(low)) // _decimal(step))


def after_steps(low: float, steps: int, step: float) -> float:
    """The number so many steps above another; an integer if both are.

    >>> after_steps(0.1, 2, 0.1)
    0.3
    """
    if isinstance(low, int) and isinstance(step, int):
        return low + steps * step
    return float(_decimal(low) + steps * _decimal(step))


def _decimal(number: float) -> Decimal:
    return Decimal(str(number))
