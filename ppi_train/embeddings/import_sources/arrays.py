"""Embeddings in the files and archives of NumPy."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from ppi_train.embeddings.import_sources.base import (
    BROKEN,
    PICKLED,
    EmbeddingSource,
    file_labels,
    refuse_file,
    refuse_place,
    require_floats,
)
from ppi_train.errors import DataError
from ppi_train.io.files import unpacked_limit

_PICKLE_START = b"\x80"


class ArrayFolder(EmbeddingSource):
    """A folder tree of `.npy` files named after the proteins."""

    def __init__(self, path: Path, files: list[Path]) -> None:
        self.path = path
        self.labels = file_labels(path, files)

    def read(self, place: str) -> np.ndarray:
        path = self.path / place
        try:
            with path.open("rb") as stream:
                return _read_npy(stream, path.stat().st_size)
        except BROKEN as error:
            refuse_place(error, path)


class ArchiveSource(EmbeddingSource):
    """A NumPy archive, compressed or not, with one array per protein."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except BROKEN as error:
            refuse_file(error, path, "a NumPy archive")
        names = (entry.filename for entry in self._archive.infolist() if not entry.filename.endswith("/"))
        self.labels = {name: name.removesuffix(".npy") for name in names}

    def read(self, place: str) -> np.ndarray:
        try:
            entry = self._archive.getinfo(place)
            if entry.file_size > unpacked_limit(entry.compress_size):
                raise ValueError(f"{entry.compress_size:,} bytes that unpack to {entry.file_size:,}")
            with self._archive.open(entry) as stream:
                return _read_npy(stream, entry.file_size)
        except BROKEN as error:
            refuse_place(error, self.path)


def _read_npy(stream: IO[bytes], size: int) -> np.ndarray:
    """Reads an array from a stream of at most `size` bytes."""
    magic = stream.read(len(np.lib.format.MAGIC_PREFIX) + 2)
    if not magic.startswith(np.lib.format.MAGIC_PREFIX):
        raise DataError(PICKLED if magic.startswith(_PICKLE_START) else "not a NumPy array")
    first = magic[-2:] == b"\1\0"
    read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read_header(stream)
    if dtype.hasobject:
        raise DataError(PICKLED)
    require_floats(dtype)
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > size or min(shape, default=1) < 0:
        raise ValueError(f"shape {shape} in a file of {size:,} bytes")
    content = np.frombuffer(stream.read(claimed), dtype)
    return content.reshape(shape, order="F" if by_columns else "C")
