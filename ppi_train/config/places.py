"""Parameters that name files, where these lie in an object store.

A mode sees paths of this machine only: inputs are fetched before it starts, or as far as they are read, and
outputs are sent when it has ended. Messages, logged parameters and tags show the addresses.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ppi_train.config.fields import describe_fields
from ppi_train.config.groups import ModeConfig
from ppi_train.errors import StorageError, UserError, addressed, show_itself
from ppi_train.io.files import output_exists_error
from ppi_train.io.outputs import MANIFEST
from ppi_train.io.store_cache import keep_sent, lazy_copies, outgoing, whole_copy
from ppi_train.io.stores import URLS, check_writable, exists, is_url, upload

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=ModeConfig)

_COPIES: dict[str, Callable[[str], Path]] = {"file": whole_copy, "cache": lazy_copies}


def with_copies(config: C) -> C:
    """The config with paths of copies in place of the addresses of inputs.

    Raises:
        UserError: an object cannot be had; see `ppi_train.io.stores.find`.
    """
    changed: dict[str, object] = {}
    for spec in describe_fields(type(config)):
        copy, value = _COPIES.get(spec.rule.place), config.values[spec.name]
        if copy is None or not value:
            continue
        if isinstance(value, tuple):
            changed[spec.name] = tuple(_with_paths(text, copy) for text in value)
        else:
            changed[spec.name] = _with_paths(str(value), copy)
    return config.replace(**changed)


def _with_paths(text: str, copy: Callable[[str], Path]) -> str:
    return URLS.sub(lambda url: str(copy(url[0].strip())), text)


def with_addresses(config: C) -> C:
    """The config with the addresses of inputs in place of the paths of copies, for another machine."""
    copied = (spec.name for spec in describe_fields(type(config)) if spec.rule.place in _COPIES)
    given = {name: config.values[name] for name in copied}
    return config.replace(
        **{
            name: tuple(map(addressed, value)) if isinstance(value, tuple) else addressed(str(value))
            for name, value in given.items()
            if value is not None
        }
    )


def file_here(path: str) -> Path:
    """The path of a file that an earlier run read, or of the copy of an object; see `with_copies`."""
    return Path(_with_paths(path, whole_copy))


def cache_here(path: str | None) -> str | None:
    """The path of an embedding cache that an earlier run read, or of its copy; see `with_copies`."""
    return path and _with_paths(path, lazy_copies)


@contextmanager
def in_stores(config: C) -> Iterator[C]:
    """Context manager that gives a config of paths on this machine, and sends the outputs at its end.

    Raises:
        UserError: an object cannot be had; an output exists, or its bucket cannot be written; or, at the end,
            it could not be sent: it then lies on this machine.
    """
    outputs = {
        spec.name: str(config.values[spec.name])
        for spec in describe_fields(type(config))
        if spec.rule.place == "output" and is_url(str(config.values[spec.name]))
    }
    for url in outputs.values():
        if not config.values.get("overwrite") and exists(f"{url}{MANIFEST}" if url.endswith("/") else url):
            raise output_exists_error(Path(url)).at(url)
        check_writable(url.rstrip("/"))
    paths = {name: outgoing(url) for name, url in outputs.items()}
    here = {name: f"{path}/" if outputs[name].endswith("/") else str(path) for name, path in paths.items()}
    yield with_copies(config).replace(**here)
    for name, path in paths.items():
        _send(path, outputs[name])


def _send(path: Path, url: str) -> None:
    files = {url: path} if path.is_file() else _files(path, url)
    logger.info("sending %s (%.1f MB)", url, sum(file.stat().st_size for file in files.values()) / 1e6)
    try:
        for address, file in files.items():
            upload(file, address)
    except UserError as error:
        show_itself(path)
        raise StorageError(
            f"the output could not be sent: {error.what}",
            where=url,
            got=error.got,
            remedy=f"it is complete, in {path}: send it yourself, or remove it and give the command again",
        ) from error
    keep_sent(path, url)


def _files(folder: Path, url: str) -> dict[str, Path]:
    """The files of a folder by their addresses; the manifest is the last, when all it lists are there."""
    found = sorted(folder.iterdir(), key=lambda path: (path.name == MANIFEST, path.name))
    return {f"{url}{path.name}": path for path in found}
