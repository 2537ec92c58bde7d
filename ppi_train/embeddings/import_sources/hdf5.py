"""Embeddings in an HDF5 file, whose links are followed within the file and never out of it."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from ppi_train.embeddings.import_sources.base import (
    BROKEN,
    EmbeddingSource,
    refuse_file,
    refuse_place,
    require_floats,
)
from ppi_train.errors import ConfigError, DataError, first_ten
from ppi_train.io.files import unpacked_limit

logger = logging.getLogger(__name__)

# Steps from a link to its object: names of groups and further links. Paths of embeddings have a few.
_STEPS = 64
_DEEPEST = 32
_LONGEST_PLACE = 4096
# Bytes of a file for each link that is followed in it: a link takes more. Groups that contain one another
# would be walked through without end, or in 2^n ways.
_BYTES_PER_LINK = 8
_FREE_LINKS = 1000


class _BrokenLinkError(Exception):
    """A link leads to no object of the file; its text says why."""


class Hdf5Source(EmbeddingSource):
    """An HDF5 file with one data set per protein.

    Data sets may be in groups, and may be named by links. The label is the data set's path, or its
    attribute `original_id` if bio_embeddings has written one; a further link to the same data set is
    labelled with its own path.
    """

    def __init__(self, path: Path) -> None:
        try:
            import h5py
        except ImportError:
            raise ConfigError(
                "HDF5 files need the package h5py, which is not installed",
                where=path,
                remedy="pip install h5py, or this project with its extra: pip install -e '.[h5]'",
            ) from None
        self._h5py = h5py
        self.path = path
        self.labels: dict[str, str] = {}
        self._paths: dict[str, bytes] = {}  # by hard links only, so that no link is followed unseen
        self._addresses: dict[str, int] = {}
        self._known: set[int] = set()
        self._broken: dict[str, str] = {}
        try:
            self._file = h5py.File(path, "r")
            self._links_left = _FREE_LINKS + path.stat().st_size // _BYTES_PER_LINK
            root = self._file["/"]
            self._list(root.id, b"", "", (h5py.h5o.get_info(root.id).addr,))
        except BROKEN as error:
            refuse_file(error, path, "HDF5")
        if self._broken:
            shown = [f"{place} ({problem})" for place, problem in self._broken.items()]
            logger.warning(
                "%s links lead to nothing that may be read and are not followed: %s",
                f"{len(shown):,}", first_ten(shown),
            )  # fmt: skip

    def read(self, place: str) -> np.ndarray:
        if place in self._broken:
            raise DataError(self._broken[place])
        try:
            item = self._h5py.Dataset(self._h5py.h5o.open(self._file.id, self._paths[place]))
            if item.external or item.is_virtual:
                raise DataError("numbers that lie in another file, which is not opened")
            require_floats(item.dtype)
            self._check_size(item)
            return np.asarray(item[()])
        except BROKEN as error:
            refuse_place(error, self.path)

    def content_of(self, place: str) -> object:
        return self._addresses.get(place, place)

    def _list(self, group: Any, path: bytes, prefix: str, above: tuple[int, ...]) -> None:
        """Lists the data sets of a group and of the groups in it.

        Args:
            group: The low-level group.
            path: Its path by hard links only.
            prefix: Its path by the names that led here, with a `/` at the end.
            above: The addresses of the groups on the way.
        """
        h5 = self._h5py
        for name in _names(group):
            place = prefix + name.decode("utf-8", "surrogateescape")
            self._links_left -= 1
            if self._links_left < 0 or len(above) > _DEEPEST or len(place) > _LONGEST_PLACE:
                raise ValueError(f"more links, or deeper ones, than its bytes can hold, at {place[:200]}")
            try:
                target = self._resolved(group, path, name)
                item = h5.h5o.open(self._file.id, target)
                address = h5.h5o.get_info(item).addr
                if isinstance(item, h5.h5g.GroupID):
                    if address in above:
                        raise _BrokenLinkError("a link in a cycle")
                    self._list(item, target, f"{place}/", (*above, address))
            except _BrokenLinkError as error:
                self.labels[place] = place
                self._broken[place] = str(error)
            else:
                if isinstance(item, h5.h5d.DatasetID):
                    self._add(place, target, h5.Dataset(item), address)

    def _add(self, place: str, path: bytes, item: Any, address: int) -> None:
        original = None if address in self._known else item.attrs.get("original_id")
        if isinstance(original, bytes):
            original = original.decode("utf-8", "replace")
        self.labels[place] = original if isinstance(original, str) else place
        self._paths[place], self._addresses[place] = path, address
        self._known.add(address)

    def _resolved(self, group: Any, path: bytes, name: bytes) -> bytes:
        """The path of a link's object, by hard links only.

        HDF5 would itself follow soft links, but also those that lead through an external link to any file.
        """
        h5 = self._h5py
        todo = [name]
        for _ in range(_STEPS):
            part = todo.pop()
            if not isinstance(group, h5.h5g.GroupID) or not group.links.exists(part):
                raise _BrokenLinkError("a link to nothing")
            kind = group.links.get_info(part).type
            if kind == h5.h5l.TYPE_SOFT:
                target: bytes = group.links.get_val(part)
                path = b"" if target.startswith(b"/") else path
                todo += [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]
            elif kind == h5.h5l.TYPE_HARD:
                path = path + b"/" + part
            else:
                raise _BrokenLinkError("a link to another file, which is not opened")
            if not todo:
                return path or b"/"
            group = h5.h5o.open(self._file.id, path or b"/")
        raise _BrokenLinkError(f"a link in a cycle, or one that takes more than {_STEPS} steps")

    def _check_size(self, item: Any) -> None:
        """Refuses a data set whose shape is too large for its bytes.

        A data set may claim any shape, and parts that were never written read as zeros.
        """
        stored = min(int(item.id.get_storage_size()), self.path.stat().st_size)
        claimed = math.prod(item.shape or ()) * item.dtype.itemsize
        if claimed > unpacked_limit(stored):
            raise ValueError(f"shape {item.shape} of {stored:,} bytes")


def _names(group: Any) -> list[bytes]:
    """The names of a group's links, those of objects first, so that a soft link counts as the further one."""
    found: list[tuple[bool, bytes]] = []
    group.links.iterate(lambda name, info: found.append((info.type != 0, name)), info=True)
    return [name for _, name in sorted(found)]
