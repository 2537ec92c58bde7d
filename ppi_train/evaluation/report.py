"""The page that an evaluation leaves: one HTML file that needs nothing beside itself.

No script, no font, no image from elsewhere: figures are inside the page, so that it reads the same in the
tracking server's artifact view, from a mail and on paper. All text is escaped: accessions, file and run names
come from users' files. `report_sections` and `comparison_sections` make the content.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import jinja2

Level = Literal["good", "even", "watch", "bad"]
SYMBOLS: dict[Level, str] = {"good": "✓", "even": "≈", "watch": "▲", "bad": "✗"}  # told apart without colour
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with the ends of its 95% interval, if it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> str:
        """`0.605 to 0.619`, or nothing."""
        if self.low is None or self.high is None:
            return ""
        return f"{number(self.low)} to {number(self.high)}"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One line of a scale; `of` says whose value it is, for its colour and shape."""

    label: str
    estimate: Estimate
    of: Literal["model", "baseline", "chance"] = "model"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One metric from 0 to 1 and who reaches what on it; `large`: the first bar's value is shown large."""

    name: str
    meaning: str
    bars: tuple[Bar, ...]
    large: bool = True


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The result in plain words, and on scales beside what is trivial."""

    sentences: tuple[str, ...]
    scales: tuple[Scale, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Column:
    """`prose` holds sentences; `code` digests and run IDs, long words that may break anywhere."""

    name: str
    kind: Literal["text", "prose", "number", "code"] = "text"


@dataclass(frozen=True, kw_only=True)
class Row:
    """The cells in the order of the columns; `level` marks the row and `word` says so beside a symbol."""

    cells: tuple[str, ...]
    level: Level | None = None
    word: str = ""

    @property
    def symbol(self) -> str:
        return SYMBOLS[self.level] if self.level else ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of as many cells as there are columns; marked rows get one more column for their mark."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        assert all(len(one.cells) == len(self.columns) for one in self.rows), self.caption

    @property
    def marked(self) -> bool:
        return any(one.level for one in self.rows)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure as SVG; `alt` says in words what it shows; `shape` gives it the width or height of two."""

    svg: bytes
    alt: str
    caption: str = ""
    shape: Literal["", "wide", "tall"] = ""

    @property
    def source(self) -> str:
        """As a data URL: within `img` nothing of an SVG can run or clash with another's names."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode()


@dataclass(frozen=True, kw_only=True)
class Section:
    """Paragraphs, then pictures, then tables, then commands to copy."""

    text: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    commands: tuple[str, ...] = ()


Part = Section | str | None
"""A section, or a line that says why it is missing, or nothing: the section is left out."""


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """All that a page shows, as plain data; the sections in the order of the page.

    `kind` is what the page is of; `facts` are names and values under the title.
    """

    kind: str
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    headline: Headline
    differences: Part = field(default=None, metadata={"title": "Differences to the reference"})
    metrics: Part = field(default=None, metadata={"title": "All metrics"})
    curves: Part = field(default=None, metadata={"title": "Ranking"})
    calibration: Part = field(default=None, metadata={"title": "Probabilities"})
    strata: Part = field(default=None, metadata={"title": "Where it works: strata"})
    leakage: Part = field(default=None, metadata={"title": "Leakage"})
    networks: Part = field(default=None, metadata={"title": "True and predicted network"})
    network_metrics: Part = field(default=None, metadata={"title": "Network metrics"})
    agreement: Part = field(default=None, metadata={"title": "Agreement between the models"})
    lineage: Part = field(default=None, metadata={"title": "Lineage"})
    made_by: str = ""

    def parts(self) -> Iterator[tuple[str, str, Section | str]]:
        """Name, title and content of each section that is there."""
        for name, one in type(self).__dataclass_fields__.items():
            part = getattr(self, name)
            if "title" in one.metadata and part is not None:
                yield name, one.metadata["title"], part


def render_report(content: ReportContent) -> str:
    """The page as HTML; the same content gives the same text."""
    return _environment().get_template("report.html").render(content=content)


def number(value: float) -> str:
    """Three decimals; more where these would be 0, fewer of large numbers."""
    if not math.isfinite(value):
        return {math.inf: "infinite", -math.inf: "-infinite"}.get(value, "not defined")
    if value and abs(value) < 0.0095:
        return f"{value:.2g}"
    decimals = 3 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{decimals}f}"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment
