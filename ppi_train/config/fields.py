"""Declaration of config fields: type, default, bounds, choices and help.

A field is declared once, by `option(default, help, ...)`. Values arrive as text from the command line and as
YAML scalars from a config file. YAML has two traps that the strict conversions here close: `1e-4` is text to
PyYAML, and `no` is False.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import math
import operator
import re
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from ppi_train.errors import has_credentials
from ppi_train.io.stores import is_url

T = TypeVar("T")

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_PLACE_OF_RUN = re.compile(r"(?:^\s*runs:/|://.*/runs/)([A-Za-z0-9][\w-]*)", re.ASCII)
_WHOLE = re.compile(r"[+-]?[0-9]{1,300}")


def _refuse(expected: str, value: object, hint: str = "") -> ValueError:
    return ValueError(f"expected {expected}, got {value!r}{hint}")


def as_str(value: object) -> str:
    """Accepts text only.

    A number or a truth value is refused, since quoting it was probably forgotten.

    >>> as_str("P12345")
    'P12345'
    """
    if isinstance(value, str):
        return value
    hint = "; YAML reads unquoted yes, no, on and off as truth values: quote it"
    raise _refuse("text", value, hint if isinstance(value, bool) else "; quote it")


def as_int(value: object) -> int:
    """Accepts a whole number, or its text.

    `2.0`, `1e3`, `1_000` and truth values are refused.

    >>> as_int("12")
    12
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    raise _refuse("a whole number", value)


def as_float(value: object) -> float:
    """Accepts a finite number, or its text, including `1e-4`.

    >>> as_float("1e-4")
    0.0001
    """
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            # Python accepts digit groups such as 1_000; in a config they are probably a typing error.
            number = math.nan if "_" in str(value) else float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise _refuse("a finite number", value)


def as_bool(value: object) -> bool:
    """Accepts true/false, yes/no, on/off and 1/0, in any case.

    >>> as_bool("no")
    False
    """
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower() if isinstance(value, str | int) else ""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise _refuse("true or false", value)


def as_count(value: object) -> int | str:
    """Accepts a whole number or its text, or `auto`.

    >>> as_count("2"), as_count("auto")
    (2, 'auto')
    """
    try:
        return "auto" if value == "auto" else as_int(value)
    except ValueError:
        raise _refuse("a whole number or auto", value) from None


def as_str_list(value: object) -> tuple[str, ...]:
    """Accepts a list of texts, or one comma-separated text, with quotes around a value that has commas.

    >>> as_str_list("train, validation")
    ('train', 'validation')
    >>> as_str_list('yeast.fasta, "Smith, J./fly.fasta"')
    ('yeast.fasta', 'Smith, J./fly.fasta')
    """
    if isinstance(value, str):
        try:
            parts = [part for line in csv.reader(io.StringIO(value), skipinitialspace=True) for part in line]
        except csv.Error:  # such as a carriage return
            raise _refuse("values with commas between", value) from None
        return tuple(part.strip() for part in parts if part.strip())
    if isinstance(value, list | tuple):
        return tuple(as_str(part) for part in value)
    raise _refuse("a list of texts", value)


