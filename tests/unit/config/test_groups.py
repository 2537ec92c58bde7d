"""Tests of option groups, and of a mode's config as a composition of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from ppi_train.config.fields import describe_fields, option
from ppi_train.config.groups import ModeConfig, OptionGroup
from ppi_train.config.loading import config_values, load_config, logged_parameters


@dataclass(frozen=True, kw_only=True)
class Oven(OptionGroup):
    SECTION: ClassVar[str] = "oven"

    heat: int = option(180, "Degrees.", low=0)
    minutes: int = option(30, "Time.", low=1)

    def validate(self) -> list[str]:
        return ["heat: too much for so long"] if self.heat * self.minutes > 10_000 else []


@dataclass(frozen=True, kw_only=True)
class Dough(OptionGroup):
    SECTION: ClassVar[str] = "dough"

    flour: str | None = option(None, "Kind of flour.", choices=("rye", "wheat"))


@dataclass(frozen=True, kw_only=True)
class BreadConfig(ModeConfig):
    oven: Oven = Oven(minutes=45)
    dough: Dough = Dough()

    def validate(self) -> list[str]:
        return ["heat: rye wants more"] if self.dough.flour == "rye" and self.oven.heat < 200 else []

    def unused_options(self, given: frozenset[str]) -> list[str]:
        return ["minutes has no effect: no flour"] if "minutes" in given and not self.dough.flour else []


@dataclass(frozen=True, kw_only=True)
class DoubledConfig(ModeConfig):
    first: Oven = Oven()
    second: Oven = Oven()


def test_a_mode_gives_its_own_defaults_to_a_group() -> None:
    assert [(spec.parameter, spec.default) for spec in describe_fields(BreadConfig)] == [
        ("oven.heat", 180),
        ("oven.minutes", 45),
        ("dough.flour", None),
    ]


def test_flat_values_go_to_their_groups_and_come_back() -> None:
    config, _ = load_config(BreadConfig, {"heat": "210", "flour": "rye"})
    assert config == BreadConfig(oven=Oven(heat=210, minutes=45), dough=Dough(flour="rye"))
    assert config == BreadConfig.of(heat=210, flour="rye")
    assert config_values(config) == {"heat": 210, "minutes": 45, "flour": "rye"}
    assert logged_parameters(BreadConfig())["dough.flour"] == ""


def test_replacing_leaves_the_rest() -> None:
    config = BreadConfig.of(heat=210).replace(flour="wheat")
    assert (config.oven.heat, config.oven.minutes, config.dough.flour) == (210, 45, "wheat")
    with pytest.raises(TypeError, match="BreadConfig has no parameter sugar"):
        config.replace(sugar=1)


def test_problems_and_warnings_come_from_the_mode_and_its_groups() -> None:
    config = BreadConfig.of(heat=199, minutes=60, flour="rye")
    assert config.problems() == ["heat: rye wants more", "heat: too much for so long"]
    assert BreadConfig().without_effect(frozenset({"minutes"})) == ["minutes has no effect: no flour"]


def test_two_groups_of_a_mode_must_not_share_a_name() -> None:
    with pytest.raises(AssertionError, match="DoubledConfig has two fields of one name"):
        describe_fields(DoubledConfig)
