"""Reading an embedding cache: checked on opening, indexed by accession, never loaded whole.

A cache is one Parquet file, a folder of them, or several such paths; they are read as one and must
have been made the same way. What is promised for a protein that is not there is the caller's
choice (`missing`); this reader names the proteins and never makes an embedding up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ppi_train.data.cache_format import (
    METADATA_KEY,
    CacheSpec,
    check_recipe,
    same_wherever_it_lies,
    spec_from_json,
)
from ppi_train.data.cache_writer import cache_schema
from ppi_train.data.fasta import sequence_digest
from ppi_train.errors import CacheError

_BROKEN = (pa.ArrowException, OSError, ValueError, EOFError)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a protein's embedding lies: file, row group, row within it."""

    file: int
    group: int
    row: int


class _CacheFile:
    """One Parquet file of a cache, its footer and its three small columns read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._parquet = pq.ParquetFile(path, page_checksum_verification=True, memory_map=True)
            metadata = self._parquet.schema_arrow.metadata or {}
        except FileNotFoundError:
            raise CacheError("there is no such embedding cache", where=path.absolute()) from None
        except _BROKEN as error:
            self._refuse(error)
        if METADATA_KEY not in metadata:
            raise CacheError(
                "the Parquet file is not an embedding cache",
                where=path.absolute(),
                expected=f"file metadata {METADATA_KEY.decode()!r}",
                remedy="make one with the entry point `embed`",
            )
        self.spec = spec_from_json(metadata[METADATA_KEY], where=path)
        wanted = cache_schema(self.spec)
        if not self._parquet.schema_arrow.equals(wanted):
            raise CacheError(
                "the columns of the embedding cache are not what its metadata says",
                where=path,
                got=self._parquet.schema_arrow.names,
                expected=wanted.names,
            )

    def _refuse(self, error: Exception) -> NoReturn:
        raise CacheError(
            "the embedding cache is cut short or corrupt",
            where=self.path.absolute(),
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            expected="a whole Parquet file",
            remedy="delete the file and make it again with the entry point `embed`",
        ) from None

    @property
    def groups(self) -> int:
        return int(self._parquet.num_row_groups)

    def read_group(self, group: int, columns: Sequence[str]) -> pa.Table:
        try:
            table = self._parquet.read_row_group(group, columns=list(columns))
            # A damaged page header, which no checksum covers, makes a page seem empty.
            rows = self._parquet.metadata.row_group(group).num_rows
            if any(len(column) != rows for column in table.columns):
                raise ValueError(f"a row group has other than its {rows} rows")
        except _BROKEN as error:
            self._refuse(error)
        return table

    def embeddings(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        """All values of a row group and the offset of each protein's first value, length n + 1."""
        column = self.read_group(group, ["embedding"]).column(0).combine_chunks()
        values = column.flatten().to_numpy(zero_copy_only=False)
        if self.spec.granularity == "protein":
            return values, np.arange(len(column) + 1) * self.spec.dimension
        offsets = column.offsets.to_numpy()
        sizes = np.diff(offsets)
        if (sizes == 0).any() or (sizes % self.spec.dimension).any():
            self._refuse(ValueError(f"residues that are not rows of {self.spec.dimension} numbers"))
        return values, offsets - offsets[0]


