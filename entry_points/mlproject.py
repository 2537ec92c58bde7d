"""Writes MLproject from the schema: `python -m entry_points.mlproject > MLproject`.

A test checks that the file equals what this prints.
"""

from __future__ import annotations

from typing import Any

import click
import yaml

from ppi_train.config.fields import describe_fields
from ppi_train.runs.configs import MODES

HEADER = """\
# Made by `python -m entry_points.mlproject` from ppi_train/runs/configs.py, where the parameters are
# described. An empty default means "not given": the schema's default holds, or the config file's value.
"""


def render() -> str:
    """The text of MLproject."""
    entry_points = {}
    for mode, schema in MODES.items():
        names = ["config", *(spec.name for spec in describe_fields(schema))]
        options = " ".join(f"--{name} {{{name}}}" for name in names)
        entry_points[mode] = {
            "parameters": {name: {"type": "string", "default": ""} for name in names},
            "command": f"python -m entry_points.{mode} {options}",
        }
    project = {"name": "ppi_train", "conda_env": "conda.yaml", "entry_points": entry_points}
    return HEADER + yaml.dump(project, sort_keys=False, width=100, Dumper=_CompactDumper)


class _CompactDumper(yaml.SafeDumper):
    """Writes each parameter on one line."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        del flow_style
        is_parameter = set(mapping) == {"type", "default"}
        return super().represent_mapping(tag, mapping, flow_style=is_parameter)


if __name__ == "__main__":
    click.echo(render(), nl=False)
