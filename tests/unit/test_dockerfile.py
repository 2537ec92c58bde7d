"""Tests of the Dockerfile, as far as they need no daemon."""

from __future__ import annotations

import itertools
import json
import re
import tomllib

import pytest

from ppi_train.config.fields import describe_fields
from ppi_train.modes import find_mode
from tests.support import ROOT


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """Each instruction with its arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word]


def arguments(instructions: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for word, rest in instructions if word == name]


def test_its_python_is_one_that_the_project_takes(instructions: list[tuple[str, str]]) -> None:
    (image,) = arguments(instructions, "FROM")
    found = re.fullmatch(r"python:(\d+)\.(\d+)-slim", image)
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert found is not None
    assert (int(found[1]), int(found[2])) >= tuple(int(part) for part in wanted.strip(">=").split("."))


def test_it_does_not_run_as_root(instructions: list[tuple[str, str]]) -> None:
    users = arguments(instructions, "USER")
    assert users
    assert users[-1] not in ("root", "0")
    names = [word for word, _ in instructions]
    assert names.index("USER") < names.index("CMD")


def test_its_command_is_that_of_the_readme_with_known_parameters(instructions: list[tuple[str, str]]) -> None:
    (command,) = arguments(instructions, "CMD")
    words = json.loads(command)
    readme = (ROOT / "README.md").read_text()
    (first,) = re.findall(r"&& (mlflow run \. .*)$", readme, re.MULTILINE)
    assert " ".join(words).replace("/opt/ppi_train", ".").startswith(first)
    assert "/opt/ppi_train" in arguments(instructions, "WORKDIR")
    known = {spec.name for spec in describe_fields(find_mode("main").config)}
    given = [word.partition("=")[0] for flag, word in itertools.pairwise(words) if flag == "-P"]
    assert given
    assert set(given) <= known


def test_what_a_machine_has_beside_the_project_stays_out_of_the_image() -> None:
    ignored = set((ROOT / ".dockerignore").read_text().splitlines())
    lines = (ROOT / ".gitignore").read_text().splitlines()
    written = {line.strip("/") for line in lines if line and not line.startswith("#")}
    kept = written - {name.removeprefix("**/") for name in ignored}
    assert not kept, f"in .gitignore and not in .dockerignore: {kept}"
    assert ".git" in ignored