class EmbeddingCache:
    """A cache opened for reading.

    Args:
        paths: Parquet files or folders of them.

    Raises:
        CacheError: no such file, cut short, corrupt, not a cache, of a newer version, or files that
            were made in different ways.
    """

    def __init__(self, *paths: str | Path) -> None:
        self._files = [_CacheFile(path) for path in _expand(paths)]
        self.spec: CacheSpec = self._files[0].spec
        self._places: dict[str, _Place] = {}
        self._digests: dict[str, str] = {}
        self.lengths: dict[str, int] = {}
        for number, file in enumerate(self._files):
            check_recipe(file.spec, self.spec.recipe(), where=file.path)
            for group in range(file.groups):
                self._index_group(number, group)

    def _index_group(self, number: int, group: int) -> None:
        table = self._files[number].read_group(group, ["protein_id", "sequence_digest", "length"])
        ids, digests, lengths = (column.to_pylist() for column in table.columns)
        for row, (protein_id, digest, length) in enumerate(zip(ids, digests, lengths, strict=True)):
            if self._digests.setdefault(protein_id, digest) != digest:
                raise CacheError(
                    "a protein stands in the embedding cache with two sequences",
                    where=self._files[number].path,
                    got=protein_id,
                )
            self._places.setdefault(protein_id, _Place(number, group, row))
            self.lengths.setdefault(protein_id, length)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, protein_id: str) -> bool:
        return protein_id in self._places

    @cached_property
    def digest(self) -> str:
        """sha256 over recipe, number format and every protein's sequence: what the numbers follow from."""
        formats = sorted({file.spec.dtype for file in self._files})
        recipe = self.spec.recipe() | {"embedder": same_wherever_it_lies(self.spec.embedder)}
        hasher = hashlib.sha256(repr((sorted(recipe.items()), formats)).encode())
        for content in sorted({file.spec.content_digest or "" for file in self._files} - {""}):
            hasher.update(f"imported\t{content}\n".encode())
        for protein_id in sorted(self._digests):
            hasher.update(f"{protein_id}\t{self._digests[protein_id]}\n".encode())
        return hasher.hexdigest()

    def missing(self, proteins: Sequence[str]) -> list[str]:
        """Those of the proteins that the cache does not hold."""
        return [one for one in proteins if one not in self._places]

    def check_sequences(self, sequences: Mapping[str, str]) -> None:
        """Compares the cache with the FASTA that a user names beside it.

        Raises:
            CacheError: a protein whose sequence is another one than was embedded.
        """
        changed = [
            one
            for one, sequence in sequences.items()
            if one in self._digests and self._digests[one] != sequence_digest(sequence)
        ]
        if changed:
            raise CacheError(
                f"{len(changed)} proteins have another sequence in the FASTA than in the embedding cache",
                where=self._files[0].path,
                got=", ".join(changed[:10]),
                remedy="embed the FASTA again, or name the FASTA that the cache was made from",
            )

    def _by_group(self, proteins: Sequence[str]) -> dict[tuple[int, int], list[tuple[int, int]]]:
        groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for target, protein_id in enumerate(proteins):
            place = self._places[protein_id]
            groups.setdefault((place.file, place.group), []).append((target, place.row))
        return groups

    def protein_matrix(self, proteins: Sequence[str]) -> np.ndarray:
        """One vector a protein, float32, shape (n, d); residues are averaged.

        Reads row group by row group, so that beside the result only one row group is in memory.

        Raises:
            CacheError: a value that is not finite, or a corrupt page.
        """
        matrix = np.empty((len(proteins), self.spec.dimension), dtype=np.float32)
        for (number, group), wanted in sorted(self._by_group(proteins).items()):
            values, offsets = self._files[number].embeddings(group)
            if self.spec.granularity == "protein":
                targets, rows = (np.array(one) for one in zip(*wanted, strict=True))
                matrix[targets] = values.reshape(-1, self.spec.dimension)[rows]
                continue
            for target, row in wanted:
                residues = values[offsets[row] : offsets[row + 1]].reshape(-1, self.spec.dimension)
                matrix[target] = residues.mean(axis=0, dtype=np.float32)
        self._require_finite(matrix, proteins)
        return matrix

    def _require_finite(self, matrix: np.ndarray, proteins: Sequence[str]) -> None:
        broken = ~np.isfinite(matrix).all(axis=1)
        if broken.any():
            raise CacheError(
                f"{int(broken.sum())} embeddings in the cache are not finite numbers",
                where=self._files[0].path,
                got=", ".join(proteins[row] for row in np.flatnonzero(broken)[:10]),
                remedy="make the cache again",
            )

    def residues(self, proteins: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Yields (accession, residue states (L, d)) in the order in which they lie in the cache.

        Raises:
            CacheError: the cache holds one vector a protein, a value that is not finite, or a corrupt page.
        """
        if self.spec.granularity != "residue":
            raise CacheError(
                "the embedding cache has no residues",
                where=self._files[0].path,
                got=f"granularity {self.spec.granularity}",
                expected="granularity residue",
            )
        for (number, group), wanted in sorted(self._by_group(proteins).items()):
            values, offsets = self._files[number].embeddings(group)
            for target, row in wanted:
                states = values[offsets[row] : offsets[row + 1]]
                self._require_finite(states[None], [proteins[target]])
                yield proteins[target], states.reshape(-1, self.spec.dimension)


def _expand(paths: Sequence[str | Path]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise CacheError(
            "the folder holds no embedding cache",
            where=", ".join(str(Path(path).absolute()) for path in paths),
            expected="*.parquet files",
        )
    return files


def describe_cache(cache: EmbeddingCache) -> dict[str, Any]:
    """What a checkpoint keeps of the cache that its model was trained on."""
    return {"recipe": cache.spec.recipe(), "dtype": cache.spec.dtype, "digest": cache.digest}
