"""Strict coercion of config values from text to their types.

Values arrive as text from the command line and as YAML scalars from a config file. YAML has two
traps that these functions close: `1e-4` is text to PyYAML, and `no` is False.
"""

from __future__ import annotations

import math
import re

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
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


def as_str_list(value: object) -> tuple[str, ...]:
    """Accepts a list of texts, or one comma-separated text.

    >>> as_str_list("train, validation")
    ('train', 'validation')
    """
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list | tuple):
        return tuple(as_str(part) for part in value)
    raise _refuse("a list of texts", value)
