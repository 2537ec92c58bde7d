"""Declaration of config fields: type, default, bounds, choices and help.

A field is declared once, by `option(default, help, ...)`. The commands' options,
the parameters of MLproject and the parameters that a run logs are all made from what
`describe_fields` returns.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ppi_train.config.coercion import as_bool, as_float, as_int, as_str, as_str_list
from ppi_train.errors import has_credentials

T = TypeVar("T")

_COERCIONS: dict[object, tuple[Callable[[object], object], str]] = {
    str: (as_str, "text"),
    int: (as_int, "integer"),
    float: (as_float, "number"),
    bool: (as_bool, "true/false"),
    tuple[str, ...]: (as_str_list, "list"),
}


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """Help and accepted values of a field; bounds in the field's unit."""

    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    above: float | None = None
    high: float | None = None
    below: float | None = None

    def broken_by(self, value: object) -> str | None:
        """What is wrong with a coerced value; None if it is valid."""
        if value == ():
            return f"expected one or more of {', '.join(self.choices) or 'any text'}; got none"
        if self.choices:
            values = value if isinstance(value, tuple) else (value,)
            wrong = [item for item in values if item not in self.choices]
            if wrong:
                return f"expected one of {', '.join(self.choices)}; got {wrong[0]!r}"
        if not isinstance(value, int | float):
            return None
        bounds = (
            (self.low is None or value >= self.low, f"at least {self.low}"),
            (self.above is None or value > self.above, f"above {self.above}"),
            (self.high is None or value <= self.high, f"at most {self.high}"),
            (self.below is None or value < self.below, f"below {self.below}"),
        )
        broken = [text for holds, text in bounds if not holds]
        return f"expected a value {' and '.join(broken)}; got {value!r}" if broken else None


def option(default: T, help: str, **rule: Any) -> T:  # noqa: A002 - the word that click uses too
    """Declares a config field with its default, help and rule.

    The return type is that of the default, so that a type checker sees the type of the value.
    """
    return dataclasses.field(default=default, metadata={"rule": Constraint(help=help, **rule)})


@dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """One parameter, as needed by the commands, MLproject and tracking."""

    name: str
    section: str
    default: object
    optional: bool
    kind: str
    coerce: Callable[[object], object]
    rule: Constraint

    @property
    def parameter(self) -> str:
        """The name under which a run logs the parameter.

        `mlflow run` itself logs the raw text under the name without the section.
        """
        return f"{self.section}.{self.name}"

    def parse(self, value: object) -> object:
        """Converts a value to the type of the field and checks it.

        Raises:
            ValueError: what was expected and what was given, unless that is a secret.
        """
        if isinstance(value, str) and has_credentials(value):
            # Every parameter is logged with the run, where others can read it.
            raise ValueError(
                "expected a URL without user name and password; give those in ~/.netrc, or the whole URL "
                "in an environment variable such as PPI_TRAIN_MIRROR"
            )
        parsed = self.coerce(value)
        problem = self.rule.broken_by(parsed)
        if problem:
            raise ValueError(problem)
        return parsed


def _unwrap_optional(annotation: object) -> tuple[object, bool]:
    if isinstance(annotation, types.UnionType):
        (inner,) = [part for part in typing.get_args(annotation) if part is not type(None)]
        return inner, True
    return annotation, False


def describe_fields(schema: type[Any]) -> tuple[FieldSpec, ...]:
    """The fields of a config class in the order of its sections."""
    hints = typing.get_type_hints(schema)
    # The section is that of the group that first declares the field, also if a mode changes the default:
    # the same parameter has the same name in every run.
    owners: list[Any] = list(schema.__mro__[:-1])
    sections = {name: owner.SECTION for owner in owners for name in _declared(owner)}
    specs = []
    for item in dataclasses.fields(schema):
        inner, optional = _unwrap_optional(hints[item.name])
        coerce, kind = _COERCIONS[inner]
        specs.append(
            FieldSpec(
                name=item.name,
                section=sections[item.name],
                default=item.default,
                optional=optional,
                kind=kind,
                coerce=coerce,
                rule=item.metadata["rule"],
            )
        )
    return tuple(specs)


def _declared(owner: type[Any]) -> list[str]:
    return [name for name in vars(owner).get("__annotations__", {}) if name.islower()]
