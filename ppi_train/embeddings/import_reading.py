"""Reading of embeddings to import by workers.

Other programs' files are slow to read: workers read them once, each a range of places, and write the arrays
as they are into parts. This process then checks and imports the parts as it would the source, so that the
cache has the same bytes, and the same problems are reported.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ppi_train.embeddings.import_sources import open_source
from ppi_train.embeddings.import_sources.base import EmbeddingSource
from ppi_train.errors import DataError
from ppi_train.io.files import file_digest, write_file
from ppi_train.io.progress import Progress
from ppi_train.io.unavailable import UnavailableError
from ppi_train.parallel.pool import Pool, check_files_visible

# A task reads more places only where there would be more tasks than this.
MOST_TASKS = 512
FEWEST_PLACES = 16
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class ReadJob:
    """What the tasks share.

    Attributes:
        source: The file or folder.
        granularity: As for `open_source`.
        layer: As for `open_source`.
        places: A JSON file with the places of each task; the parts are put next to it.
    """

    source: str
    granularity: str
    layer: int | None
    places: str


def read_task(job: ReadJob, number: int) -> str:
    """Reads the places of a task.

    Returns:
        The name of its part: the arrays, then an index of them, then the length of the index.

    Raises:
        UnavailableError: the source could not be read; its bytes may be right.
    """
    source, tasks = _opened(job)
    source.layer = None  # of another task: which one it was must not matter
    folder = Path(job.places).parent
    unfinished = folder / f"{number:06d}.{secrets.token_hex(6)}.unfinished"
    entries: dict[str, int | list[str]] = {}
    with unfinished.open("wb") as stream:
        for place in tasks[number]:
            start = stream.tell()
            try:
                np.lib.format.write_array(stream, source.read(place), allow_pickle=False)
                entries[place] = start
            except UnavailableError:
                raise
            except DataError as error:  # reported with all others of its kind, by the process that imports
                entries[place] = [error.what, "" if error.got is None else str(error.got)]
        index = json.dumps({"layer": source.layer, "entries": entries}).encode()
        stream.write(index + len(index).to_bytes(_LENGTH_BYTES, "little"))
    return unfinished.rename(folder / f"{number:06d}-{file_digest(unfinished)}.arrays").name


@lru_cache(maxsize=1)
def _opened(job: ReadJob) -> tuple[EmbeddingSource, list[list[str]]]:
    source = open_source(Path(job.source), granularity=job.granularity, layer=job.layer)
    return source, json.loads(Path(job.places).read_text())


class ReadSource(EmbeddingSource):
    """A source whose arrays were read before.

    Args:
        source: The source itself.
        parts: What was read of it.
    """

    def __init__(self, source: EmbeddingSource, parts: Sequence[Path]) -> None:
        self.path, self.labels = source.path, source.labels
        self._source = source
        self._found: dict[str, tuple[Path, int | None, int | list[str]]] = {}
        for path in parts:
            index = _index(path)
            for place, entry in index["entries"].items():
                self._found[place] = path, index["layer"], entry

    def read(self, place: str) -> np.ndarray:
        path, layer, entry = self._found[place]
        if isinstance(entry, list):
            what, got = entry
            raise DataError(what, got=got or None)
        if layer is not None and self.layer not in (None, layer):
            raise DataError(f"the last layer is {layer}, in other files {self.layer}: give layer=")
        self.layer = layer
        with path.open("rb") as stream:
            stream.seek(entry)
            array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
            return array

    def content_of(self, place: str) -> object:
        return self._source.content_of(place)


def _index(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        stream.seek(-_LENGTH_BYTES, 2)
        end = stream.tell()
        length = int.from_bytes(stream.read(), "little")
        stream.seek(end - length)
        index: dict[str, Any] = json.loads(stream.read(length))
        return index


@contextmanager
def read_by_workers(
    source: EmbeddingSource,
    places: Sequence[str],
    pool: Pool,
    folder: Path,
    *,
    granularity: str,
    layer: int | None,
) -> Iterator[EmbeddingSource]:
    """The source as workers have read it; what they wrote is removed if the block ends without an error.

    The parts of an interrupted process are used, if the source has not changed since.

    Args:
        source: Opened in this process.
        places: Those that are needed.
        pool: Reads them.
        folder: For the parts, which all workers see.
        granularity: As for `open_source`.
        layer: As for `open_source`.

    Raises:
        UnavailableError: the source could not be read.
        ClusterError: a worker does not see the source or the folder.
    """
    size = max(FEWEST_PLACES, -(-len(places) // MOST_TASKS))
    tasks = [list(places[start : start + size]) for start in range(0, len(places), size)]
    path = source.path.absolute()
    listed = json.dumps(tasks).encode()
    identity = json.dumps([str(path), _stamp(path), granularity, layer]).encode()
    folder = folder.absolute() / f"import-{hashlib.sha256(identity + listed).hexdigest()[:16]}"
    job = ReadJob(str(path), granularity, layer, str(folder / "places.json"))
    write_file(Path(job.places), listed)
    check_files_visible(pool, [path, Path(job.places)])
    parts = {int(part.name[:6]): part for part in folder.glob("*-*.arrays") if _whole(part)}
    left = [number for number in range(len(tasks)) if number not in parts]
    with Progress(len(tasks), done=len(parts), unit="task") as progress:
        for number, name in pool.run(read_task, job, left):
            parts[number] = folder / name
            progress.advance(1)
    yield ReadSource(source, [parts[number] for number in range(len(tasks))])
    shutil.rmtree(folder, ignore_errors=True)  # a worker of a process that died may still write there
    with suppress(OSError):
        folder.parent.rmdir()  # unless it has the parts of something else


def _whole(part: Path) -> bool:
    return file_digest(part) == part.stem.partition("-")[2]


def _stamp(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of a file, or of all files in a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [(str(file), (found := file.stat()).st_size, found.st_mtime_ns) for file in files]
