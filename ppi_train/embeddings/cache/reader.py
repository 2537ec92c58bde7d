"""Reading of embedding caches by accession.

A cache is checked when it is opened and never loaded as a whole. It is one Parquet file, a folder of them,
or several such paths; they are read as one and must have been made the same way. The caller decides what
happens with missing proteins; this reader reports them and never invents an embedding.

Residue states come in batches, packed without padding and prefetched. What was read is not kept: the system's
page cache does that, in memory that it gives back when another program needs it, and reading from there costs
no more than copying from a cache of our own (docs/reference/caches.md has the figures).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from ppi_train.data.fasta import sequence_digest
from ppi_train.embeddings.cache import (
    CacheSpec,
    check_recipe,
    digest_of_numbers,
    same_wherever_it_lies,
)
from ppi_train.embeddings.cache.file import CacheFile
from ppi_train.embeddings.cache.residues import (
    ResidueStore,
    chunks,
    mean_residues,
    refuse_not_finite,
)
from ppi_train.errors import CacheError, counted, first_ten
from ppi_train.io.prefetch import Buffers, Job, run_ahead
from ppi_train.io.unavailable import described_by_cause

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Enough that the threads are never idle, few enough to stay in the processor's cache.
_CHUNKS_AHEAD = 4

_BATCHES_AHEAD = 4


class EmbeddingCache:
    """A cache opened for reading.

    Args:
        paths: Parquet files or folders of them.
        memory_mb: Bound, in MiB, on residue states in memory, in addition to the results.

    Raises:
        CacheError: a file is absent, cut short, corrupt, not a cache, or of a newer version, or the
            files were made in different ways.
    """

    def __init__(self, *paths: str | Path, memory_mb: int = 1024) -> None:
        self.memory_mb = memory_mb
        self._files = [CacheFile(path) for path in _expand(paths)]
        self.spec: CacheSpec = self._files[0].spec
        for file in self._files:
            check_recipe(file.spec, self.spec.recipe(), where=file.path)
        self._indexes = [file.read_index() for file in self._files]
        self._digests = pa.chunked_array([chunk for index in self._indexes for chunk in index.digests.chunks])
        self._rows: dict[str, int] = {}
        self._index_proteins()
        self._store = ResidueStore(self._files, self._indexes) if self.spec.granularity == "residue" else None

    def _index_proteins(self) -> None:
        row = 0
        for file, index in zip(self._files, self._indexes, strict=True):
            for protein_id in index.ids:
                first = self._rows.setdefault(protein_id, row)
                if first != row and self._digests[first] != self._digests[row]:
                    raise CacheError(
                        "a protein is in the embedding cache with two sequences",
                        where=file.path,
                        got=protein_id,
                    )
                row += 1

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def proteins(self) -> Collection[str]:
        """The accessions."""
        return self._rows.keys()

    def __contains__(self, protein_id: str) -> bool:
        return protein_id in self._rows

    @cached_property
    def lengths(self) -> Mapping[str, int]:
        """Residues of each protein's full sequence."""
        lengths = np.concatenate([index.lengths for index in self._indexes]).tolist()
        return {protein_id: lengths[row] for protein_id, row in self._rows.items()}

    @property
    def residue_store(self) -> ResidueStore:
        """The residue states by row.

        Raises:
            CacheError: the cache has one vector per protein.
        """
        if self._store is None:
            raise CacheError(
                "the embedding cache has no residues",
                where=self._files[0].path,
                got=f"granularity {self.spec.granularity}",
                expected="granularity residue",
            )
        return self._store

    def rows_of(self, proteins: Sequence[str]) -> np.ndarray:
        """The row of each protein, (n,) int64.

        Raises:
            CacheError: a protein is not in the cache.
        """
        missing = self.missing(proteins)
        if missing:
            raise CacheError(
                f"no embedding for {counted(len(missing), 'protein')}",
                where=self._files[0].path,
                got=first_ten(missing),
                expected="proteins that are in the embedding cache",
            )
        return np.array([self._rows[protein] for protein in proteins], dtype=np.int64)

    @cached_property
    def digest(self) -> str:
        """sha256 of recipe, number format and sequences, from which the numbers were made."""
        formats = sorted({file.spec.dtype for file in self._files})
        recipe = self.spec.recipe() | {"embedder": same_wherever_it_lies(self.spec.embedder)}
        hasher = hashlib.sha256(repr((sorted(recipe.items()), formats)).encode())
        for content in sorted({file.spec.content_digest or "" for file in self._files} - {""}):
            hasher.update(f"imported\t{content}\n".encode())
        digests = self._digests.to_pylist()
        for protein_id in sorted(self._rows):
            hasher.update(f"{protein_id}\t{digests[self._rows[protein_id]]}\n".encode())
        return hasher.hexdigest()

    @cached_property
    def content_digest(self) -> str:
        """sha256 of the numbers themselves, whatever files they are in and in whatever order.

        Vectors are read for it, as fast as the disk gives them.

        Raises:
            CacheError: the numbers of a file are not those that were written.
        """
        files = zip(self._files, self._indexes, strict=True)
        checksums = np.concatenate([file.checksums(index) for file, index in files]).tolist()
        digests = self._digests.to_pylist()
        return digest_of_numbers(
            (protein, digests[row], checksums[row]) for protein, row in self._rows.items()
        )

    @property
    def digests(self) -> dict[str, str]:
        """Digests of how the embeddings were made, and of their numbers."""
        return {"embeddings": self.digest, "embedding_content": self.content_digest}

    @property
    def tags(self) -> dict[str, str]:
        """Tags that identify the embeddings in a run."""
        return {
            "embedder": str(self.spec.embedder["name"]),
            "embedder_run_id": self.spec.embedder_run_id,
            "embedding_cache_digest": self.digest,
            "embedding_content_digest": self.content_digest,
        }

    def missing(self, proteins: Sequence[str]) -> list[str]:
        """The proteins that are not in the cache."""
        return [protein for protein in proteins if protein not in self._rows]

    def sequence_digests(self, proteins: Sequence[str]) -> dict[str, str]:
        """The digest of each protein's sequence, by accession.

        Raises:
            CacheError: a protein is not in the cache.
        """
        found = self._digests.take(pa.array(self.rows_of(proteins))).to_pylist()
        return dict(zip(proteins, found, strict=True))

    def check_sequences(self, sequences: Mapping[str, str]) -> None:
        """Checks that the embedded sequences are those of a FASTA.

        Raises:
            CacheError: a protein has a different sequence.
        """
        changed = [
            protein
            for protein, sequence in sequences.items()
            if protein in self._rows
            and self._digests[self._rows[protein]].as_py() != sequence_digest(sequence)
        ]
        if changed:
            which = f"{counted(len(changed), 'protein')} {'has' if len(changed) == 1 else 'have'}"
            raise CacheError(
                f"{which} another sequence in the FASTA than in the embedding cache",
                where=self._files[0].path,
                got=first_ten(changed),
                remedy="embed the FASTA again, or name the FASTA that the cache was made from",
            )

    def protein_matrix(self, proteins: Sequence[str]) -> np.ndarray:
        """One vector per protein, float32 (n, d); residues are averaged.

        In addition to the result, one row group of vectors or `memory_mb` of residue states is in memory.

        Raises:
            CacheError: a protein is not in the cache, a number is not finite, or bytes are corrupt.
        """
        rows, targets = np.unique(self.rows_of(proteins), return_inverse=True)
        matrix = np.empty((len(rows), self.spec.dimension), dtype=np.float32)
        fill = self._fill_vectors if self._store is None else self._fill_means
        fill(rows, matrix)
        in_order = np.array_equal(targets, np.arange(len(rows)))
        return matrix if in_order else matrix[targets]

    def _fill_vectors(self, rows: np.ndarray, matrix: np.ndarray) -> None:
        """Reads vectors by row group; `rows` are ascending."""
        first = 0
        for file, index in zip(self._files, self._indexes, strict=True):
            starts = file.group_starts() + first
            cuts = np.searchsorted(rows, starts)
            for group in np.flatnonzero(np.diff(cuts)).tolist():
                wanted = slice(cuts[group], cuts[group + 1])
                matrix[wanted] = file.vectors(group)[rows[wanted] - starts[group]]
                broken = np.flatnonzero(~np.isfinite(matrix[wanted]).all(axis=1))
                if len(broken):
                    refuse_not_finite(file, [index.ids[row - first] for row in rows[wanted][broken]])
            first += len(index.ids)

    def _fill_means(self, rows: np.ndarray, matrix: np.ndarray) -> None:
        """Averages each protein's residues in the background; `rows` are ascending."""
        store = self.residue_store
        sizes = store.sizes[rows]
        buffers = Buffers(2 * store.chunk_bytes)

        def job(chunk: slice) -> Job[None]:
            def average() -> None:
                proteins = self._read_states(rows[chunk], buffers)
                for row, states in zip(range(chunk.start, chunk.stop), proteins, strict=True):
                    matrix[row] = mean_residues(states)

            return Job(None, [average], buffers.held(int(sizes[chunk].sum())))

        for _ in self._run_ahead(map(job, chunks(sizes, store.chunk_bytes))):
            pass

    def residues(self, proteins: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Yields (accession, residue states (L, d)) in cache order.

        Raises:
            CacheError: the cache has one vector per protein, or lacks one of the proteins; a number is
                not finite, or bytes are corrupt.
        """
        store = self.residue_store
        rows = self.rows_of(proteins)
        order = np.argsort(rows, kind="stable")
        sizes = store.sizes[rows[order]]
        buffers = Buffers(2 * store.chunk_bytes)

        def job(chunk: slice) -> Job[list[np.ndarray]]:
            states: list[np.ndarray] = []

            def read() -> None:
                states.extend(self._read_states(rows[order[chunk]], buffers))

            nbytes = buffers.held(int(sizes[chunk].sum()))
            return Job(states, [read], nbytes, quick=store.is_at_hand(int(rows[order[chunk]][-1])))

        names = iter(order.tolist())
        for batch in self._run_ahead(map(job, chunks(sizes, store.chunk_bytes))):
            for states in batch:
                yield proteins[next(names)], states

    def _read_states(self, rows: np.ndarray, buffers: Buffers) -> list[np.ndarray]:
        """The residue states (L, d) of each of some ascending rows."""
        store = self.residue_store
        sizes = store.sizes[rows]
        ends = np.cumsum(sizes)
        content = buffers.take(int(ends[-1]))
        store.read(rows, content, ends - sizes)
        values = content.view(self.spec.values).reshape(-1, self.spec.dimension)
        width = self.spec.dimension * self.spec.values.itemsize
        return np.split(values, ends[:-1] // width)

    def _run_ahead(self, jobs: Iterable[Job[T]]) -> Iterator[T]:
        return run_ahead(jobs, limit=self.memory_mb << 20, depth=_CHUNKS_AHEAD)


def _expand(paths: Sequence[str | Path]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        with described_by_cause(path):
            if path.is_dir():
                next(path.iterdir(), None)  # `glob` passes over a folder that may not be listed
        files += sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise CacheError(
            "the folder holds no embedding cache",
            where=", ".join(str(Path(path).absolute()) for path in paths),
            expected="*.parquet files",
        )
    return files


def describe_cache(cache: EmbeddingCache) -> dict[str, Any]:
    """The description of a training cache that a checkpoint keeps."""
    return {
        "recipe": cache.spec.recipe(),
        "dtype": cache.spec.dtype,
        "digest": cache.digest,
        "content_digest": cache.content_digest,
    }


def has_other_numbers(cache: EmbeddingCache, described: Mapping[str, Any]) -> bool:
    """Whether a cache was made like that of a training, from the same sequences, but has other numbers.

    Args:
        cache: The cache in use.
        described: What `describe_cache` said of the cache of the training; older checkpoints have no digest
            of the numbers.
    """
    trained_on = described.get("content_digest")
    if not trained_on or described.get("digest") != cache.digest:
        return False
    return bool(trained_on != cache.content_digest)


def warn_of_other_numbers(cache: EmbeddingCache, described: Mapping[str, Any]) -> None:
    """Warns if a cache was made like that of a training, but has other numbers.

    They may differ in their last digits only, if both were made on different hardware.
    """
    if has_other_numbers(cache, described):
        logger.warning(
            "THE EMBEDDINGS ARE NOT THOSE THAT THE MODEL WAS TRAINED ON: the cache was made in the same way "
            "from the same sequences, but its numbers have the digest %s, and those of the training had %s "
            "(ppi.embedding_content_digest); the results cannot be compared, unless both were made on "
            "different hardware and differ in the last digits only",
            cache.content_digest[:12], described["content_digest"][:12],
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PackedResidues:
    """The residue states of several proteins, one protein after the other.

    Attributes:
        proteins: The distinct proteins of the batch, in the order in which they were first named.
        states: (sum of their lengths, d), in the number format of the cache.
        offsets: (n + 1,) int64: protein i has the rows offsets[i] to offsets[i + 1].
    """

    proteins: tuple[str, ...]
    states: np.ndarray
    offsets: np.ndarray


class ResidueBatches:
    """Iterable over the packed residues of batches of proteins.

    It can be iterated over again if `batches` can.

    Args:
        cache: A cache of granularity `residue`.
        batches: The accessions of each batch. A protein that is repeated in a batch is read once.
        memory_mb: Bound on what is read ahead together with the batch in use; one batch is always
            read, even a larger one. None for the cache's own bound.

    Raises:
        CacheError: the cache has no residues; in iterating: it lacks a protein, a file is damaged,
            a number is not finite.
    """

    def __init__(
        self, cache: EmbeddingCache, batches: Iterable[Sequence[str]], *, memory_mb: int | None = None
    ) -> None:
        self._cache = cache
        self._store = cache.residue_store
        self._batches = batches
        self._limit = (memory_mb or cache.memory_mb) << 20

    def __iter__(self) -> Iterator[PackedResidues]:
        job = partial(self._job, Buffers(grows=True))
        return run_ahead(map(job, self._batches), limit=self._limit, depth=_BATCHES_AHEAD)

    def _job(self, buffers: Buffers, batch: Sequence[str]) -> Job[PackedResidues]:
        proteins = tuple(dict.fromkeys(batch))
        rows = self._cache.rows_of(proteins)
        sizes = self._store.sizes[rows]
        ends = np.cumsum(sizes)
        content = buffers.take(int(sizes.sum()))
        order = np.argsort(rows)
        parts = [
            partial(self._store.read, rows[order[chunk]], content, (ends - sizes)[order[chunk]])
            for chunk in chunks(sizes[order], self._store.chunk_bytes)
        ]
        spec = self._cache.spec
        states = content.view(spec.values).reshape(-1, spec.dimension)
        offsets = np.concatenate([[0], ends // (spec.dimension * spec.values.itemsize)])
        packed = PackedResidues(proteins=proteins, states=states, offsets=offsets)
        return Job(packed, parts, buffers.held(content.nbytes))
