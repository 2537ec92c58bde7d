"""Embeddings in torch's and safetensors' files, of which no pickled object is ever made."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from ppi_train.embeddings.import_sources.base import (
    BROKEN,
    PICKLED,
    EmbeddingSource,
    file_labels,
    refuse_file,
    refuse_place,
)
from ppi_train.errors import DataError
from ppi_train.io.files import check_torch_archive
from ppi_train.io.unavailable import check_readable

GRANULARITY_OF_ESM = {"residue": "representations", "protein": "mean_representations"}
"""The keys of the two kinds of embedding in the files of ESM's extract.py."""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class TensorFolder(EmbeddingSource):
    """A folder tree of `.pt` files with embeddings.

    Each file has one tensor, or the output of ESM's extract.py.
    """

    def __init__(self, path: Path, files: list[Path], *, granularity: str, layer: int | None) -> None:
        self.path = path
        self.labels = file_labels(path, files)
        self._granularity, self._wanted_layer = granularity, layer

    def read(self, place: str) -> np.ndarray:
        path = self.path / place
        try:
            content = _load(path)
            return _array_of(self._of_esm(content) if isinstance(content, dict) else content)
        except BROKEN as error:
            refuse_place(error, path)

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


class TensorFile(EmbeddingSource):
    """One `.pt` file with a dictionary from names to tensors.

    The dictionary may itself be the value of `representations` or `mean_representations`. Of a file in
    torch's present format only the numbers that are read are in memory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = _load(path, mapped=True)
        except BROKEN as error:
            refuse_file(error, path, "a file of torch")
        self._tensors = _by_name(content, path)
        self.labels = {name: name for name in self._tensors}

    def read(self, place: str) -> np.ndarray:
        try:
            return _array_of(self._tensors[place])
        except BROKEN as error:
            refuse_place(error, self.path)


class SafetensorsFile(EmbeddingSource):
    """A safetensors file with one tensor per protein."""

    def __init__(self, path: Path) -> None:
        self.path = path
        check_readable(path)  # safetensors says of every file that it may not open that it is not there
        try:
            self._file = safe_open(path, framework="pt")
            self.labels = {name: name for name in self._file.keys()}  # noqa: SIM118
        except BROKEN as error:
            refuse_file(error, path, "safetensors")

    def read(self, place: str) -> np.ndarray:
        try:
            return _array_of(self._file.get_tensor(place))
        except BROKEN as error:
            refuse_place(error, self.path)


def _load(path: Path, *, mapped: bool = False) -> object:
    check_torch_archive(path)
    try:
        return torch.load(
            path, map_location="cpu", weights_only=True, mmap=mapped and zipfile.is_zipfile(path)
        )
    except pickle.UnpicklingError:
        # torch's own message would advise loading the file with weights_only=False.
        raise DataError(PICKLED, where=path.absolute()) from None


def _by_name(content: object, path: Path) -> dict[str, object]:
    """The tensors of a file by name.

    Raises:
        DataError: it has no dictionary of names, or one of a single protein.
    """
    inner = content if isinstance(content, dict) else {}
    keys = [key for key in GRANULARITY_OF_ESM.values() if isinstance(inner.get(key), dict)]
    if len(keys) == 1:
        inner = inner[keys[0]]
    named = bool(inner) and len(keys) < 2 and all(isinstance(name, str) for name in inner)
    if not named:
        raise DataError(
            "the file has no dictionary from names to tensors",
            where=path.absolute(),
            got="no name" if isinstance(content, dict) else type(content).__name__,
            expected="{accession: tensor, ...}",
            remedy="if it has the embedding of one protein, name the folder that the file lies in",
        )
    return dict(inner)


def _array_of(tensor: object) -> np.ndarray:
    """The numbers of a plain tensor of floating-point numbers."""
    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.is_quantized:
        raise DataError("neither a plain tensor nor what ESM's extract.py writes")
    if tensor.dtype not in _FLOATS:
        raise DataError(f"not floating-point numbers but {str(tensor.dtype).removeprefix('torch.')}")
    # With a stride of 0, a tensor can be larger than its bytes.
    stored = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > stored:
        raise ValueError(f"shape {tuple(tensor.shape)} of {stored:,} bytes")
    if tensor.dtype == torch.bfloat16:  # which NumPy does not have
        tensor = tensor.float()
    return tensor.detach().resolve_conj().resolve_neg().numpy()
