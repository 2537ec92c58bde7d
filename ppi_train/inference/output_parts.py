"""The finished parts of an unfinished prediction.

They are in a folder next to the output. A part has the result of a task; its name gives the task and the
sha256 of its bytes, and it gets that name when it is whole. Any other file in the folder was never finished,
and the task of a part whose bytes have changed is done again. Several processes write parts; the process that
merges them has the lock, and removes no file that another one may be writing.

`job.json` describes the prediction, so that no process continues from the parts of another one.
`finished.json` lists the outputs that this prediction moves into place at its end: only these may exist when
a process continues.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ppi_train.embeddings.cache.parts import parts_folder
from ppi_train.errors import ConfigError, DataError, first_line
from ppi_train.inference.output_folder import check_folder, differences
from ppi_train.io.files import file_digest, lock_file, output_exists_error, remove_locked, write_file
from ppi_train.io.parquet import BROKEN, open_parquet
from ppi_train.io.unavailable import described_by_cause, unavailable_error

logger = logging.getLogger(__name__)

_LOCK = "lock"
_JOB = "job.json"
_FINISHED = "finished.json"
_WHOLE = "whole"
_PART = re.compile(r"(\d{8})-([0-9a-f]{64})\.parquet")
# Rows that are read of a part at once.
_ROWS = 1 << 18


@dataclass(frozen=True)
class _Part:
    """The result of a task."""

    path: Path
    number: int
    digest: str

    @classmethod
    def at(cls, path: Path) -> _Part | None:
        """The part of a path; None for a file of another kind."""
        name = _PART.fullmatch(path.name)
        return cls(path, int(name[1]), name[2]) if name else None

    @property
    def intact(self) -> bool:
        with described_by_cause(self.path):
            return file_digest(self.path) == self.digest

    def batches(self) -> Iterator[dict[str, np.ndarray]]:
        """Its columns by name, some rows at a time.

        Raises:
            DataError: the bytes match their digest, but are not a table.
        """
        try:
            with open_parquet(self.path) as file:
                for batch in file.iter_batches(_ROWS):
                    yield {
                        name: batch.column(name).to_numpy(zero_copy_only=False) for name in batch.schema.names
                    }
        except BROKEN as error:
            raise unavailable_error(error, self.path.absolute()) or DataError(
                "a finished part of the prediction cannot be read",
                where=self.path.absolute(),
                got=first_line(error),
                remedy="remove the folder of parts: the prediction then starts again from the beginning",
            ) from None


def write_part(folder: Path, number: int, columns: Mapping[str, np.ndarray]) -> Path:
    """Writes the result of a task, and puts it in place whole.

    Several processes may do so at once, also for the same task.

    Args:
        folder: The folder of parts.
        number: The task.
        columns: Arrays of equal length by name.
    """
    table = pa.table({name: pa.array(column) for name, column in columns.items()})
    sink = pa.BufferOutputStream()
    # Places repeat; scores are noise to a compressor.
    pq.write_table(table, sink, compression="zstd", compression_level=1, use_dictionary=False)
    content = sink.getvalue()
    unfinished = folder / f"{number:08d}.{secrets.token_hex(6)}.unfinished"
    try:
        unfinished.write_bytes(content)
        return unfinished.rename(folder / f"{number:08d}-{hashlib.sha256(content).hexdigest()}.parquet")
    finally:
        unfinished.unlink(missing_ok=True)


def part_of(folder: Path, number: int) -> Path | None:
    """The intact part of a task, if there is one."""
    found = filter(None, map(_Part.at, sorted(folder.glob(f"{number:08d}-*.parquet"))))
    return next((part.path for part in found if part.intact), None)


class PredictionParts:
    """The parts of one prediction; made by `held_prediction`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts: dict[int, _Part] = {}
        self._discarded = False

    @property
    def done(self) -> frozenset[int]:
        """The tasks that are finished."""
        return frozenset(self._parts)

    def new_whole(self) -> Path:
        """Where the table is written before it is moved into place; what is there is removed."""
        whole = self.folder / _WHOLE
        if whole.is_dir():
            shutil.rmtree(whole)
        return whole

    def take_up(self) -> None:
        """Finds the intact parts of an interrupted prediction."""
        for part in filter(None, map(_Part.at, sorted(self.folder.iterdir()))):
            if part.number in self._parts:
                continue
            if part.intact:
                self._parts[part.number] = part
                continue
            logger.warning("%s is damaged: its task is done again", part.path)
            part.path.unlink()

    def add(self, path: Path) -> None:
        """Takes up a part that was written since."""
        part = _Part.at(path)
        assert part is not None, path
        self._parts[part.number] = part

    def columns(self) -> Iterator[dict[str, np.ndarray]]:
        """The columns of all parts in the order of their tasks, some rows at a time."""
        for _, part in sorted(self._parts.items()):
            yield from part.batches()

    def about_to_replace(self, paths: Sequence[Path]) -> None:
        """Records the files that are now moved into place, for a process that continues after this one."""
        write_file(self.folder / _FINISHED, json.dumps([str(path.absolute()) for path in paths]).encode())

    def discard(self) -> None:
        """Removes the folder."""
        self._discarded = True
        remove_locked(self.folder)

    def discard_if_empty(self) -> None:
        """Removes a folder without parts: there is nothing to resume."""
        if not self._discarded and not _has_parts(self.folder):
            self.discard()


