"""The finished parts of an unfinished prediction.

They are in a folder next to the output. A part has the results of successive blocks of pairs; its name
gives the blocks and the sha256 of its bytes. Any other file in the folder was never finished, and a part
whose bytes have changed is computed again, with those after it. `job.json` describes the prediction, so
that no process continues from the parts of another one. `finished.json` lists the output files that this
prediction moves into place at its end: only these may exist when a process continues.
"""

from __future__ import annotations

import json
import logging
import os
import re
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
from ppi_train.io.files import file_digest, lock_file, output_exists_error, remove_locked, write_file
from ppi_train.io.parquet import BROKEN, open_parquet
from ppi_train.io.unavailable import described_by_cause, unavailable_error

logger = logging.getLogger(__name__)

_LOCK = "lock"
_JOB = "job.json"
_FINISHED = "finished.json"
_UNFINISHED = "unfinished.parquet"
_WHOLE = "whole.parquet"
_PART = re.compile(r"(\d{9})-(\d{9})-([0-9a-f]{64})\.parquet")
# Rows that are read of a part at once.
_ROWS = 1 << 18


@dataclass(frozen=True)
class _Part:
    """The results of blocks `first` to `stop`, `stop` excluded."""

    path: Path
    first: int
    stop: int
    digest: str

    @property
    def intact(self) -> bool:
        with described_by_cause(self.path):
            return self.first < self.stop and file_digest(self.path) == self.digest

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


class PredictionParts:
    """The parts of one prediction; made by `held_prediction`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: list[_Part] = []
        self._discarded = False

    @property
    def done(self) -> int:
        """Blocks that are finished, from the first one on."""
        return self._parts[-1].stop if self._parts else 0

    @property
    def whole(self) -> Path:
        """Where the table is written before it is moved into place."""
        return self._folder / _WHOLE

    def take_up(self) -> None:
        """Finds the parts of an interrupted process and removes its unfinished files."""
        found = []
        for path in self._folder.iterdir():
            name = _PART.fullmatch(path.name)
            if name:
                found.append(_Part(path, int(name[1]), int(name[2]), name[3]))
            elif path.name not in (_LOCK, _JOB, _FINISHED):
                path.unlink()
        for part in sorted(found, key=lambda part: (part.first, -part.stop)):
            if part.first == self.done and part.intact:
                self._parts.append(part)
                continue
            if part.first >= self.done:
                logger.warning("%s is damaged, or follows a damaged part: it is computed again", part.path)
            part.path.unlink()

    def add(self, stop: int, columns: Mapping[str, np.ndarray], *, cumulative: bool) -> None:
        """Writes the results of the blocks since the last part.

        Args:
            stop: Number of blocks that are finished.
            columns: Arrays of equal length by name.
            cumulative: Whether the part includes the content of all earlier ones, and replaces them.
        """
        unfinished = self._folder / _UNFINISHED
        table = pa.table({name: pa.array(column) for name, column in columns.items()})
        # Places repeat; scores are noise to a compressor.
        pq.write_table(table, unfinished, compression="zstd", compression_level=1, use_dictionary=False)
        first = 0 if cumulative else self.done
        digest = file_digest(unfinished)
        path = unfinished.rename(self._folder / f"{first:09d}-{stop:09d}-{digest}.parquet")
        superseded = self._parts if cumulative else []
        self._parts = [*([] if cumulative else self._parts), _Part(path, first, stop, digest)]
        for part in superseded:
            part.path.unlink()

    def last(self) -> dict[str, np.ndarray]:
        """The columns of the last part."""
        batches = list(self._parts[-1].batches())
        return {name: np.concatenate([batch[name] for batch in batches]) for name in (batches or [{}])[0]}

    def columns(self) -> Iterator[dict[str, np.ndarray]]:
        """The columns of all parts in order, some rows at a time."""
        for part in self._parts:
            yield from part.batches()

    def about_to_replace(self, paths: Sequence[Path]) -> None:
        """Records the files that are now moved into place, for a process that continues after this one."""
        write_file(self._folder / _FINISHED, json.dumps([str(path.absolute()) for path in paths]).encode())

    def discard(self) -> None:
        """Removes the folder."""
        self._discarded = True
        remove_locked(self._folder)

    def discard_if_empty(self) -> None:
        """Removes a folder without parts: there is nothing to resume."""
        if not self._discarded and not _has_parts(self._folder):
            self.discard()


def check_outputs(output: Path, edges: Path | None, *, overwrite: bool) -> None:
    """Refuses, before any work is done, to replace a file.

    A file that exists may be the finished one of a process that died while it removed its parts: that process
    has recorded which files these are.

    Raises:
        ConfigError: the output or the edge list exists and must not be replaced.
    """
    if overwrite:
        return
    finished = _read_json(parts_folder(output) / _FINISHED)
    for path in filter(None, (output, edges)):
        ours = isinstance(finished, list) and str(path.absolute()) in finished
        if os.path.lexists(path) and not ours:
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
            check_outputs(output, edges, overwrite=overwrite)
            parts.take_up()
            yield parts
        finally:
            parts.discard_if_empty()


def _settle_job(folder: Path, job: Mapping[str, object], *, overwrite: bool) -> None:
    """Removes the parts of another job and records this job."""
    wanted = json.loads(json.dumps(job))
    found = _read_json(folder / _JOB) if _has_parts(folder) else None
    if found == wanted:
        return
    if isinstance(found, dict) and not overwrite:
        names = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
        raise ConfigError(
            "there are unfinished parts of another prediction next to the output",
            where=folder.absolute(),
            got=", ".join(f"{name}={found.get(name)}" for name in names),
            expected=", ".join(f"{name}={wanted.get(name)}" for name in names),
            remedy="give the earlier command again to finish it, or give another output, or overwrite=true, "
            "which removes them",
        )
    if found is not None:
        logger.warning("unfinished parts of another prediction are removed: %s", folder)
    for path in folder.iterdir():
        if path.name != _LOCK:
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
