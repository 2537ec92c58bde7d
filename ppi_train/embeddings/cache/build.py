"""Building of an embedding cache.

Sequences that earlier caches have are copied; the others are embedded longest first, as tasks of a pool, so
that an interrupted and continued run embeds the same batches as an uninterrupted one, by any
number of workers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from ppi_train.data.fasta import SequenceTable, refuse_nucleotides, sequence_digest
from ppi_train.embeddings.cache import CacheSpec
from ppi_train.embeddings.cache.parts import CacheParts, CacheSources, held_parts
from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.embeddings.cache.tasks import (
    DistinctSequence,
    EmbedJob,
    cut_into_chunks,
    embed_task,
    forget_embedder,
    tasks_of,
)
from ppi_train.embeddings.embedders.base import Embedder, truncate
from ppi_train.errors import CacheError
from ppi_train.io.files import disk_space, free_bytes, output_exists_error
from ppi_train.io.progress import Progress
from ppi_train.io.unavailable import UnavailableError
from ppi_train.parallel.pool import LocalPool, Pool, check_files_visible

logger = logging.getLogger(__name__)


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


def make_cache(
    path: Path,
    table: SequenceTable,
    embedder: Embedder,
    spec: CacheSpec,
    *,
    earlier: Iterable[Path] = (),
    overwrite: bool = False,
    pool: Pool | None = None,
    make: Callable[[], Embedder] | None = None,
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
        pool: Does the work; None: this process.
        make: Makes the embedder in a worker of the pool, and can be pickled and hashed; not needed in this
            process.

    Raises:
        DataError: the sequences are DNA, or one is longer than the settings allow.
        ConfigError: there is another cache at `path`, and `overwrite` is false.
        StorageError: the disk is full; finished parts are kept, and the next call continues from them.
        ClusterError: a worker does not see the folder of the cache, or cannot be used.
    """
    started = time.perf_counter()
    refuse_nucleotides(table)
    work = _Work(path, table, spec)
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
        if pool is None or not pool.remote:
            pool, make = LocalPool(), lambda: embedder
        assert make, "a remote pool needs something that makes the embedder there"
        work.embed(parts, pool, make)
        work.assemble(parts)
    counts = work.counts(time.perf_counter() - started)
    logger.info(
        "%s proteins in %.1f s, %s sequences embedded, %s taken over: %s",
        f"{counts.proteins:,}", counts.seconds, f"{counts.embedded:,}", f"{counts.reused:,}", path,
    )  # fmt: skip
    return counts


class _Work:
    """The sequences of one cache, and the state of their embedding."""

    def __init__(self, path: Path, table: SequenceTable, spec: CacheSpec) -> None:
        self._path, self._table, self._spec = path, table, spec
        self._digest_of = {accession: sequence_digest(text) for accession, text in table.sequences.items()}
        self.distinct = self._distinct()
        self.sources = CacheSources(spec)
        self._taken_over: set[str] = set()
        self._embedded = self._residues = 0
        self._embedding_seconds = 0.0

    def _distinct(self) -> dict[str, DistinctSequence]:
        """The sequences by digest, longest first."""
        found: dict[str, DistinctSequence] = {}
        for accession, full in self._table.sequences.items():
            digest = self._digest_of[accession]
            if digest not in found:
                kept = truncate(
                    accession, full, max_length=self._spec.max_length, truncation=self._spec.truncation
                )
                found[digest] = DistinctSequence(accession, digest, kept, len(full))
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

    def embed(self, parts: CacheParts, pool: Pool, make: Callable[[], Embedder]) -> None:
        """Embeds the sequences that no source has, task by task."""
        left = [sequence for sequence in self.distinct.values() if sequence.digest not in self._taken_over]
        # Cut before leaving out what an interrupted process has finished, to get the same chunks as it had.
        chunks = list(cut_into_chunks(left, self._memory, residues=lambda sequence: len(sequence.kept)))
        tasks = {
            number: missing
            for number, task in tasks_of(chunks).items()
            if (missing := [kept for chunk in task if (kept := self._missing(chunk))])
        }
        if not tasks:
            return
        total, todo = _residues(left), sum(_residues(chain(*task)) for task in tasks.values())
        plan, digest = parts.write_plan(tasks)
        check_files_visible(pool, [plan])
        started = time.perf_counter()
        try:
            with Progress(total, done=total - todo, unit="residue") as progress:
                for number, name in pool.run(embed_task, EmbedJob(plan, digest, make), tasks):
                    sequences = list(chain(*tasks[number]))
                    parts.add(name, [sequence.digest for sequence in sequences])
                    self._embedded += len(sequences)
                    self._residues += _residues(sequences)
                    progress.advance(_residues(sequences))
            pool.everywhere(forget_embedder)
        except CacheError as error:
            # A part names a sequence by its digest, which means nothing to the user.
            sequence = self.distinct.get(str(error.where))
            raise error.at(sequence.accession if sequence else error.where) from None
        finally:
            forget_embedder()
        self._embedding_seconds = time.perf_counter() - started

    def _missing(self, chunk: Iterable[DistinctSequence]) -> list[DistinctSequence]:
        return [sequence for sequence in chunk if sequence.digest not in self.sources]

    def assemble(self, parts: CacheParts) -> None:
        """Writes the cache from parts and earlier caches, sorted by accession."""
        with Progress(len(self._digest_of), unit="protein") as progress:
            parts.finish(self._rows(progress))

    def _rows(self, progress: Progress) -> Iterator[tuple[str, str, int, np.ndarray]]:
        accessions = sorted(self._digest_of)
        for block in cut_into_chunks(accessions, self._memory_of):
            embeddings = dict(self.sources.fetch({self._digest_of[accession]: None for accession in block}))
            for accession in block:
                digest = self._digest_of[accession]
                yield accession, digest, self.distinct[digest].length, embeddings[digest]
            embeddings.clear()  # otherwise two blocks would be in memory
            progress.advance(len(block))

    def _memory_of(self, accession: str) -> int:
        return self._memory(self.distinct[self._digest_of[accession]])

    def _memory(self, sequence: DistinctSequence) -> int:
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


def _residues(sequences: Iterable[DistinctSequence]) -> int:
    return sum(len(sequence.kept) for sequence in sequences)
