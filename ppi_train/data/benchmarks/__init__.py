"""The published benchmarks of `catalogue.toml`: files, licences and citations."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ppi_train.errors import ConfigError


@dataclass(frozen=True)
class CatalogueFile:
    """A file to fetch.

    `sha256` is None if the file has not been verified yet; `size` is in bytes, None if unknown.
    """

    url: str
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A published data set.

    `files` maps a role, such as `train_pairs`, to its file.
    """

    name: str
    title: str
    licence: str
    citation: str
    files: Mapping[str, CatalogueFile]


def _read_catalogue() -> Mapping[str, Benchmark]:
    tables = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8"))
    found = {}
    for name, table in tables.items():
        source, files = table.pop("source"), table.pop("files")
        urls = {role: CatalogueFile(source + file.pop("path"), **file) for role, file in files.items()}
        found[name] = Benchmark(name=name, files=MappingProxyType(urls), **table)
    return MappingProxyType(found)


CATALOGUE = _read_catalogue()


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        ConfigError: there is none; the message lists the nearest names and all of them.
    """
    if name not in CATALOGUE:
        raise unknown_name("benchmark", name, tuple(CATALOGUE))
    return CATALOGUE[name]


def unknown_name(kind: str, name: str, known: tuple[str, ...]) -> ConfigError:
    """The error for an unknown name, with the nearest known names."""
    near = difflib.get_close_matches(name, known, n=3)
    return ConfigError(
        f"there is no {kind} {name!r}",
        got=name,
        expected="one of " + ", ".join(known),
        remedy=f"did you mean {' or '.join(near)}?" if near else None,
    )
