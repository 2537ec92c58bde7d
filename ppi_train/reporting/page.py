"""The report of an evaluation as one self-contained HTML file.

No external script, font or image: figures are inside the page, so that it looks the same in the tracking
server's artifact view, from a mail and on paper. All text is escaped: accessions, file and run names come
from users' files. `report_sections` and `comparison_sections` make the content.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import jinja2

Level = Literal["good", "even", "watch", "bad"]
SYMBOLS: dict[Level, str] = {"good": "✓", "even": "≈", "watch": "▲", "bad": "✗"}  # readable without colour
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value and the ends of its 95% interval, if any."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> str:
        """The interval as text, such as `0.605 to 0.619`, or empty."""
        if self.low is None or self.high is None:
            return ""
        return f"{number(self.low)} to {number(self.high)}"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One line of a scale.

    `of` says whose value it is, which decides its colour and shape.
    """

    label: str
    estimate: Estimate
    of: Literal["model", "baseline", "chance"] = "model"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One metric from 0 to 1, with bars of models and baselines.

    With `large` the first bar's value is shown large.
    """

    name: str
    meaning: str
    bars: tuple[Bar, ...]
    large: bool = True


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The result in plain words, and on scales next to the baselines."""

    sentences: tuple[str, ...]
    scales: tuple[Scale, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table.

    The kind `prose` is for sentences; `code` is for digests and run IDs, long words that may break anywhere.
    """

    name: str
    kind: Literal["text", "prose", "number", "code"] = "text"


def columns(texts: Iterable[str], numbers: Iterable[str]) -> tuple[Column, ...]:
    """Columns of text, and then columns of numbers."""
    return (*(Column(name=name) for name in texts), *(Column(name=name, kind="number") for name in numbers))


@dataclass(frozen=True, kw_only=True)
class Row:
    """A table row: its cells in the order of the columns.

    `level` marks the row with a symbol, and `word` is the text next to it.
    """

    cells: tuple[str, ...]
    level: Level | None = None
    word: str = ""

    @property
    def symbol(self) -> str:
        return SYMBOLS[self.level] if self.level else ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table whose rows have one cell per column.

    If any row is marked, the page shows one more column with the marks.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        assert all(len(row.cells) == len(self.columns) for row in self.rows), self.caption

    @property
    def marked(self) -> bool:
        return any(row.level for row in self.rows)

    def markdown(self) -> list[str]:
        """The cells as lines of Markdown, without marks."""
        cells = [[column.name for column in self.columns], ["---"] * len(self.columns)]
        cells += [[cell.replace("|", "\\|") for cell in row.cells] for row in self.rows]
        return [f"| {' | '.join(line)} |" for line in cells]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure as SVG.

    `alt` describes in words what it shows; `shape` gives it the width or height of two figures.
    """

    svg: bytes
    alt: str
    caption: str = ""
    shape: Literal["", "wide", "tall"] = ""

    @property
    def source(self) -> str:
        """The figure as a data URL.

        Inside an `img` element no script of an SVG can run, and its IDs cannot clash with those of another.
        """
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode()


@dataclass(frozen=True, kw_only=True)
class Section:
    """Paragraphs, then pictures, then tables, then commands to copy."""

    text: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    commands: tuple[str, ...] = ()


Part = Section | str | None
"""A section, or a line that says why it is missing, or None to leave it out."""


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """The content of a report page as plain data, in page order.

    `kind` says what kind of report it is; `facts` are names and values under the title.
    """

    kind: str
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    headline: Headline
    differences: Part = field(default=None, metadata={"title": "Differences to the reference"})
    training: Part = field(default=None, metadata={"title": "Training"})
    settings: Part = field(default=None, metadata={"title": "What differs in training"})
    metrics: Part = field(default=None, metadata={"title": "All metrics"})
    curves: Part = field(default=None, metadata={"title": "Ranking"})
    calibration: Part = field(default=None, metadata={"title": "Probabilities"})
    strata: Part = field(default=None, metadata={"title": "Where it works: strata"})
    leakage: Part = field(default=None, metadata={"title": "Leakage"})
    networks: Part = field(default=None, metadata={"title": "True and predicted network"})
    network_metrics: Part = field(default=None, metadata={"title": "Network metrics"})
    agreement: Part = field(default=None, metadata={"title": "Agreement between the models"})
    trials: Part = field(default=None, metadata={"title": "Best trials"})
    course: Part = field(default=None, metadata={"title": "Course of the search"})
    parameters: Part = field(default=None, metadata={"title": "Which parameters matter"})
    slices: Part = field(default=None, metadata={"title": "One parameter at a time"})
    failed: Part = field(default=None, metadata={"title": "Trials that failed"})
    next_steps: Part = field(default=None, metadata={"title": "What to do next"})
    lineage: Part = field(default=None, metadata={"title": "Lineage"})
    made_by: str = ""

    def parts(self) -> Iterator[tuple[str, str, Section | str]]:
        """Name, title and content of each section that is present."""
        for name, section_field in type(self).__dataclass_fields__.items():
            part = getattr(self, name)
            if "title" in section_field.metadata and part is not None:
                yield name, section_field.metadata["title"], part


def render_report(content: ReportContent) -> str:
    """Renders the page as HTML; the same content gives the same text."""
    return _environment().get_template("report.html").render(content=content)


def number(value: float) -> str:
    """Formats a number: three decimals, more near 0, fewer for large numbers."""
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
