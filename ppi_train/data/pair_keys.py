"""Numbers for unordered pairs, sorted to find those that repeat.

`unique`, `isin`, `union1d` and `setdiff1d` of NumPy 2.4 find distinct numbers by hashing, which takes up to
60 times as long as sorting them; what is called for a table's pairs is here.
"""

from __future__ import annotations

import numpy as np

# Rows whose numbers are put in at once.
_PART = 1 << 20


def distinct(keys: np.ndarray) -> np.ndarray:
    """The distinct keys, ascending."""
    ascending = np.sort(keys, axis=None)
    first = np.ones(len(ascending), bool)
    np.not_equal(ascending[1:], ascending[:-1], out=first[1:])
    found: np.ndarray = ascending[first]
    return found


def among(keys: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """Whether each key (m,) is one of the ascending ones; bool. Keys are int64 and not negative."""
    if not len(ascending) or not len(keys):
        return np.zeros(len(keys), bool)
    # In order, neighbouring keys are looked for in the same part of memory.
    wanted, order = sorted_keys(keys.copy(), int(keys.max()) + 1)
    places = np.searchsorted(ascending, wanted)
    found = np.empty(len(keys), bool)
    found[order] = ascending[np.minimum(places, len(ascending) - 1)] == wanted
    return found


def sorted_keys(keys: np.ndarray, above: int) -> tuple[np.ndarray, np.ndarray]:
    """The sorted keys and their order, in which equal ones keep theirs. The given array is used up.

    Args:
        keys: (n,) int64, not negative.
        above: All keys are smaller.
    """
    bits = len(keys).bit_length()
    if not _pack(keys, above):
        order = np.argsort(keys, kind="stable")
        return keys[order], order
    return keys >> bits, keys & ((1 << bits) - 1)


def repeated_rows(keys: np.ndarray, above: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows that repeat the key of an earlier one. The given array is used up.

    Args:
        keys: (n,) int64, not negative.
        above: All keys are smaller.

    Returns:
        The rows in ascending order, and for each the first row with its key.
    """
    bits = len(keys).bit_length()
    if _pack(keys, above):
        same = _equal_neighbours(keys, bits)
        order = keys
        order &= (1 << bits) - 1
    else:
        order = np.argsort(keys, kind="stable")
        same = _equal_neighbours(keys[order], 0)
    repeated = np.flatnonzero(same) + 1
    starts = np.concatenate(([0], np.flatnonzero(~same) + 1)) if len(repeated) else repeated
    first = order[starts[np.searchsorted(starts, repeated, side="right") - 1]]
    rows = order[repeated]
    ascending = np.argsort(rows)
    return rows[ascending], first[ascending]


def _pack(keys: np.ndarray, above: int) -> bool:
    """Sorts keys with their row packed into the lower bits, if there are bits enough.

    That takes a fifth of the time of a stable argsort.
    """
    bits = len(keys).bit_length()
    if above.bit_length() + bits > 63:
        return False
    keys <<= bits
    for start in range(0, len(keys), _PART):
        part = keys[start : start + _PART]
        part |= np.arange(start, start + len(part))
    keys.sort()
    return True


def _equal_neighbours(keys: np.ndarray, bits: int) -> np.ndarray:
    """Whether each key but the first equals the one before it, leaving out the lower bits."""
    same = np.empty(max(0, len(keys) - 1), bool)
    for start in range(0, len(same), _PART):
        part = keys[start : start + _PART + 1] >> bits
        np.equal(part[1:], part[:-1], out=same[start : start + _PART])
    return same
