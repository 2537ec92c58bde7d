"""What is taken of a downloaded network, and what its reader gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from ppi_train.errors import ConfigError, DataError

KIND = "network"
"""Names the file in messages."""


@dataclass(frozen=True, kw_only=True)
class NetworkFilter:
    """What is taken of a network; a field that its layout lacks is refused if it is set.

    min_score: The lowest score, in the layout's own scale: STRING 0 to 1000, MI score 0 to 1.
    score_column: The score that is read: a channel of STRING, a confidence of PSI-MITAB, a column or an
        attribute of an edge. By default the combined score, the MI score, or `score` or `weight`.
    system_type: BioGRID's experimental system type, `physical` (default) or `genetic`.
    throughput: BioGRID's `low` or `high`.
    taxid: NCBI numbers of organisms; both ends of a pair must be among them.
    detection_method, interaction_type: PSI-MI terms, as `MI:0018` or by name; any of them will do.
    expanded_complexes: Whether pairs expanded from complexes are taken: `keep`, `drop` or `only` these.
    any_organism: Whether pairs of several organisms are taken where no taxid is given.

    Raises:
        ConfigError: a field has an unknown value.
    """

    min_score: float | None = None
    score_column: str | None = None
    system_type: str | None = None
    throughput: str | None = None
    taxid: tuple[int, ...] = ()
    detection_method: tuple[str, ...] = ()
    interaction_type: tuple[str, ...] = ()
    expanded_complexes: str = "keep"
    any_organism: bool = False

    def __post_init__(self) -> None:
        known = {
            "system_type": (None, "physical", "genetic"),
            "throughput": (None, "low", "high"),
            "expanded_complexes": ("keep", "drop", "only"),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ConfigError(
                    f"{name} has an unknown value",
                    where=name,
                    got=getattr(self, name),
                    expected=" or ".join(value for value in values if value),
                )

    @property
    def given(self) -> dict[str, object]:
        """The fields that are set and leave pairs out, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        del values["any_organism"]
        return {
            field.name: values[field.name]
            for field in fields(self)
            if field.name in values and values[field.name] != field.default
        }

    def refuse_others(self, known: tuple[str, ...], layout: str, source: str) -> None:
        """Refuses fields that are set and not known to a layout.

        Raises:
            DataError: with the names of these fields.
        """
        lacking = [name for name in self.given if name not in known]
        if lacking:
            raise DataError(
                f"the network cannot be filtered by {', '.join(lacking)}",
                where=source,
                got=f"the layout {layout}",
                expected=f"of the filters only {', '.join(known)}" if known else "no filter",
                remedy="leave it out, or filter the file yourself",
            )


@dataclass(frozen=True, kw_only=True)
class Network:
    """Distinct unordered pairs of a network, in the order in which they first appeared.

    layout: Such as "STRING links".
    source: The path as it was given.
    names: Distinct names, sorted.
    index: (n, 2) int32 into them, each row in ascending order.
    score: (n,) float32, the highest of merged rows, NaN if unknown; None if the file has no scores.
    year: (n,) int16, the earliest year of publication of merged rows, 0 if unknown; None if there are none.
    negative: (n,) bool, whether a pair is known not to interact; None if the layout does not say.
    taxid: (len(names),) int32, 0 if unknown; None if the layout has none.
    alternatives: Further identifiers that the file gives for a name.
    counts: "rows", and the rows that were left out by reason. "duplicates" were merged with an earlier row.
    """

    layout: str
    source: str
    names: tuple[str, ...]
    index: np.ndarray
    score: np.ndarray | None
    year: np.ndarray | None
    negative: np.ndarray | None
    taxid: np.ndarray | None
    alternatives: Mapping[str, tuple[str, ...]]
    counts: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.index)
