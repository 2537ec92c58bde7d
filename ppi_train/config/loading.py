"""Loading a typed config from a YAML file and command-line overrides."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ppi_train.config.fields import FieldSpec, describe_fields, str_list_text
from ppi_train.config.groups import ModeConfig
from ppi_train.errors import ConfigError, addressed, nearest

C = TypeVar("C", bound=ModeConfig)

# A file that names every parameter has 5 KB; PyYAML reads 50 KB a second.
MAX_BYTES = 64 << 10


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML loader that refuses duplicate keys and aliases.

    PyYAML would silently take the last of two equal keys. A flat list of parameters does not need aliases,
    and a few lines of them can expand to gigabytes.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(
                None,
                None,
                "aliases are not supported: write the value out",
                self.peek_event().start_mark,  # type: ignore[no-untyped-call]
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(repr(key) if not isinstance(key, str) else key)
        return super().construct_mapping(node, deep)


def load_config(
    schema: type[C], overrides: Mapping[str, object], *, config_file: str | None = None
) -> tuple[C, list[str]]:
    """Builds a config from defaults, then the file, then the overrides.

    Args:
        schema: The config class of the mode.
        overrides: Values by parameter name; empty text or None means "not given".
        config_file: A YAML file of the same names.

    Returns:
        The config, and warnings about given parameters that have no effect.

    Raises:
        ConfigError: all problems at once: unknown names with the nearest known ones, values of the
            wrong type or out of bounds, and combinations that make no sense.
    """
    from_file = read_config_file(config_file) if config_file else {}
    specs = {name: spec for spec in describe_fields(schema) for name in spec.names}
    values: dict[str, Any] = {}
    problems: list[str] = []
    refused: set[str] = set()
    given: Mapping[str, object]
    for origin, given in ((f"{config_file}: ", from_file), ("", overrides)):
        given = {name: value for name, value in given.items() if value is not None and value != ""}
        problems += [origin + problem for problem in _named_twice(specs, given)]
        for name, value in given.items():
            problem = _take(specs, name, value, values)
            if problem:
                problems.append(origin + problem)
                refused.add(name)
    if problems:
        # Relations between fields are checked as well, on the values that could be read, so that one run
        # of the command shows all problems; but a refused value is not also reported as missing.
        related = schema.of(**values).problems()
        problems += [problem for problem in related if problem.partition(":")[0] not in refused]
        raise listed_problems(problems)
    config = dataclasses.replace(schema.of(**values), names_given=frozenset(values))
    problems = config.problems()
    if problems:
        raise listed_problems(problems)
    return config, config.without_effect(frozenset(values))


def required_parameters(schema: type[ModeConfig]) -> dict[str, str]:
    """The parameters that a config cannot do without, and what each asks for."""
    problems = [problem.partition(": ") for problem in schema().problems()]
    return {name: asked.partition(";")[0] for name, _, asked in problems}


def _take(specs: Mapping[str, FieldSpec], name: str, value: object, values: dict[str, Any]) -> str | None:
    spec = specs.get(name)
    if spec is None:
        return unknown_name(name, specs)
    try:
        values[spec.name] = spec.parse(value)
    except ValueError as error:
        return f"{name}: {error}"
    return None


def _named_twice(specs: Mapping[str, FieldSpec], given: Mapping[str, object]) -> list[str]:
    """The problems that a parameter is given under two of its names."""
    return [
        f"{name} and {specs[name].name}: give one of them, not both"
        for name in given
        if name in specs and name != specs[name].name and specs[name].name in given
    ]


def unknown_name(name: object, known: Mapping[str, object]) -> str:
    """The message for an unknown parameter name, with the nearest known names."""
    word, equals, value = str(name).partition("=")
    if equals and word in known:  # as `mlflow run -P` has it, given to `ppi-train`
        return f"{name}: expected --{word} {value}"
    hint = nearest(word, known) or f"known: {', '.join(sorted(known))}"
    return f"{name}: no such parameter; {hint}"


def listed_problems(problems: list[str], *, of: str = "the configuration") -> ConfigError:
    """The error that lists all problems of a configuration."""
    count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    return ConfigError(f"{of} has {count}:\n" + "\n".join(f"  - {problem}" for problem in problems))


def read_config_file(path: str) -> dict[str, object]:
    """Reads a YAML file that maps parameter names to scalars or lists.

    Raises:
        ConfigError: no such file, not YAML, or not one mapping of names.
    """
    try:
        content = yaml.load(_config_text(Path(path)), _UniqueKeyLoader)
    except ConfigError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the config file cannot be read", where=Path(path).absolute(), got=error, expected="a YAML file"
        ) from None
    # PyYAML also lets through errors of its constructors, such as an IndexError for `!!int ""`.
    except Exception as error:
        got = (str(error) or type(error).__name__).replace("<unicode string>", Path(path).name)
        raise ConfigError("the config file is not valid YAML", where=path, got=got) from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigError(
            "the config file is not a mapping of parameters",
            where=path,
            got=type(content).__name__,
            expected="lines such as `learning_rate: 1e-3`",
        )
    return content


def _config_text(path: Path) -> str:
    with path.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ConfigError("the config file is too large", where=path, expected=f"at most {MAX_BYTES:,} bytes")
    return data.decode("utf-8")


def config_values(config: ModeConfig) -> dict[str, object]:
    """The values of a config by name, without unset ones; files in object stores by their address."""
    return {name: _plain(value) for name, value in config.values.items() if value is not None}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return addressed(value) if isinstance(value, str) else value


def logged_parameters(config: ModeConfig) -> dict[str, str]:
    """The parameters that a run logs: text by `<section>.<name>`."""
    shown: dict[str, str] = {}
    values = config.values
    for spec in describe_fields(type(config)):
        value = values[spec.name]
        if isinstance(value, bool):
            value = str(value).lower()
        elif isinstance(value, tuple):
            value = str_list_text(value)
        shown[spec.parameter] = "" if value is None else addressed(str(value))
    return shown
