"""Consistency of the project files with the commands and the table of modes.

The files are MLproject, README.md, conda.yaml and pyproject.toml.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import tomllib

import pytest
import yaml

from ppi_train import cli
from ppi_train.config.fields import describe_fields
from ppi_train.config.options import DATASET_NAMES
from ppi_train.data.benchmarks.prepare import DATASETS
from ppi_train.modes import MODES, Mode, find_mode
from tests.support import ROOT

NAMES = [name for mode in MODES.values() for name in mode.names]


def test_mlproject_has_an_entry_point_for_every_mode_and_alias() -> None:
    project = yaml.safe_load((ROOT / "MLproject").read_text())
    assert project["conda_env"] == "conda.yaml"
    # No parameter is declared: a declared default would take precedence over the config file.
    expected = {name: {"command": f"python -m entry_points.{name}"} for name in NAMES}
    assert project["entry_points"] == expected
    files = {path.stem for path in (ROOT / "entry_points").glob("*.py")} - {"__init__"}
    assert files == set(NAMES)


def test_the_comments_of_mlproject_name_parameters_that_exist() -> None:
    comments = re.findall(r"((?:^  #.*\n)+)^  (\w+):$", (ROOT / "MLproject").read_text(), re.MULTILINE)
    assert [name for _, name in comments] == list(
        yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    )
    for comment, name in comments:
        known = {spec.name for spec in describe_fields(find_mode(name).config)} | set(NAMES)
        assert set(re.findall(r"\w+_\w+", comment)) <= known, name


@pytest.mark.parametrize("name", NAMES)
def test_the_options_of_an_entry_point_are_those_of_its_config(name: str) -> None:
    command = importlib.import_module(f"entry_points.{name}").main
    options = {option for parameter in command.params for option in parameter.opts}
    specs = describe_fields(find_mode(name).config)
    parameters = {known for spec in specs for known in spec.names} | {"config"}
    assert command.name == name
    assert options == {f"--{parameter}" for parameter in parameters}


def row_of(mode: Mode) -> str:
    """The row of a mode in README's table."""
    aliases = f" (also {', '.join(f'`{alias}`' for alias in mode.aliases)})" if mode.aliases else ""
    example = " ".join(f"-P {word}" for word in mode.example.split())
    return f"| `{mode.name}`{aliases} | {mode.summary} | `{example}` |"


def test_readme_lists_the_modes() -> None:
    rows = re.findall(r"^\| `.*\|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert rows == [row_of(mode) for mode in MODES.values()]


def test_the_package_installs_the_console_command_and_not_the_entry_points() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert pkgutil.resolve_name(project["project"]["scripts"]["ppi-train"]) is cli.main
    assert project["tool"]["setuptools"]["packages"]["find"]["include"] == ["ppi_train*"]


def test_the_options_name_the_data_sets_of_the_catalogue() -> None:
    assert set(DATASET_NAMES) == set(DATASETS)


def test_conda_yaml_agrees_with_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())
    python, pip, from_pip = conda["dependencies"]
    assert from_pip["pip"] == project["dependencies"]
    assert pip == "pip"
    assert python.startswith("python=" + project["requires-python"].removeprefix(">="))


def test_every_file_of_the_package_is_installed_with_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["ppi_train"]
    files = [
        path
        for path in (ROOT / "ppi_train").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert files
    for path in files:
        relative = path.relative_to(ROOT / "ppi_train")
        assert any(relative.match(pattern) for pattern in patterns), f"{relative} is in no wheel"
