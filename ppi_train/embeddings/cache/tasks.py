"""The numbered tasks of embedding, which any worker may do.

The sequences to embed are cut into chunks by the sequences and the settings alone, and chunks into tasks by a
rule, so that the same batches are embedded by any workers in any order. A plan lists the sequences by task in
a file that workers read; what a task makes is a part: a small cache that is named by the number of the task
and the sha256 of its bytes. It is put in place whole, so that a worker may end at any moment.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ppi_train.embeddings.cache import METADATA_KEY, CacheSpec, spec_from_json
from ppi_train.embeddings.cache.file import CacheWriter
from ppi_train.errors import CacheError
from ppi_train.io.files import file_digest

if TYPE_CHECKING:
    from ppi_train.embeddings.embedders.base import Embedder

T = TypeVar("T")

# Given to the embedder at once: larger chunks make no embedder faster.
CHUNK_RESIDUES = 32_768
# Bound on the float32 embeddings in memory: those of one chunk, or those that are copied at once.
MEMORY_BYTES = 256_000_000
# A task is one chunk, or more where there would be more tasks than this: each makes a file.
MOST_TASKS = 512
_NUMBERS_KEY = b"ppi_train.task_numbers"
_PLAN = pa.schema(
    [
        pa.field("sequence_digest", pa.string(), nullable=False),
        pa.field("length", pa.int32(), nullable=False),
        pa.field("chunk", pa.int32(), nullable=False),
        pa.field("residues", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class DistinctSequence:
    """A sequence to embed.

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


Chunk = list[DistinctSequence]


@dataclass(frozen=True)
class EmbedJob:
    """What the tasks of a cache share.

    Attributes:
        plan: The file with the sequences by task; the parts are put next to it.
        digest: sha256 of the file.
        make: Makes the embedder.
    """

    plan: Path
    digest: str
    make: Callable[[], Embedder]


def embed_task(job: EmbedJob, number: int) -> str:
    """Embeds the sequences of a task.

    Returns:
        The name of the part.

    Raises:
        CacheError: the plan is not the one of the job, or an embedding cannot be stored; `where` is then the
            digest of its sequence.
    """
    plan, embedder = _opened(job)
    folder = job.plan.parent
    # Unique: another worker may do the same task, if this one seemed to be lost.
    unfinished = folder / f"{number:06d}.{secrets.token_hex(6)}.unfinished"
    with CacheWriter(unfinished, plan.spec) as writer:
        for digests, lengths, sequences in plan.chunks(number):
            embeddings = embedder.embed(sequences)
            for digest, length, embedding in zip(digests, lengths, embeddings, strict=True):
                writer.add(digest, digest, length, embedding)
            del embeddings, embedding  # otherwise two chunks would be in memory
    return unfinished.rename(folder / f"{number:06d}-{file_digest(unfinished)}.parquet").name


@lru_cache(maxsize=1)
def _opened(job: EmbedJob) -> tuple[Plan, Embedder]:
    """The plan and the embedder of a job, which a process opens once."""
    return Plan(job.plan, job.digest), job.make()


def forget_embedder() -> None:
    """Lets go of the embedder that the last task in this process used."""
    _opened.cache_clear()


class Plan:
    """The sequences of each task, read task by task.

    Args:
        path: The file.
        digest: Its sha256.

    Raises:
        CacheError: the file is another one.
    """

    def __init__(self, path: Path, digest: str) -> None:
        found = file_digest(path)
        if found != digest:
            raise CacheError(
                "the plan of the embedding is not the one that was written",
                where=path,
                got=f"sha256 {found[:12]}",
                expected=f"sha256 {digest[:12]}",
                remedy="give the command again where no other program writes into this folder",
            )
        self._file = pq.ParquetFile(path)
        metadata = self._file.schema_arrow.metadata
        self.spec = spec_from_json(metadata[METADATA_KEY], where=path)
        self._group_of = {
            number: group for group, number in enumerate(json.loads(metadata[_NUMBERS_KEY].decode()))
        }

    def chunks(self, number: int) -> Iterator[tuple[list[str], list[int], list[str]]]:
        """The digests, full lengths and residues of each chunk of a task."""
        rows = self._file.read_row_group(self._group_of[number])
        chunks = np.array(rows["chunk"].to_pylist())
        starts = [0, *(np.flatnonzero(np.diff(chunks)) + 1).tolist()]
        for start, end in zip(starts, [*starts[1:], len(chunks)], strict=True):
            chunk = rows.slice(start, end - start)
            digests, lengths, residues = (
                chunk[name].to_pylist() for name in ("sequence_digest", "length", "residues")
            )
            yield digests, lengths, residues


def write_plan(folder: Path, spec: CacheSpec, tasks: Mapping[int, Sequence[Chunk]]) -> tuple[Path, str]:
    """Writes the sequences of each task into a file that is named by its content.

    Args:
        folder: Of the parts.
        spec: What each part is to say of itself.
        tasks: The chunks of each task, by its number.

    Returns:
        The path and the sha256 of the file.
    """
    metadata = {METADATA_KEY: spec.to_json().encode(), _NUMBERS_KEY: json.dumps(list(tasks)).encode()}
    schema = _PLAN.with_metadata(metadata)
    for path in folder.glob("plan-*"):
        path.unlink()  # of an interrupted process
    unfinished = folder / f"plan.{secrets.token_hex(6)}.unfinished"
    with pq.ParquetWriter(unfinished, schema, use_dictionary=False, write_statistics=False) as writer:
        for chunks in tasks.values():
            rows = [
                (sequence.digest, sequence.length, number, sequence.kept)
                for number, chunk in enumerate(chunks)
                for sequence in chunk
            ]
            columns = [
                pa.array(values, field.type)
                for values, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=len(rows))
    digest = file_digest(unfinished)
    return unfinished.rename(folder / f"plan-{digest}"), digest


def tasks_of(chunks: Sequence[Chunk]) -> dict[int, list[Chunk]]:
    """Deals chunks in order to at most MOST_TASKS tasks, numbered from 0."""
    size = max(1, -(-len(chunks) // MOST_TASKS))
    return {start // size: list(chunks[start : start + size]) for start in range(0, len(chunks), size)}


def cut_into_chunks(
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
