"""Reusable memory buffers.

Allocating new memory costs more time than a read. A buffer is reused when there are no references to it.
"""

from __future__ import annotations

import weakref

import numpy as np


class _Lease:
    """The owner of a buffer while an array uses it.

    The array and all views of it refer to this object, so that it is deleted only after all of them.
    """

    def __init__(self, buffer: np.ndarray) -> None:
        self.__array_interface__ = buffer.__array_interface__


class Buffers:
    """A pool of byte buffers.

    It has only as many buffers as were in use at the same time. Threads may take and release arrays
    concurrently.

    Args:
        size: Bytes of a buffer; a larger array gets memory of its own.
        grows: Instead, all later buffers are made a little larger than the largest array.
    """

    def __init__(self, size: int = 0, *, grows: bool = False) -> None:
        self._size, self._grows = size, grows
        self._free: list[np.ndarray] = []

    def held(self, nbytes: int) -> int:
        """Bytes of memory that an array of `nbytes` occupies."""
        return max(nbytes, self._size)

    def take(self, nbytes: int) -> np.ndarray:
        """An array (nbytes,) uint8 for the caller.

        The memory is reused after the last reference to the array or a view of it is gone.
        """
        if nbytes > self._size:
            if not self._grows:
                return np.empty(nbytes, dtype=np.uint8)
            # The next one is likely to be about as large.
            self._size = nbytes + nbytes // 8
            self._free.clear()
        try:
            buffer = self._free.pop()
        except IndexError:  # not checked before, since several threads may take buffers
            buffer = np.empty(self._size, dtype=np.uint8)
        if len(buffer) < nbytes:  # one from before the last growth
            buffer = np.empty(self._size, dtype=np.uint8)
        lease = _Lease(buffer)
        # Until then the finalizer keeps the buffer, even if this object is deleted.
        weakref.finalize(lease, self._free.append, buffer)
        return np.asarray(lease)[:nbytes]
