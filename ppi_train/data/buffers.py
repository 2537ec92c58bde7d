"""Memory that is used again once nobody refers to it, since new memory costs more than a read does."""

from __future__ import annotations

import weakref

import numpy as np


class _Lease:
    """What an array and, through it, every view of it refers to, so that its end is the end of them all."""

    def __init__(self, buffer: np.ndarray) -> None:
        self.__array_interface__ = buffer.__array_interface__


class Buffers:
    """Hands out arrays of bytes from as few buffers as are in use at once; threads may ask and let go.

    Args:
        size: Bytes of a buffer; what is larger gets memory of its own.
        grows: Instead, all buffers are from then on as large as the largest array, and some more.
    """

    def __init__(self, size: int = 0, *, grows: bool = False) -> None:
        self._size, self._grows = size, grows
        self._free: list[np.ndarray] = []

    def held(self, nbytes: int) -> int:
        """Bytes of memory behind an array of so many."""
        return max(nbytes, self._size)

    def take(self, nbytes: int) -> np.ndarray:
        """An array (nbytes,) uint8, the caller's for as long as it or any view of it is referred to."""
        if nbytes > self._size:
            if not self._grows:
                return np.empty(nbytes, dtype=np.uint8)
            # The next one is likely to be about as large.
            self._size = nbytes + nbytes // 8
            self._free.clear()
        try:
            buffer = self._free.pop()
        except IndexError:  # not asked before, since threads may take at once
            buffer = np.empty(self._size, dtype=np.uint8)
        if len(buffer) < nbytes:  # one from before the last growth
            buffer = np.empty(self._size, dtype=np.uint8)
        lease = _Lease(buffer)
        # Until then the finalizer keeps the buffer, whatever becomes of this object.
        weakref.finalize(lease, self._free.append, buffer)
        return np.asarray(lease)[:nbytes]
