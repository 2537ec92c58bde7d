"""What is already embedded: parts of an unfinished cache, and earlier caches.

`CacheSources` finds embeddings by sequence in other caches of the same recipe; the accession under which a
cache has a sequence does not matter.

The parts of an unfinished cache are in a folder next to it, which one process at a time locks; its workers
write there. A part is a small cache whose accessions are the digests of the sequences, so that it can be used
for any FASTA. It is named by the number of its task and the sha256 of its bytes: any other file in the folder
is not finished, and perhaps still written by a worker, and a part whose bytes have changed is damaged. Both
are made again, and left where they are until the cache is whole.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
import pyarrow.parquet as pq

from ppi_train.embeddings.cache import METADATA_KEY, CacheSpec, spec_from_json
from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.embeddings.cache.tasks import Chunk, write_plan
from ppi_train.errors import CacheError
from ppi_train.io.files import file_digest, lock_file, remove_locked
from ppi_train.io.parquet import BROKEN, open_parquet
from ppi_train.io.unavailable import described_by_cause, unavailable_error

logger = logging.getLogger(__name__)

# Files kept open: there may be thousands, of which one block of sequences needs a few.
OPEN_FILES = 32
# Numbers in the embeddings that are read at once to see whether they are readable.
CHECKED_VALUES = 16_000_000

_T = TypeVar("_T")
_NAMES = ["protein_id", "sequence_digest"]

# The files in the folder of an unfinished cache.
_LOCK = "lock"
_WHOLE = "whole.parquet"
# Earlier versions wrote no number.
_PART = re.compile(r"(?:[0-9]{6}-)?([0-9a-f]{64})\.parquet")


@dataclass(frozen=True, slots=True)
class _Place:
    """A file, and the accession of the sequence in it."""

    path: Path
    protein_id: str


class CacheSources:
    """The embeddings of sequences in several files, read on demand.

    Args:
        spec: The recipe and the number format that a file must have.
    """

    def __init__(self, spec: CacheSpec) -> None:
        self._spec = spec
        self._places: dict[str, _Place] = {}
        self._open = lru_cache(maxsize=OPEN_FILES)(EmbeddingCache)

    def __contains__(self, digest: object) -> bool:
        return digest in self._places

    def of_same_recipe(self, path: Path) -> bool:
        """Whether a file is a cache of equal recipe and number format.

        Raises:
            CacheError: it cannot be read.
        """
        metadata = _read(path, lambda file: file.schema_arrow.metadata or {})
        if METADATA_KEY not in metadata:
            return False
        found = spec_from_json(metadata[METADATA_KEY], where=path)
        return found.dtype == self._spec.dtype and found.recipe() == self._spec.recipe()

    def take(self, path: Path, wanted: Collection[str]) -> list[str]:
        """Registers the wanted sequences of a file that have no place yet.

        All of their embeddings are read once, so that what is taken can be relied on.

        Args:
            path: A cache; of another recipe, nothing is taken.
            wanted: Digests of sequences.

        Returns:
            The digests of those that were taken.

        Raises:
            CacheError: the file is cut short or corrupt; nothing is taken.
        """
        if not self.of_same_recipe(path):
            return []
        new = {digest for digest in wanted if digest not in self._places}
        names = _read(path, lambda file: _names(file, new))
        if names and self._open(path).content_digest:  # refuses numbers that were changed since
            self._check_readable(path, list(names.values()))
        self.add(path, names)
        return list(names)

    def add(self, path: Path, names: dict[str, str]) -> None:
        """Registers the sequences of a file without reading it.

        Args:
            path: A cache of the same recipe.
            names: The accession in the file by digest of the sequence.
        """
        self._places.update({digest: _Place(path, protein_id) for digest, protein_id in names.items()})

    def _check_readable(self, path: Path, names: Sequence[str]) -> None:
        size = max(1, CHECKED_VALUES // self._spec.dimension)
        if self._spec.granularity == "residue":
            for _ in self._embeddings(path, names):
                pass
            return
        for start in range(0, len(names), size):
            self._embeddings(path, names[start : start + size])

    def _embeddings(self, path: Path, names: Sequence[str]) -> Iterable[tuple[str, np.ndarray]]:
        cache = self._open(path)
        if self._spec.granularity == "residue":
            # Copies, or each would keep alive all that was read with it.
            return ((name, states.copy()) for name, states in cache.residues(names))
        return zip(names, cache.protein_matrix(names), strict=True)

    def fetch(self, digests: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Yields (digest, embedding), file by file.

        Raises:
            CacheError: a file has become unreadable since it was taken.
        """
        by_file: dict[Path, dict[str, str]] = {}
        for digest in digests:
            place = self._places[digest]
            by_file.setdefault(place.path, {})[place.protein_id] = digest
        for path, digest_of in by_file.items():
            for protein_id, embedding in self._embeddings(path, list(digest_of)):
                yield digest_of[protein_id], embedding