def str_list_text(values: Iterable[str]) -> str:
    """The text that `as_str_list` reads as these values."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


def run_id_of(text: str) -> str:
    """The run ID in what users copy: `runs:/ID`, a URL of the MLflow UI, or the ID with blanks around it.

    >>> run_id_of("http://localhost:5000/#/experiments/1/runs/0a1b/artifacts")
    '0a1b'
    """
    found = _PLACE_OF_RUN.search(text)
    return found[1] if found else text.strip()


_COERCIONS: dict[object, tuple[Callable[[object], object], str]] = {
    str: (as_str, "text"),
    int: (as_int, "integer"),
    float: (as_float, "number"),
    bool: (as_bool, "true/false"),
    int | str: (as_count, "integer|auto"),
    tuple[str, ...]: (as_str_list, "list"),
}


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """Help and accepted values of a field; bounds in the field's unit.

    `aliases` are other names by which the value may be given; a run logs it under the field's own.
    If it `names_runs`, `runs:/ID` and URLs of the MLflow UI stand for the ID in them. `place` says what the
    field is a path of: a `file` or embedding `cache` to read or an `output`, each of which may lie in an
    object store, or a folder that must be `here`, on this machine; empty for other fields.
    """

    help: str
    aliases: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    low: float | None = None
    above: float | None = None
    high: float | None = None
    below: float | None = None
    names_runs: bool = False
    place: str = ""

    def cleaned(self, value: object) -> object:
        """A coerced value, with the ID in place of what else names a run."""
        if not self.names_runs:
            return value
        if isinstance(value, tuple):
            return tuple(run_id_of(text) for text in value)
        return run_id_of(str(value))

    def broken_by(self, value: object) -> str | None:
        """What is wrong with a coerced value; None if it is valid."""
        if value == ():
            return f"expected one or more of {', '.join(self.choices) or 'any text'}; got none"
        if self.choices:
            values = value if isinstance(value, tuple) else (value,)
            wrong = [item for item in values if item not in self.choices]
            if wrong:
                return f"expected one of {', '.join(self.choices)}; got {wrong[0]!r}"
        if self.place:
            return self._refused_place(str(value))
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

    def _refused_place(self, path: str) -> str | None:
        if self.place == "here" and is_url(path):
            return (
                f"expected a folder of this machine; got {path!r}: it is read and written all the time, "
                "which a store is too slow for; tables, FASTAs, embeddings and outputs may lie in one"
            )
        if "::" in path and "://" in path:
            return f"expected an address without `::`; got {path!r}"
        return None


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
    def names(self) -> tuple[str, ...]:
        """The name and the aliases."""
        return (self.name, *self.rule.aliases)

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
        if has_credentials(str(value)):
            # Every parameter is logged with the run, where others can read it.
            raise ValueError(
                "expected a URL without user name and password, and without a token, key or signature; give "
                "the former in ~/.netrc, or the whole URL in an environment variable such as PPI_TRAIN_MIRROR"
            )
        if isinstance(value, str) and not value.strip():
            raise ValueError(f"expected a value, got blanks: {value!r}")
        if "\0" in str(value):
            raise ValueError("expected text without NUL characters")
        parsed = self.rule.cleaned(self.coerce(value))
        problem = self.rule.broken_by(parsed)
        if problem:
            raise ValueError(problem)
        return parsed


def describe_fields(schema: type[Any]) -> tuple[FieldSpec, ...]:
    """The parameters of a mode's config class, in the order of its groups.

    The default of each is the one that the mode gave to its group.
    """
    groups = [item.default for item in dataclasses.fields(schema) if item.name != "names_given"]
    specs = tuple(spec for group in groups for spec in _describe_group(group))
    assert len({spec.name for spec in specs}) == len(specs), f"{schema.__name__} has two fields of one name"
    return specs


def _describe_group(defaults: Any) -> list[FieldSpec]:
    hints = typing.get_type_hints(type(defaults))
    specs = []
    for item in dataclasses.fields(defaults):
        inner, optional = _unwrap_optional(hints[item.name])
        coerce, kind = _COERCIONS[inner]
        specs.append(
            FieldSpec(
                name=item.name,
                section=defaults.SECTION,
                default=getattr(defaults, item.name),
                optional=optional,
                kind=kind,
                coerce=coerce,
                rule=item.metadata["rule"],
            )
        )
    return specs


def _unwrap_optional(annotation: object) -> tuple[object, bool]:
    parts = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    kept = [part for part in parts if part is not type(None)]
    return functools.reduce(operator.or_, kept), len(kept) < len(parts)


_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(steps?|min(?:utes?)?|s(?:ec(?:onds?)?)?)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Optimiser steps or seconds of wall time; exactly one is set."""

    steps: int | None = None
    seconds: float | None = None


def parse_interval(text: str) -> Interval:
    """Reads `500 steps`, `10 minutes` or `30 s`.

    Raises:
        ValueError: says what was expected.
    """
    found = _FORM.fullmatch(text.strip())
    number, unit = (float(found[1]), found[2].lower()[:2]) if found else (0.0, "")
    if number == 0 or (unit == "st" and not number.is_integer()):
        raise ValueError(f"expected a number and its unit, such as `500 steps` or `10 minutes`; got {text!r}")
    if unit == "st":
        return Interval(steps=int(number))
    return Interval(seconds=number * 60 if unit == "mi" else number)
