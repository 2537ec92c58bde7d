"""Embeddings made by other programs, in HDF5, NumPy or torch files.

Each source lists its embeddings by place (a key or a file) and reads one place at a time, so that memory
is bounded by the largest protein. No code in a file is ever run: pickled objects are refused in every
format that could contain them.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol

import numpy as np
import torch

from ppi_train.errors import ConfigError, DataError, first_line
from ppi_train.io.files import check_torch_archive, unpacked_limit

GRANULARITY_OF_ESM = {"residue": "representations", "protein": "mean_representations"}
"""The keys of the two kinds of embedding in the files of ESM's extract.py."""

_HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
_PICKLE_START = b"\x80"
# On damaged files h5py, NumPy, zipfile and torch raise all kinds of errors, among them KeyError,
# struct.error and tokenize.TokenError; no package documents which.
_BROKEN = Exception


class EmbeddingSource(Protocol):
    """A source of embeddings to import.

    `labels` maps each place to the source's name for its protein; parts of the name may be separated by
    `/`. `layer` is the model's layer that was read, if the source has several and one was read already.
    """

    path: Path
    layer: int | None

    @property
    def labels(self) -> Mapping[str, str]: ...

    def read(self, place: str) -> np.ndarray:
        """The floating-point numbers at a place, in any shape.

        Raises:
            DataError: the place is unreadable, or has objects or other numbers; the message leaves out the
                place, which the caller knows.
        """


def open_source(path: Path, *, granularity: str = "auto", layer: int | None = None) -> EmbeddingSource:
    """Opens the source of embeddings at a path.

    Its kind follows from the suffix of the path or, for a folder, from those of its files.

    Args:
        path: An HDF5 file, a `.npz` archive, or a folder of `.npy` or of `.pt` files.
        granularity: `protein`, `residue` or `auto`: which of the two to take from `.pt` files with both.
        layer: Which layer to take from `.pt` files with several; None for the last.

    Raises:
        DataError: the path does not exist, or has nothing that can be imported.
        ConfigError: the source is HDF5 and h5py is not installed.
    """
    if path.is_dir():
        return _open_folder(path, granularity, layer)
    if not path.exists():
        raise DataError("the source of the embeddings is not there", where=path.absolute())
    if path.suffix in _HDF5_SUFFIXES:
        return Hdf5Source(path)
    if path.suffix == ".npz":
        return ArchiveSource(path)
    one_of_many = path.suffix in (".npy", ".pt")
    raise DataError(
        "embeddings cannot be imported from such a file",
        where=path.absolute(),
        got=path.suffix or "no suffix",
        expected=f"{', '.join(_HDF5_SUFFIXES)}, .npz, or a folder of .npy or .pt files",
        remedy="name the folder that the file lies in"
        if one_of_many
        else "save the embeddings in one of these formats; pickles are not read, for they can run code",
    )


def _open_folder(path: Path, granularity: str, layer: int | None) -> EmbeddingSource:
    arrays, tensors = (sorted(path.rglob(f"*{suffix}")) for suffix in (".npy", ".pt"))
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


class Hdf5Source:
    """An HDF5 file with one data set per protein.

    Data sets may be in groups. The label is the data set's path, or its attribute `original_id` if
    bio_embeddings has written one.
    """

    layer: int | None = None

    def __init__(self, path: Path) -> None:
        try:
            import h5py
        except ImportError:
            raise ConfigError(
                "HDF5 files need the package h5py, which is not installed",
                where=path,
                remedy="pip install h5py, or this project with its extra: pip install -e '.[h5]'",
            ) from None
        self.path = path
        self.labels: dict[str, str] = {}
        try:
            self._file = h5py.File(path, "r")
            # Links out of the file are not followed: what is imported is what the user named.
            self._file.visititems(
                lambda place, item: self._list(place, item) if isinstance(item, h5py.Dataset) else None
            )
        except _BROKEN as error:
            raise DataError(
                "the file is cut short, damaged or not HDF5", where=path.absolute(), got=first_line(error)
            ) from None

    def _list(self, place: str, item: Any) -> None:
        original = item.attrs.get("original_id")
        if isinstance(original, bytes):
            original = original.decode("utf-8", "replace")
        self.labels[place] = original if isinstance(original, str) else place

    def read(self, place: str) -> np.ndarray:
        try:
            item = self._file[place]
            if item.external or item.is_virtual:
                raise DataError("numbers that lie in another file, which is not opened")
            _require_numbers(item.dtype)
            self._check_size(item)
            return np.asarray(item[()])
        except _BROKEN as error:
            _refuse(error)

    def _check_size(self, item: Any) -> None:
        """Refuses a data set whose shape is too large for its bytes.

        A data set may claim any shape, and parts that were never written read as zeros.
        """
        stored = min(int(item.id.get_storage_size()), self.path.stat().st_size)
        claimed = math.prod(item.shape or ()) * item.dtype.itemsize
        if claimed > unpacked_limit(stored):
            raise ValueError(f"shape {item.shape} of {stored:,} bytes")