def _names(file: pq.ParquetFile, wanted: Collection[str]) -> dict[str, str]:
    """The first accession of each wanted sequence, in file order."""
    names: dict[str, str] = {}
    for batch in file.iter_batches(columns=_NAMES):
        ids, digests = (batch.column(name).to_pylist() for name in _NAMES)
        for protein_id, digest in zip(ids, digests, strict=True):
            if digest in wanted:
                names.setdefault(digest, protein_id)
    return names


def _read(path: Path, what: Callable[[pq.ParquetFile], _T]) -> _T:
    try:
        with open_parquet(path, page_checksum_verification=True) as file:
            return what(file)
    except BROKEN as error:
        if isinstance(error, CacheError):
            raise
        unavailable = unavailable_error(error, path, "the embedding cache could not be read")
        if unavailable is not None:
            raise unavailable from error
        raise CacheError("the embedding cache is cut short or corrupt", where=path, got=error) from None


def _digest_in(name: str) -> str | None:
    """The sha256 in the name of a part; None if the file is none."""
    found = _PART.fullmatch(name)
    return found[1] if found else None


def parts_folder(output: Path) -> Path:
    """Where the parts of a cache lie until it is finished."""
    return output.with_name(f".{output.name}.parts")


class CacheParts:
    """The parts of one cache; made by `held_parts`.

    Args:
        output: The cache.
        spec: The metadata of the cache.
        sources: Every part is added to it.
    """

    def __init__(self, output: Path, spec: CacheSpec, sources: CacheSources) -> None:
        self._output, self._folder = output, parts_folder(output)
        self._spec, self._sources = spec, sources

    def take_up(self, wanted: Collection[str]) -> None:
        """Adds the parts of an interrupted process to the sources.

        Args:
            wanted: Digests of the sequences that the cache is to have.
        """
        self._borrow(wanted)
        for path in self._parts():
            with described_by_cause(path):
                damaged = file_digest(path) != _digest_in(path.name)
            if damaged:
                logger.warning("%s is damaged; its sequences are embedded again", path)
                continue
            try:
                self._sources.take(path, wanted)
            except CacheError as error:
                logger.warning("%s; its sequences are embedded again", error)

    def _borrow(self, wanted: Collection[str]) -> None:
        """Links useful parts of other unfinished caches into the folder.

        The FASTA may have changed since, and with it the name of the cache. The parts also stay where they
        are, for the process that makes the other cache.
        """
        for path in sorted(self._folder.parent.glob(".*.parts/*.parquet")):
            if path.parent == self._folder or not _PART.fullmatch(path.name):
                continue
            with suppress(CacheError, OSError):  # gone meanwhile, or on a disk without links
                if CacheSources(self._spec).take(path, wanted):
                    (self._folder / path.name).hardlink_to(path)

    def _parts(self) -> list[Path]:
        return sorted(path for path in self._folder.iterdir() if _PART.fullmatch(path.name))

    def write_plan(self, tasks: Mapping[int, Sequence[Chunk]]) -> tuple[Path, str]:
        """The file that lists the sequences of each task, and its sha256; see `tasks.write_plan`."""
        return write_plan(self._folder, replace(self._spec, fasta_digest=""), tasks)

    def add(self, name: str, digests: Iterable[str]) -> None:
        """Adds a finished part to the sources.

        Args:
            name: Of its file.
            digests: Of the sequences in it.
        """
        self._sources.add(self._folder / name, {digest: digest for digest in digests})

    def finish(self, rows: Iterable[tuple[str, str, int, np.ndarray]]) -> None:
        """Writes the cache, moves it into place, and removes the parts.

        Args:
            rows: For each protein its accession, the digest of its sequence, its full length and its
                embedding.
        """
        whole = self._folder / _WHOLE
        with CacheWriter(whole, self._spec) as writer:
            for protein_id, digest, length, embedding in rows:
                writer.add(protein_id, digest, length, embedding)
        whole.replace(self._output)
        self.discard()

    def discard(self) -> None:
        """Removes the parts and their folder."""
        for path in self._parts():
            path.unlink()
        remove_locked(self._folder)


@contextmanager
def held_parts(output: Path, spec: CacheSpec, sources: CacheSources) -> Iterator[CacheParts]:
    """Locks the folder of parts, waiting for another process if necessary.

    The lock of a process ends with the process.
    """
    folder = parts_folder(output)
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = (folder / _LOCK).open("a+")
        except FileNotFoundError:
            continue  # the process that had the lock has finished the cache in the meantime
        with lock:
            lock_file(
                lock,
                lambda process: logger.info(
                    "process %s is making %s: waiting for it to end", process, output
                ),
            )
            if not _is_at(folder / _LOCK, lock):
                continue  # the folder was removed in the meantime, and perhaps made again
            yield CacheParts(output, spec, sources)
            return


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
