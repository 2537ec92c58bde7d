"""The rows of a network, gathered batch by batch and merged into distinct pairs.

Names become numbers as they are met, so that a batch costs no Python object for a row.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ppi_train.data.networks.base import Network, NetworkFilter
from ppi_train.data.pair_keys import sorted_keys
from ppi_train.errors import DataError, first_ten

# Ten times the pairs of STRING's largest species.
_MAX_ROWS = 200_000_000
_LONGEST_NAME = 1000
DISPUTED = "reported as negative and as positive"
"""Counts pairs, which are then taken as positive."""
_UNKNOWN_YEAR = np.int16(np.iinfo(np.int16).max)


@dataclass(frozen=True)
class Interactor:
    """An end of a pair: its name, the number of its organism (0 if unknown), its further identifiers."""

    name: str
    taxid: int = 0
    alternatives: tuple[str, ...] = ()


class Rows:
    """The rows of a batch.

    Args:
        counts: Counts the rows that are left out.
        size: The number of rows.
    """

    def __init__(self, counts: Counter[str], size: int) -> None:
        self.kept = np.ones(size, bool)
        self._counts = counts
        counts["rows"] += size

    def drop(self, mask: np.ndarray, reason: str) -> None:
        """Leaves out the rows of a mask (n,) bool that are still kept."""
        dropped = int(np.count_nonzero(mask & self.kept))
        if dropped:
            self._counts[reason] += dropped
            self.kept &= ~mask


class Collector:
    """Gathers the rows of a network.

    Args:
        layout: Names the layout in messages.
        source: The path as it was given.
        wanted: Its organisms are applied here.
    """

    def __init__(self, layout: str, source: str, wanted: NetworkFilter) -> None:
        self.layout, self.source, self._wanted = layout, source, wanted
        self.counts: Counter[str] = Counter(rows=0)
        self._seen: dict[str, Counter[str]] = {}
        self._numbers: dict[str, int] = {}
        self._keys: dict[str, int] = {}
        # The species of each interactor, by its number among those met so far.
        self._species = array("i")
        self._taxids: dict[int, int] = {}
        self._alternatives: dict[str, tuple[str, ...]] = {}
        self._rows_of: Counter[int] = Counter()
        self._ends: deque[np.ndarray] = deque()
        self._columns: dict[str, list[np.ndarray]] = {}
        self._size = 0

    def rows(self, size: int) -> Rows:
        """A new batch of rows."""
        return Rows(self.counts, size)

    def saw(self, what: str, column: pa.DictionaryArray) -> None:
        """Counts the values of a column, for the message if nothing is left."""
        texts = column.dictionary.to_pylist()
        counts = np.bincount(column.indices.to_numpy(zero_copy_only=False), minlength=len(texts))
        self._seen.setdefault(what, Counter()).update(dict(zip(texts, counts.tolist(), strict=True)))

    def number(self, interactor: Interactor) -> int:
        """The number of an interactor; the same for the same name."""
        name = interactor.name
        number = self._numbers.get(name)
        if number is None:
            if len(name) > _LONGEST_NAME:
                raise DataError(
                    "a name in the network is too long",
                    where=self.source,
                    got=f"{len(name):,} letters: {name[:40]}...",
                    expected=f"at most {_LONGEST_NAME:,}",
                )
            number = self._numbers[name] = len(self._numbers)
            self._species.append(self._taxids.setdefault(interactor.taxid, len(self._taxids)))
            others = tuple(dict.fromkeys(other for other in interactor.alternatives if other != name))
            if others:
                self._alternatives[name] = others
        return number

    def numbers(self, keys: pa.DictionaryArray, describe: Callable[[str, int], Interactor]) -> np.ndarray:
        """The numbers (n,) int32 of a column of interactors.

        Args:
            keys: The text that identifies an interactor, for each row.
            describe: Gives the interactor of a new text and the first row with it.
        """
        texts = keys.dictionary.to_pylist()
        indices = keys.indices.to_numpy(zero_copy_only=False)
        numbers = np.array([self._keys.get(text, -1) for text in texts], np.int32)
        new = np.flatnonzero(numbers < 0)
        if len(new):
            first = np.zeros(len(texts), np.int64)
            first[indices[::-1]] = np.arange(len(indices))[::-1]
            for at, row in zip(new.tolist(), first[new].tolist(), strict=True):
                numbers[at] = self._keys[texts[at]] = self.number(describe(texts[at], row))
        found: np.ndarray = numbers[indices]
        return found

    def add(self, rows: Rows, ends: np.ndarray, **values: np.ndarray) -> None:
        """Adds the kept rows of a batch.

        Args:
            rows: What is kept.
            ends: (2, n) int32 numbers of interactors.
            values: (n,) score, year or negative; the same ones in each batch.
        """
        self._by_species(rows, ends)
        self._size += int(np.count_nonzero(rows.kept))
        if self._size > _MAX_ROWS:
            raise DataError(
                "the network has too many pairs",
                where=self.source,
                got=f"more than {_MAX_ROWS:,} rows",
                remedy="filter it, by min_score or taxid",
            )
        self._ends.append(ends[:, rows.kept])
        for name, column in values.items():
            self._columns.setdefault(name, []).append(column[rows.kept])

    def _organisms(self) -> np.ndarray:
        """The taxids (n_species,) int32."""
        return np.array(list(self._taxids), np.int32)

    def _by_species(self, rows: Rows, ends: np.ndarray) -> None:
        """Leaves out rows of organisms that are not wanted, and counts those of each organism."""
        organisms = self._organisms()
        if len(organisms) == 1 and not self._wanted.taxid:
            self._rows_of[int(organisms[0])] += int(np.count_nonzero(rows.kept))
            return
        species = np.frombuffer(self._species, np.int32)[ends]
        if self._wanted.taxid:
            rows.drop(~np.isin(organisms, self._wanted.taxid)[species].all(axis=0), "another organism")
        a, b = species[:, rows.kept]
        met = np.bincount(a, minlength=len(organisms)) + np.bincount(b[a != b], minlength=len(organisms))
        self._rows_of.update(dict(zip(organisms.tolist(), met.tolist(), strict=True)))

    def network(self) -> Network:
        """The distinct pairs.

        Raises:
            DataError: no row is left, or the rows are of several organisms.
        """
        if not self._size:
            raise self._nothing_left()
        self._refuse_species()
        known = list(self._numbers)
        order = np.array(sorted(self._used().tolist(), key=known.__getitem__))
        names = tuple(known[number] for number in order.tolist())
        merged = _merge(self._pair_keys(order), len(names), self._joined())
        duplicates = self._size - len(merged["index"])
        if duplicates:
            self.counts["duplicates"] = duplicates
        if disputed := int(np.count_nonzero(merged.get("disputed", ()))):
            self.counts[DISPUTED] = disputed
        taxid = self._organisms()[np.frombuffer(self._species, np.int32)[order]]
        return Network(
            layout=self.layout,
            source=self.source,
            names=names,
            index=merged["index"],
            score=_unless(merged.get("score"), np.isnan),
            year=_unless(merged.get("year"), lambda years: years == 0),
            negative=merged.get("negative"),
            taxid=taxid if taxid.any() else None,
            alternatives={name: self._alternatives[name] for name in names if name in self._alternatives},
            counts=dict(self.counts),
        )

    def _used(self) -> np.ndarray:
        """The numbers of the interactors in rows that are kept."""
        met = np.zeros(len(self._numbers), np.int64)
        for ends in self._ends:
            met += np.bincount(ends.ravel(), minlength=len(met))
        return np.flatnonzero(met)

    def _pair_keys(self, order: np.ndarray) -> np.ndarray:
        """A number (n,) int64 for each row, the same for the same unordered pair; the ends are given up.

        Args:
            order: The numbers of interactors in the order of their names.
        """
        rank = np.zeros(len(self._numbers), np.int64)
        rank[order] = np.arange(len(order))
        keys = []
        while self._ends:
            a, b = rank[self._ends.popleft()]
            keys.append(np.minimum(a, b) * len(order) + np.maximum(a, b))
        return np.concatenate(keys)

    def _joined(self) -> dict[str, np.ndarray]:
        """The columns of all batches, which are given up."""
        return {name: np.concatenate(self._columns.pop(name)) for name in list(self._columns)}

    def _nothing_left(self) -> DataError:
        if not self.counts["rows"]:
            return DataError("the network has no pairs", where=self.source, got="a header only")
        left_out = ", ".join(
            f"{count:,} {reason}" for reason, count in self.counts.items() if reason != "rows"
        )
        seen = "; ".join(
            f"{what}: {first_ten(f'{value} ({count:,})' for value, count in values.most_common(11))}"
            for what, values in self._seen.items()
        )
        return DataError(
            "the filter leaves nothing of the network",
            where=self.source,
            got=f"{self.counts['rows']:,} rows, left out: {left_out}",
            expected=f"a filter for what the file has: {seen}" if seen else None,
            remedy="loosen the filter" if self._wanted.given else None,
        )

    def _refuse_species(self) -> None:
        species = Counter({taxid: count for taxid, count in self._rows_of.items() if taxid and count})
        if len(species) < 2 or self._wanted.taxid or self._wanted.any_organism:
            return
        listed = [f"taxid {taxid} in {count:,} rows" for taxid, count in species.most_common(11)]
        first, second = (taxid for taxid, _ in species.most_common(2))
        raise DataError(
            f"the network has interactions of {len(species)} organisms",
            where=self.source,
            got=first_ten(listed),
            expected="one organism, or taxid",
            remedy=f"give taxid={first}, or taxid={first},{second} for the pairs of and between both",
        )


def _unless(column: np.ndarray | None, unknown: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | None:
    """A column; None if all of it is unknown."""
    return None if column is None or unknown(column).all() else column


def _merge(keys: np.ndarray, size: int, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Merges equal pairs.

    Args:
        keys: (n,) int64, a * size + b for the ranks a <= b of each row; used up.
        size: Number of names.
        columns: (n,) score, year, negative.

    Returns:
        `index` (m, 2) int32 in order of first appearance, the columns (m,), and with `negative` also
        `disputed`, the pairs of which some rows are negative.
    """
    keys, order = sorted_keys(keys, size * size)
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    first = order[starts]  # the order is stable, so this is each pair's first row
    appeared = np.argsort(first)
    found = keys[starts][appeared]
    del keys  # for the memory
    ends = (found // size, found % size)
    merged = {"index": np.stack(ends, axis=1, dtype=np.int32, casting="unsafe")}
    if "year" in columns:
        columns["year"][columns["year"] == 0] = _UNKNOWN_YEAR
    for name, reduced in (("score", np.fmax), ("year", np.minimum), ("negative", np.logical_and)):
        if name in columns:
            merged[name] = reduced.reduceat(columns[name][order], starts)[appeared]
    if "year" in merged:
        merged["year"][merged["year"] == _UNKNOWN_YEAR] = 0
    if "negative" in merged:
        reported = np.logical_or.reduceat(columns["negative"][order], starts)[appeared]
        merged["disputed"] = reported & ~merged["negative"]
    return merged