def check_outputs(
    output: Path, edges: Path | None, *, overwrite: bool, job: Mapping[str, object] | None = None
) -> None:
    """Refuses, before any work is done, to replace a file or folder.

    One that exists may be the finished output of a process that died while it removed its parts: that process
    has recorded which outputs these are.

    Args:
        output: The table, or the folder of its parts.
        edges: The network, if any.
        overwrite: Whether an earlier output may be replaced.
        job: What determines the rows, as far as it is known.

    Raises:
        ConfigError: the output or the network exists and must not be replaced, or the output is a folder with
            other files.
    """
    finished = _read_json(parts_folder(output) / _FINISHED)
    for path in filter(None, (output, edges)):
        if isinstance(finished, list) and str(path.absolute()) in finished:
            continue
        if path.is_dir():
            check_folder(path, job or {}, overwrite=overwrite)
        elif os.path.lexists(path) and not overwrite:
            raise output_exists_error(path)


@contextmanager
def held_prediction(
    output: Path, job: Mapping[str, object], *, overwrite: bool, edges: Path | None = None
) -> Iterator[PredictionParts]:
    """Locks the folder of parts and loads those of the same job.

    Args:
        output: The table that is being made.
        job: All that determines its bytes; must be serialisable as JSON.
        overwrite: Whether an output, and parts of another job, may be replaced.
        edges: The network that is being made of it, if any.

    Raises:
        ConfigError: another process makes this output, the folder has parts of another job, or a file exists
            that must not be replaced.
    """

    def busy(process: str) -> NoReturn:
        raise ConfigError(
            "another process is making this output",
            where=output.absolute(),
            got=f"held by process {process}",
            remedy="wait until it ends, or end it, or give another output",
        ) from None

    folder = parts_folder(output)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a+") as lock:
        lock_file(lock, busy)
        parts = PredictionParts(folder)
        try:
            _settle_job(folder, job, overwrite=overwrite)
            check_outputs(output, edges, overwrite=overwrite, job=job)
            parts.take_up()
            yield parts
        finally:
            parts.discard_if_empty()


def _settle_job(folder: Path, job: Mapping[str, object], *, overwrite: bool) -> None:
    """Removes the parts of another job and records this job."""
    wanted = json.loads(json.dumps(job))
    found = _read_json(folder / _JOB)
    if found == wanted:
        return
    if not _has_parts(folder):
        found = None  # nothing would be lost
    if isinstance(found, dict) and not overwrite:
        got, expected = differences(found, wanted)
        raise ConfigError(
            "there are unfinished parts of another prediction next to the output",
            where=folder.absolute(),
            got=got,
            expected=expected,
            remedy="give the earlier command again to finish it, or give another output, or overwrite=true, "
            "which removes them",
        )
    if found is not None:
        logger.warning("unfinished parts of another prediction are removed: %s", folder)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()
    write_file(folder / _JOB, json.dumps(wanted, indent=1, sort_keys=True).encode())


def _has_parts(folder: Path) -> bool:
    return any(_PART.fullmatch(path.name) for path in folder.iterdir())


def _read_json(path: Path) -> object:
    """The content of a file of the folder; None if it is absent or unreadable."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        unavailable = unavailable_error(error, path)
        if unavailable is not None:
            raise unavailable from error
        return None
