"""The finished parts of an unfinished embedding cache.

They are in a folder next to the cache, which one process at a time locks. A part is a small cache whose
accessions are the digests of the sequences, so that it can be used for any FASTA. It is named by the sha256
of its bytes: any other file in the folder was never finished, and a part whose bytes have changed is
damaged; both are made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from ppi_train.embeddings.cache.sources import CacheSources
from ppi_train.embeddings.cache.spec import CacheSpec
from ppi_train.embeddings.cache.writer import CacheWriter
from ppi_train.errors import CacheError

logger = logging.getLogger(__name__)

_LOCK = "lock"
_UNFINISHED = "unfinished.parquet"
_WHOLE = "whole.parquet"
_PART = re.compile(r"[0-9a-f]{64}\.parquet")


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

        Unfinished files are removed.

        Args:
            wanted: Digests of the sequences that the cache is to have.
        """
        for path in self._folder.iterdir():
            if path.name != _LOCK and not _PART.fullmatch(path.name):
                path.unlink()
        self._borrow(wanted)
        for path in self._parts():
            if _digest(path) != path.stem:
                logger.warning("%s is damaged; its sequences are embedded again", path)
                path.unlink()
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

    def write(self, rows: Iterable[tuple[str, int, np.ndarray]]) -> None:
        """Writes a part completely; an exception leaves none.

        Args:
            rows: For each sequence its digest, its full length and its embedding.
        """
        unfinished = self._folder / _UNFINISHED
        digests = []
        with CacheWriter(unfinished, replace(self._spec, fasta_digest="")) as writer:
            for digest, length, embedding in rows:
                writer.add(digest, digest, length, embedding)
                digests.append(digest)
        path = unfinished.rename(self._folder / f"{_digest(unfinished)}.parquet")
        self._sources.add(path, {digest: digest for digest in digests})

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
        """Removes the parts and their folder.

        The folder is renamed first, so that no other process locks a file in it.
        """
        for path in self._parts():
            path.unlink()
        shutil.rmtree(self._folder.rename(self._folder.with_name(f"{self._folder.name}.{os.getpid()}.done")))


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
            _wait_for(lock, output)
            if not _is_at(folder / _LOCK, lock):
                continue  # the folder was removed in the meantime, and perhaps made again
            yield CacheParts(output, spec, sources)
            return


def _wait_for(lock: IO[str], output: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        logger.info("process %s is making %s: waiting for it to end", lock.read() or "?", output)
        fcntl.flock(lock, fcntl.LOCK_EX)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
