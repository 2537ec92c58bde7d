"""Embeddings made by other programs, in HDF5, NumPy, torch, safetensors or Parquet files.

Each source lists its embeddings by place (a key, a row or a file) and reads one place at a time, so that
memory is bounded by the largest protein, in Parquet by the largest row group. No code in a file is ever
run: pickled objects are refused in every format that could contain them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ppi_train.embeddings.import_sources.arrays import ArchiveSource, ArrayFolder
from ppi_train.embeddings.import_sources.base import EmbeddingSource
from ppi_train.embeddings.import_sources.hdf5 import Hdf5Source
from ppi_train.embeddings.import_sources.parquet import ParquetSource
from ppi_train.embeddings.import_sources.tensors import SafetensorsFile, TensorFile, TensorFolder
from ppi_train.errors import DataError
from ppi_train.io.unavailable import described_by_cause

__all__ = ["EmbeddingSource", "open_source"]

_OF_FILES: dict[str, Callable[[Path], EmbeddingSource]] = {
    ".h5": Hdf5Source,
    ".hdf5": Hdf5Source,
    ".hdf": Hdf5Source,
    ".npz": ArchiveSource,
    ".pt": TensorFile,
    ".safetensors": SafetensorsFile,
}


def open_source(path: Path, *, granularity: str = "auto", layer: int | None = None) -> EmbeddingSource:
    """Opens the source of embeddings at a path.

    Its kind follows from the suffix of the path or, for a folder, from those of its files.

    Args:
        path: An HDF5, `.npz`, `.pt`, safetensors or Parquet file, or a folder of `.npy` or of `.pt` files.
        granularity: `protein`, `residue` or `auto`: which of the two to take from `.pt` files with both.
        layer: Which layer to take from `.pt` files with several; None for the last.

    Raises:
        DataError: the path does not exist, or has nothing that can be imported.
        UnavailableError: it could not be read; its bytes may be right.
        ConfigError: the source is HDF5 and h5py is not installed.
    """
    with described_by_cause(path.absolute()):
        if path.is_dir():
            return _open_folder(path, granularity, layer)
        if not path.exists():
            raise DataError("the source of the embeddings is not there", where=path.absolute())
    if path.suffix == ".parquet":
        return ParquetSource(path, granularity=granularity)
    if path.suffix in _OF_FILES:
        return _OF_FILES[path.suffix](path)
    raise DataError(
        "embeddings cannot be imported from such a file",
        where=path.absolute(),
        got=path.suffix or "no suffix",
        expected=f"{', '.join(_OF_FILES)}, .parquet, or a folder of .npy or .pt files",
        remedy="name the folder that the file lies in"
        if path.suffix == ".npy"
        else "save the embeddings in one of these formats; pickles are not read, for they can run code",
    )


def _open_folder(path: Path, granularity: str, layer: int | None) -> EmbeddingSource:
    files = _files_below(path)
    arrays, tensors = ([file for file in files if file.suffix == suffix] for suffix in (".npy", ".pt"))
    if bool(arrays) == bool(tensors):
        raise DataError(
            "the folder holds no embeddings" if not arrays else "the folder holds two kinds of embeddings",
            where=path.absolute(),
            got=f"{len(arrays)} .npy files and {len(tensors)} .pt files",
            expected="files <accession>.npy, or files <accession>.pt",
        )
    if arrays:
        return ArrayFolder(path, arrays)
    return TensorFolder(path, tensors, granularity=granularity, layer=layer)


def _files_below(folder: Path) -> list[Path]:
    """All files of a folder tree, sorted; a folder that cannot be listed is an error, not empty."""

    def refuse(error: OSError) -> NoReturn:
        raise error

    return sorted(
        Path(parent, name) for parent, _, names in os.walk(folder, onerror=refuse) for name in names
    )
