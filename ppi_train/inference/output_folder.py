"""A prediction's table as a folder of Parquet parts with a manifest.

The parts `part-00000000.parquet` and so on have the rows in their order. The manifest lists them with their
rows and digests; readers of data sets, such as pyarrow and Spark, pass over names that begin with `_`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from ppi_train.errors import ConfigError, first_line
from ppi_train.inference.output import PredictionWriter
from ppi_train.io.files import file_digest, output_exists_error, write_file
from ppi_train.io.outputs import MANIFEST

PART_ROWS = 16 << 20
"""Rows of a part: some 200 MB."""
_FORMAT = 1


class FolderWriter:
    """Context manager that writes scored pairs into the parts of a folder.

    Args:
        folder: Must not exist; it has no manifest unless the block ends without an error.
        about: What determines the rows; stored in the manifest.
        writer: Gives the writer of a part.

    Attributes:
        rows: How many were added.
        marked: How many of them have each mark.
    """

    def __init__(
        self, folder: Path, about: Mapping[str, object], writer: Callable[[Path], PredictionWriter]
    ) -> None:
        self._folder, self._about, self._writer = folder, about, writer
        self._parts: list[dict[str, object]] = []
        self.rows = 0
        self.marked: dict[str, int] = {}

    def __enter__(self) -> FolderWriter:
        self._folder.mkdir()
        self._open()
        return self

    def _open(self) -> None:
        self._path = self._folder / f"part-{len(self._parts):08d}.parquet"
        self._part = self._writer(self._path).__enter__()

    def add(self, columns: Mapping[str, np.ndarray]) -> None:
        """Appends rows, as `PredictionWriter` does."""
        count, start = len(columns["a"]), 0
        while start < count:
            if self._part.rows == PART_ROWS:
                self._close()
                self._open()
            stop = min(count, start + PART_ROWS - self._part.rows)
            self._part.add({name: column[start:stop] for name, column in columns.items()})
            start = stop

    def _close(self) -> None:
        part = self._part
        part.__exit__(None, None, None)
        self.rows += part.rows
        self.marked = {name: self.marked.get(name, 0) + count for name, count in part.marked.items()}
        self._parts.append(
            {
                "name": self._path.name,
                "rows": part.rows,
                "bytes": self._path.stat().st_size,
                "sha256": file_digest(self._path),
            }
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._part.__exit__(kind, error, trace)
            return
        self._close()
        manifest = {"format": _FORMAT, "job": self._about, "rows": self.rows, "parts": self._parts}
        write_file(self._folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())


def put_in_place(whole: Path, output: Path) -> None:
    """Moves a finished file or folder into place; an earlier folder is removed."""
    if not (output.is_dir() and whole.is_dir()):
        whole.replace(output)
        return
    # A folder cannot be replaced in one step.
    earlier = whole.with_name("replaced")
    if earlier.exists():
        shutil.rmtree(earlier)
    output.rename(earlier)
    whole.rename(output)


def check_folder(folder: Path, job: Mapping[str, object], *, overwrite: bool) -> None:
    """Refuses a folder whose content an output may not replace.

    Args:
        folder: It exists.
        job: What determines the rows of the output, as far as it is known.
        overwrite: Whether a finished prediction may be replaced.

    Raises:
        ConfigError: the folder has a finished prediction that may not be replaced, or other files.
    """
    names = sorted(path.name for path in folder.iterdir())
    other = [name for name in names if name != MANIFEST and not name.startswith("part-")]
    if other or (names and MANIFEST not in names):
        raise ConfigError(
            "the output folder has other files than a finished prediction",
            where=folder.absolute(),
            got=", ".join((other or names)[:5]),
            remedy="give another output",
        )
    if not names or overwrite:
        return
    found = _manifest_job(folder / MANIFEST)
    got, expected = differences({name: found.get(name) for name in job}, job)
    if not got:
        raise output_exists_error(folder)
    raise ConfigError(
        "the output folder has another prediction",
        where=folder.absolute(),
        got=got,
        expected=expected,
        remedy="give another output, or overwrite=true",
    )


def _manifest_job(path: Path) -> Mapping[str, object]:
    try:
        job = json.loads(path.read_text())["job"]
        return {**job}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(
            "the manifest of the output folder cannot be read",
            where=path.absolute(),
            got=first_line(error),
            remedy="give another output, or overwrite=true",
        ) from None


def differences(found: Mapping[str, object], wanted: Mapping[str, object]) -> tuple[str, str]:
    """What differs between two jobs, as text of each; empty if nothing does."""
    names = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    return _listed(found, names), _listed(wanted, names)


def _listed(job: Mapping[str, object], names: Iterable[str]) -> str:
    return ", ".join(f"{name}={job.get(name)}" for name in names)
