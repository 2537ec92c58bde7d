"""Makes an embedding cache: what there is to embed, what is taken over, in which chunks and parts.

Sequences are embedded longest first, in chunks that follow from the sequences and the settings alone,
so that an interrupted and continued run embeds the very batches of one that was not. How many chunks
make a part on disk follows from the time they take, which the finished cache does not show.
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

from ppi_train.data.cache_format import CacheSpec
from ppi_train.data.cache_parts import CacheParts, held_parts
from ppi_train.data.cache_sources import CacheSources
from ppi_train.data.disk_space import disk_space, free_bytes
from ppi_train.data.embedding_cache import EmbeddingCache
from ppi_train.data.fasta import SequenceTable, sequence_digest
from ppi_train.data.nucleotides import refuse_nucleotides
from ppi_train.embedders.base import Embedder
from ppi_train.embedders.truncation import truncate
from ppi_train.errors import CacheError, ConfigError
from ppi_train.training.progress import Progress

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Given to the embedder at once: some thousand residues more make no embedder faster.
CHUNK_RESIDUES = 32_768
# Of embeddings in memory, as float32: those of one chunk, or those that are copied at once.
MEMORY_BYTES = 256_000_000
# A kill loses at most this, and the chunk at work.
PART_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class EmbeddingCounts:
    """What was done for a cache.

    Attributes:
        proteins: Accessions in it.
        embedded: Distinct sequences that were embedded.
        reused: Distinct sequences that were there: in an earlier cache, or from before an interruption.
        residues: Of the sequences embedded.
        seconds: In all.
        embedding_seconds: For embedding alone.
    """

    proteins: int
    embedded: int = 0
    reused: int = 0
    residues: int = 0
    seconds: float = 0.0
    embedding_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Sequence:
    """A distinct sequence: who has it first, what is embedded of it, and its full length."""

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
    """Makes the cache of the sequences at `path`, sorted by accession: the same bytes for the same input.

    One process at a time; another one waits, and takes the cache that it finds.

    Args:
        path: The cache; beside it lie the finished parts until it is whole.
        table: The sequences.
        embedder: Makes what is not there yet.
        spec: What the cache says of itself.
        earlier: Caches from which sequences are taken over, if they are of the same recipe.
        overwrite: Replace a cache that is there.

    Raises:
        DataError: the sequences are DNA, or one is longer than the settings allow.
        ConfigError: there is another cache at `path`, and it is not to be overwritten.
        StorageError: the disk is full; finished parts are kept, and the next call goes on from them.
    """
    started = time.perf_counter()
    refuse_nucleotides(table)
    work = _Work(path, table, embedder, spec)
    with (
        disk_space(path, lambda: work.bytes_left, kept=lambda: work.kept),
        held_parts(path, spec, work.sources) as parts,
    ):
        if path.exists() and not overwrite:
            _require_same(path, spec)
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


def _require_same(path: Path, spec: CacheSpec) -> None:
    if EmbeddingCache(path).spec != spec:
        raise output_exists(path)


def output_exists(path: Path) -> ConfigError:
    """The refusal to replace a file."""
    return ConfigError(
        "the output exists", where=path.absolute(), remedy="give another output, or overwrite=true"
    )


class _Work:
    """The sequences of one cache, and where the embedding of each is by now."""

    def __init__(self, path: Path, table: SequenceTable, embedder: Embedder, spec: CacheSpec) -> None:
        self._path, self._table, self._embedder, self._spec = path, table, embedder, spec
        self._digest_of = {one: sequence_digest(text) for one, text in table.sequences.items()}
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
        """Finds what is there: parts of this cache, then sequences of earlier ones."""
        parts.take_up(self.distinct)
        continued = sum(one in self.sources for one in self.distinct)
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
        except CacheError as error:
            logger.warning("nothing is taken over from %s: %s", path, error.what)
            return
        if taken:
            self._taken_over.update(taken)
            logger.info("%s sequences taken over from %s", f"{len(taken):,}", path)

    def embed(self, parts: CacheParts) -> None:
        """Embeds what is in no source, part by part."""
        left = [one for one in self.distinct.values() if one.digest not in self._taken_over]
        # Cut before what an interrupted process has finished is left out: the same chunks as its own.
        chunks = _chunks(left, self._memory, residues=lambda one: len(one.kept))
        pending = deque(
            some for chunk in chunks if (some := [one for one in chunk if one.digest not in self.sources])
        )
        total, todo = (sum(len(one.kept) for one in some) for some in (left, chain(*pending)))
        started = time.perf_counter()
        with Progress(total, done=total - todo, unit="residue") as progress:
            while pending:
                self._write_part(parts, pending, progress)
        self._embedding_seconds = time.perf_counter() - started

    def _write_part(self, parts: CacheParts, pending: deque[list[_Sequence]], progress: Progress) -> None:
        try:
            parts.write(self._rows_of_a_part(pending, progress))
        except CacheError as error:
            # A part knows a sequence by its digest alone, which tells the user nothing.
            one = self.distinct.get(str(error.where))
            raise error.at(one.accession if one else error.where) from None

    def _rows_of_a_part(
        self, pending: deque[list[_Sequence]], progress: Progress
    ) -> Iterator[tuple[str, int, np.ndarray]]:
        """Embeds chunks, and takes them off the queue, for as long as a part lasts; at least one."""
        ends = time.perf_counter() + PART_SECONDS
        while True:
            chunk = pending.popleft()
            embeddings = self._embedder.embed([one.kept for one in chunk])
            for one, embedding in zip(chunk, embeddings, strict=True):
                yield one.digest, one.length, embedding
            del embeddings, embedding  # or two chunks would be in memory
            residues = sum(len(one.kept) for one in chunk)
            self._embedded += len(chunk)
            self._residues += residues
            progress.advance(residues)
            if not pending or time.perf_counter() >= ends:
                return

    def assemble(self, parts: CacheParts) -> None:
        """Writes the whole cache from parts and earlier caches, in the order of the accessions."""
        with Progress(len(self._digest_of), unit="protein") as progress:
            parts.finish(self._rows(progress))

    def _rows(self, progress: Progress) -> Iterator[tuple[str, str, int, np.ndarray]]:
        accessions = sorted(self._digest_of)
        for block in _chunks(accessions, lambda one: self._memory(self.distinct[self._digest_of[one]])):
            embeddings = dict(self.sources.fetch({self._digest_of[one]: None for one in block}))
            for accession in block:
                digest = self._digest_of[accession]
                yield accession, digest, self.distinct[digest].length, embeddings[digest]
            embeddings.clear()  # or two blocks would be in memory
            progress.advance(len(block))

    def _memory(self, one: _Sequence) -> int:
        """Bytes of an embedding in memory."""
        rows = len(one.kept) if self._spec.granularity == "residue" else 1
        return rows * self._spec.dimension * np.dtype(np.float32).itemsize

    @property
    def bytes_left(self) -> int:
        """What is still to be written: the sequences left, and then the whole cache beside the parts."""
        left = sum(self._memory(one) for one in self.distinct.values() if one.digest not in self.sources)
        whole = sum(self._memory(self.distinct[digest]) for digest in self._digest_of.values())
        return (left + whole) * np.dtype(self._spec.dtype).itemsize // np.dtype(np.float32).itemsize

    @property
    def kept(self) -> str:
        done = sum(one in self.sources for one in self.distinct)
        return f"{done:,} of {len(self.distinct):,} sequences are embedded, and kept beside the output"

    def counts(self, seconds: float) -> EmbeddingCounts:
        return EmbeddingCounts(
            proteins=len(self._digest_of),
            embedded=self._embedded,
            reused=len(self.distinct) - self._embedded,
            residues=self._residues,
            seconds=seconds,
            embedding_seconds=self._embedding_seconds,
        )


def _chunks(
    items: Sequence[T], memory: Callable[[T], int], *, residues: Callable[[T], int] = lambda _: 0
) -> Iterator[list[T]]:
    """Cuts a sequence so that no chunk passes a bound, unless it is a single item."""
    chunk: list[T] = []
    held_bytes = held_residues = 0
    for one in items:
        held_bytes += memory(one)
        held_residues += residues(one)
        if chunk and (held_bytes > MEMORY_BYTES or held_residues > CHUNK_RESIDUES):
            yield chunk
            chunk, held_bytes, held_residues = [], memory(one), residues(one)
        chunk.append(one)
    if chunk:
        yield chunk
