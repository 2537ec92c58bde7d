"""Option groups, and the config of a mode as a composition of them.

The names of parameters are flat everywhere outside the code: on the command line, in config files, in MLflow
and in checkpoints. `ModeConfig` translates between flat names and groups.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self


@dataclass(frozen=True, kw_only=True)
class OptionGroup:
    """Parameters that belong together; a run logs them as `<SECTION>.<name>`."""

    SECTION: ClassVar[str] = "run"

    def validate(self) -> list[str]:
        """Contradictions between fields that are each valid by themselves."""
        return []

    def unused_options(self, given: frozenset[str]) -> list[str]:  # noqa: ARG002 - for the groups
        """Warnings about parameters that have no effect, of the names that are given."""
        return []


@dataclass(frozen=True, kw_only=True)
class ModeConfig:
    """The config of a mode; every field but `names_given` is an option group, with this mode's defaults.

    `names_given` are the parameters that a user gave, also with their default values. Functions take
    the groups that they need. No two groups of a mode have a parameter of the same name.
    """

    names_given: frozenset[str] = dataclasses.field(default=frozenset(), compare=False, repr=False)

    @classmethod
    def of(cls, **values: object) -> Self:
        """The config with these parameters by flat name, and defaults for the rest."""
        return cls().replace(**values)

    @property
    def groups(self) -> tuple[OptionGroup, ...]:
        return tuple(self._groups().values())

    @property
    def values(self) -> dict[str, object]:
        """Every parameter by its flat name."""
        return {name: value for group in self.groups for name, value in vars(group).items()}

    def replace(self, **values: object) -> Self:
        """A copy with other values of some parameters.

        Raises:
            TypeError: the mode has no parameter of this name.
        """
        unknown = values.keys() - self.values.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no parameter {', '.join(sorted(unknown))}")
        changed: dict[str, Any]
        changed = {name: _replaced(group, values) for name, group in self._groups().items()}
        return dataclasses.replace(self, **changed)

    def validate(self) -> list[str]:
        """Contradictions between the groups."""
        return []

    def unused_options(self, given: frozenset[str]) -> list[str]:  # noqa: ARG002 - for the modes
        """Warnings about parameters that have no effect because of another group."""
        return []

    def problems(self) -> list[str]:
        """All contradictions, between groups and within them."""
        return [*self.validate(), *(problem for group in self.groups for problem in group.validate())]

    def without_effect(self, given: frozenset[str]) -> list[str]:
        """Warnings about all given parameters that have no effect."""
        of_groups = [warning for group in self.groups for warning in group.unused_options(given)]
        return [*of_groups, *self.unused_options(given)]

    def _groups(self) -> dict[str, OptionGroup]:
        return {item.name: getattr(self, item.name) for item in group_fields(type(self))}


def group_fields(schema: type[ModeConfig]) -> list[dataclasses.Field[Any]]:
    """The fields of a config class that are option groups."""
    return [item for item in dataclasses.fields(schema) if isinstance(item.default, OptionGroup)]


def _replaced(group: OptionGroup, values: Mapping[str, object]) -> OptionGroup:
    changed: dict[str, Any] = {name: value for name, value in values.items() if name in vars(group)}
    return dataclasses.replace(group, **changed)
