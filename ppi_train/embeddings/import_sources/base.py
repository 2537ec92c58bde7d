"""What every source of embeddings to import is, and the checks that several share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ppi_train.errors import DataError
from ppi_train.io.unavailable import unavailable_error

# On damaged files h5py, NumPy, zipfile, torch and pyarrow raise all kinds of errors, among them KeyError,
# struct.error and tokenize.TokenError; no package documents which.
BROKEN = Exception
PICKLED = "pickled objects, which could run code, are not read"


class EmbeddingSource(ABC):
    """A source of embeddings to import.

    Attributes:
        path: The file or folder.
        labels: From each place to the source's name for its protein; parts of the name may be separated by
            `/`.
        layer: The model's layer that was read, if the source has several and one was read already.
    """

    path: Path
    labels: Mapping[str, str]
    layer: int | None = None

    @abstractmethod
    def read(self, place: str) -> np.ndarray:
        """The floating-point numbers at a place, in any shape.

        Raises:
            UnavailableError: the file could not be read; its bytes may be right.
            DataError: the place has damaged bytes, objects or other numbers; the message leaves out the
                place, which the caller knows.
        """

    def content_of(self, place: str) -> object:
        """What is equal for two places with the same numbers, such as two links to them."""
        return place


def refuse_file(error: Exception, path: Path, kind: str) -> NoReturn:
    """Raises the error of a source that cannot be opened; `kind` names what it should be."""
    if isinstance(error, DataError):
        raise error
    raise (
        unavailable_error(error, path.absolute())
        or DataError(
            f"the file is cut short, damaged or not {kind}", where=path.absolute(), got=first_line(error)
        )
    ) from None


def refuse_place(error: Exception, path: Path) -> NoReturn:
    """Raises the error of a place that cannot be read; `path` is the file that it lies in."""
    if isinstance(error, DataError):
        raise error
    raise (
        unavailable_error(error, path.absolute()) or DataError("cut short or damaged", got=first_line(error))
    ) from None


def require_floats(dtype: np.dtype[Any]) -> None:
    """Refuses numbers that are not floating-point."""
    if dtype.kind != "f":
        raise DataError(f"not floating-point numbers but {dtype}")


def first_line(error: Exception) -> str:
    """The first line of an error's message, or else its type."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def file_labels(folder: Path, files: list[Path]) -> dict[str, str]:
    """From each file's path within a folder to that path without its suffix."""
    places = [str(file.relative_to(folder)) for file in files]
    return {place: place.removesuffix(file.suffix) for place, file in zip(places, files, strict=True)}
