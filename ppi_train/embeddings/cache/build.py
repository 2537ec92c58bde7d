"""Building of an embedding cache.

Sequences that earlier caches have are copied; the others are embedded longest first, in chunks that depend on
the sequences and the settings alone, so that an interrupted and continued run embeds the same batches as an
uninterrupted one. How many chunks make a part on disk depends on the time they take; the finished cache does
not depend on it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from ppi_train.data.fasta import SequenceTable, refuse_nucleotides, sequence_digest
from ppi_train.embeddings.cache import CacheSpec
from ppi_train.embeddings.cache.parts import CacheParts, CacheSources, held_parts
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.embeddings.embedders.base import Embedder, truncate
from ppi_train.errors import CacheError
from ppi_train.io.files import disk_space, free_bytes, output_exists_error
from ppi_train.io.progress import Progress
from ppi_train.io.unavailable import UnavailableError

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Given to the embedder at once: larger chunks make no embedder faster.
CHUNK_RESIDUES = 32_768
# Bound on the float32 embeddings in memory: those of one chunk, or those that are copied at once.
MEMORY_BYTES = 256_000_000
# A killed process loses at most this much work, and the current chunk.
PART_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class EmbeddingCounts:
    """Counts and times of making a cache.

    Attributes:
        proteins: Accessions in it.
        embedded: Distinct sequences that were embedded.
        reused: Distinct sequences found in an earlier cache, or embedded before an interruption.
        residues: Number of residues that were embedded.
        seconds: Total time.
        embedding_seconds: Time of the embedding alone.
    """

    proteins: int
    embedded: int = 0
    reused: int = 0
    residues: int = 0
    seconds: float = 0.0
    embedding_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Sequence:
    """A distinct sequence.

    Attributes:
        accession: The first protein that has it.
        digest: Of the full sequence.
        kept: The part that is embedded.
        length: Of the full sequence.
    """

    accession: str
    digest: str
    kept: str
    length: int


def make_cache(
    path: Path,
    table: SequenceTable,
    embedder: Embedder,
    spec: CacheSpec,
    *,
    earlier: Iterable[Path] = (),
    overwrite: bool = False,
) -> EmbeddingCounts:
    """Makes the embedding cache of the sequences at `path`, sorted by accession.

    The same input gives the same bytes. Only one process at a time makes it; another process waits, and then
    uses the cache that it finds.

    Args:
        path: The cache; the finished parts are next to it until it is complete.
        table: The sequences.
        embedder: Embeds the sequences that no earlier cache has.
        spec: The description that the cache stores.
        earlier: Caches from which sequences are taken over, if they have the same recipe.
        overwrite: Replace an existing cache.

    Raises:
        DataError: the sequences are DNA, or one is longer than the settings allow.
        ConfigError: there is another cache at `path`, and `overwrite` is false.
        StorageError: the disk is full; finished parts are kept, and the next call continues from them.
    """
    started = time.perf_counter()
    refuse_nucleotides(table)
    work = _Work(path, table, embedder, spec)
    with (
        disk_space(path, lambda: work.bytes_left, kept=lambda: work.kept),
        held_parts(path, spec, work.sources) as parts,
    ):
        if path.exists() and not overwrite:
            if EmbeddingCache(path).spec != spec:
                raise output_exists_error(path)
            parts.discard()
            logger.info("embedding cache found: %s", path)
            return EmbeddingCounts(proteins=len(table.sequences), reused=len(work.distinct))
        work.collect(parts, earlier)
        work.embed(parts)
        work.assemble(parts)
    counts = work.counts(time.perf_counter() - started)
    logger.info(
        "%s proteins in %.1f s, %s sequences embedded, %s taken over: %s",
        f"{counts.proteins:,}", counts.seconds, f"{counts.embedded:,}", f"{counts.reused:,}", path,
    )  # fmt: skip
    return counts


class _Work:
    """The sequences of one cache, and the state of their embedding."""

    def __init__(self, path: Path, table: SequenceTable, embedder: Embedder, spec: CacheSpec) -> None:
        self._path, self._table, self._embedder, self._spec = path, table, embedder, spec
        self._digest_of = {accession: sequence_digest(text) for accession, text in table.sequences.items()}
        self.distinct = self._distinct()
        self.sources = CacheSources(spec)
        self._taken_over: set[str] = set()
        self._embedded = self._residues = 0
        self._embedding_seconds = 0.0

    def _distinct(self) -> dict[str, _Sequence]:
        """The sequences by digest, longest first."""
        found: dict[str, _Sequence] = {}
        for accession, full in self._table.sequences.items():
            digest = self._digest_of[accession]
            if digest not in found:
                kept = truncate(
                    accession, full, max_length=self._spec.max_length, truncation=self._spec.truncation
                )
                found[digest] = _Sequence(accession, digest, kept, len(full))
        return dict(sorted(found.items(), key=lambda item: (-len(item[1].kept), item[0])))

    def collect(self, parts: CacheParts, earlier: Iterable[Path]) -> None:
        """Finds existing embeddings: parts of this cache, then earlier caches."""
        parts.take_up(self.distinct)
        continued = sum(digest in self.sources for digest in self.distinct)
        if continued:
            logger.info(
                "going on: %s of %s sequences are embedded", f"{continued:,}", f"{len(self.distinct):,}"
            )
        for path in earlier:
            self._take_over(path)
        left, free = self.bytes_left, free_bytes(self._path)
        if left > free:
            logger.warning(
                "about %s MB are to be written and %s MB are free: %s",
                f"{left / 1e6:,.1f}", f"{free / 1e6:,.1f}", self._path.absolute().parent,
            )  # fmt: skip

    def _take_over(self, path: Path) -> None:
        try:
            taken = self.sources.take(path, self.distinct)
        except (CacheError, UnavailableError) as error:
            logger.warning("nothing is taken over from %s: %s (%s)", path, error.what, error.got)
            return
        if taken:
            self._taken_over.update(taken)
            logger.info("%s sequences taken over from %s", f"{len(taken):,}", path)

    def embed(self, parts: CacheParts) -> None:
        """Embeds the sequences that no source has, part by part."""
        left = [sequence for sequence in self.distinct.values() if sequence.digest not in self._taken_over]
        # Cut before leaving out what an interrupted process has finished, to get the same chunks as it had.
        chunks = _chunks(left, self._memory, residues=lambda sequence: len(sequence.kept))
        missing = (
            [sequence for sequence in chunk if sequence.digest not in self.sources] for chunk in chunks
        )
        pending = deque(chunk for chunk in missing if chunk)
        total, todo = (_residues(sequences) for sequences in (left, chain(*pending)))
        started = time.perf_counter()
        with Progress(total, done=total - todo, unit="residue") as progress:
            while pending:
                self._write_part(parts, pending, progress)
        self._embedding_seconds = time.perf_counter() - started

    def _write_part(self, parts: CacheParts, pending: deque[list[_Sequence]], progress: Progress) -> None:
        try:
            parts.write(self._rows_of_a_part(pending, progress))
        except CacheError as error:
            # A part names a sequence by its digest, which means nothing to the user.
            sequence = self.distinct.get(str(error.where))
            raise error.at(sequence.accession if sequence else error.where) from None

    def _rows_of_a_part(
        self, pending: deque[list[_Sequence]], progress: Progress
    ) -> Iterator[tuple[str, int, np.ndarray]]:
        """Embeds chunks off the queue until the part's time is used up.

        A part has at least one chunk.
        """
        ends = time.perf_counter() + PART_SECONDS
        while True:
            chunk = pending.popleft()
            embeddings = self._embedder.embed([sequence.kept for sequence in chunk])
            for sequence, embedding in zip(chunk, embeddings, strict=True):
                yield sequence.digest, sequence.length, embedding
            del embeddings, embedding  # otherwise two chunks would be in memory
            residues = _residues(chunk)
            self._embedded += len(chunk)
            self._residues += residues
            progress.advance(residues)
            if not pending or time.perf_counter() >= ends:
                return

    def assemble(self, parts: CacheParts) -> None:
        """Writes the cache from parts and earlier caches, sorted by accession."""
        with Progress(len(self._digest_of), unit="protein") as progress:
            parts.finish(self._rows(progress))

    def _rows(self, progress: Progress) -> Iterator[tuple[str, str, int, np.ndarray]]:
        accessions = sorted(self._digest_of)
        for block in _chunks(accessions, self._memory_of):
            embeddings = dict(self.sources.fetch({self._digest_of[accession]: None for accession in block}))
            for accession in block:
                digest = self._digest_of[accession]
                yield accession, digest, self.distinct[digest].length, embeddings[digest]
            embeddings.clear()  # otherwise two blocks would be in memory
            progress.advance(len(block))

    def _memory_of(self, accession: str) -> int:
        return self._memory(self.distinct[self._digest_of[accession]])

    def _memory(self, sequence: _Sequence) -> int:
        """Bytes of an embedding in memory."""
        rows = len(sequence.kept) if self._spec.granularity == "residue" else 1
        return rows * self._spec.dimension * np.dtype(np.float32).itemsize

    @property
    def bytes_left(self) -> int:
        """Bytes still to be written: the remaining parts and the whole cache."""
        left = sum(
            self._memory(sequence)
            for sequence in self.distinct.values()
            if sequence.digest not in self.sources
        )
        whole = sum(self._memory_of(accession) for accession in self._digest_of)
        return (left + whole) * np.dtype(self._spec.dtype).itemsize // np.dtype(np.float32).itemsize

    @property
    def kept(self) -> str:
        done = sum(digest in self.sources for digest in self.distinct)
        return f"{done:,} of {len(self.distinct):,} sequences are embedded, and kept next to the output"

    def counts(self, seconds: float) -> EmbeddingCounts:
        return EmbeddingCounts(
            proteins=len(self._digest_of),
            embedded=self._embedded,
            reused=len(self.distinct) - self._embedded,
            residues=self._residues,
            seconds=seconds,
            embedding_seconds=self._embedding_seconds,
        )


def _residues(sequences: Iterable[_Sequence]) -> int:
    return sum(len(sequence.kept) for sequence in sequences)


def _chunks(
    items: Sequence[T], memory: Callable[[T], int], *, residues: Callable[[T], int] = lambda _: 0
) -> Iterator[list[T]]:
    """Cuts items into chunks within the bounds on memory and residues.

    Only a chunk of a single item may exceed a bound.
    """
    chunk: list[T] = []
    chunk_bytes = chunk_residues = 0
    for item in items:
        chunk_bytes += memory(item)
        chunk_residues += residues(item)
        if chunk and (chunk_bytes > MEMORY_BYTES or chunk_residues > CHUNK_RESIDUES):
            yield chunk
            chunk, chunk_bytes, chunk_residues = [], memory(item), residues(item)
        chunk.append(item)
    if chunk:
        yield chunk
