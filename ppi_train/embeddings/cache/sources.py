"""Existing embeddings by sequence, found in other caches of the same recipe.

The accession under which a cache has a sequence does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow.parquet as pq

from ppi_train.embeddings.cache.reader import EmbeddingCache
from ppi_train.embeddings.cache.spec import METADATA_KEY, CacheSpec, spec_from_json
from ppi_train.errors import CacheError
from ppi_train.io.parquet import BROKEN, open_parquet

# Files kept open: there may be thousands, of which one block of sequences needs a few.
OPEN_FILES = 32
# Numbers in the embeddings that are read at once to see whether they are readable.
CHECKED_VALUES = 16_000_000

_T = TypeVar("_T")
_NAMES = ["protein_id", "sequence_digest"]


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
        raise CacheError("the embedding cache is cut short or corrupt", where=path, got=error) from None
