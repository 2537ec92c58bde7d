"""Intervals such as `500 steps` or `10 minutes`."""

from __future__ import annotations

import re
from dataclasses import dataclass

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