class ArrayFolder:
    """A folder tree of `.npy` files named after the proteins."""

    layer: int | None = None

    def __init__(self, path: Path, files: list[Path]) -> None:
        self.path = path
        self.labels = _labels(path, files)

    def read(self, place: str) -> np.ndarray:
        try:
            path = self.path / place
            with path.open("rb") as stream:
                return _read_npy(stream, path.stat().st_size)
        except _BROKEN as error:
            _refuse(error)


class ArchiveSource:
    """A NumPy archive, compressed or not, with one array per protein."""

    layer: int | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except _BROKEN as error:
            raise DataError(
                "the file is cut short, damaged or not a NumPy archive",
                where=path.absolute(),
                got=first_line(error),
            ) from None
        names = (entry.filename for entry in self._archive.infolist() if not entry.filename.endswith("/"))
        self.labels = {name: name.removesuffix(".npy") for name in names}

    def read(self, place: str) -> np.ndarray:
        try:
            entry = self._archive.getinfo(place)
            if entry.file_size > unpacked_limit(entry.compress_size):
                raise ValueError(f"{entry.compress_size:,} bytes that unpack to {entry.file_size:,}")
            with self._archive.open(entry) as stream:
                return _read_npy(stream, entry.file_size)
        except _BROKEN as error:
            _refuse(error)


class TensorFolder:
    """A folder tree of `.pt` files with embeddings.

    Each file has one tensor, or the output of ESM's extract.py.
    """

    def __init__(self, path: Path, files: list[Path], *, granularity: str, layer: int | None) -> None:
        self.path = path
        self.labels = _labels(path, files)
        self.layer: int | None = None
        self._granularity, self._wanted_layer = granularity, layer

    def read(self, place: str) -> np.ndarray:
        try:
            check_torch_archive(self.path / place)
            content = torch.load(self.path / place, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            # torch's own message would advise loading the file with weights_only=False.
            raise DataError("pickled objects, which could run code, are not read") from None
        except _BROKEN as error:
            _refuse(error)
        tensor = self._of_esm(content) if isinstance(content, dict) else content
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.is_quantized:
            raise DataError("neither a plain tensor nor what ESM's extract.py writes")
        try:
            # With a stride of 0, a tensor can be larger than its bytes.
            stored = tensor.untyped_storage().nbytes()
            if tensor.numel() * tensor.element_size() > stored:
                raise ValueError(f"shape {tuple(tensor.shape)} of {stored:,} bytes")
            if tensor.dtype == torch.bfloat16:  # which NumPy does not have
                tensor = tensor.float()
            array = tensor.detach().resolve_conj().resolve_neg().numpy()
        except _BROKEN as error:  # such as a tensor without bytes, on the device `meta`
            _refuse(error)
        _require_numbers(array.dtype)
        return array

    def _of_esm(self, content: dict[Any, Any]) -> object:
        found = {kind: content.get(key) for kind, key in GRANULARITY_OF_ESM.items()}
        kinds = [kind for kind, layers in found.items() if isinstance(layers, dict) and layers]
        if self._granularity != "auto":
            kinds = [kind for kind in kinds if kind == self._granularity]
        if len(kinds) == 2:
            raise DataError("both residues and means: give granularity=residue or granularity=protein")
        if not kinds:
            wanted = GRANULARITY_OF_ESM.get(self._granularity, " nor ".join(GRANULARITY_OF_ESM.values()))
            raise DataError(f"a mapping without {wanted}")
        layers: Mapping[object, object] = content[GRANULARITY_OF_ESM[kinds[0]]]
        numbers = sorted(number for number in layers if isinstance(number, int))
        layer = self._wanted_layer if self._wanted_layer is not None else max(numbers, default=None)
        if layer not in numbers:
            raise DataError(f"no layer {layer}, only {', '.join(map(str, numbers)) or 'none'}")
        if self.layer not in (None, layer):
            raise DataError(f"the last layer is {layer}, in other files {self.layer}: give layer=")
        self.layer = layer
        return layers[layer]


def _labels(folder: Path, files: list[Path]) -> dict[str, str]:
    places = [str(file.relative_to(folder)) for file in files]
    return {place: place.removesuffix(file.suffix) for place, file in zip(places, files, strict=True)}


def _read_npy(stream: IO[bytes], size: int) -> np.ndarray:
    """Reads an array from a stream of at most `size` bytes."""
    magic = stream.read(len(np.lib.format.MAGIC_PREFIX) + 2)
    if not magic.startswith(np.lib.format.MAGIC_PREFIX):
        if magic.startswith(_PICKLE_START):
            raise DataError("pickled objects, which could run code, are not read")
        raise DataError("not a NumPy array")
    first = magic[-2:] == b"\1\0"
    read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read_header(stream)
    if dtype.hasobject:
        raise DataError("pickled objects, which could run code, are not read")
    _require_numbers(dtype)
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > size or min(shape, default=1) < 0:
        raise ValueError(f"shape {shape} in a file of {size:,} bytes")
    content = np.frombuffer(stream.read(claimed), dtype)
    return content.reshape(shape, order="F" if by_columns else "C")


def _require_numbers(dtype: np.dtype[Any]) -> None:
    if dtype.kind != "f":
        raise DataError(f"not floating-point numbers but {dtype}")


def _refuse(error: Exception) -> NoReturn:
    if isinstance(error, DataError):
        raise error
    raise DataError("cut short or damaged", got=first_line(error)) from None
