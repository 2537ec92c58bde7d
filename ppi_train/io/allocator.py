"""How the C library's allocator treats freed memory."""

from __future__ import annotations

import numpy as np

# Just below the largest block that raises the threshold of glibc.
_LARGEST = (32 << 20) - (64 << 10)


def keep_freed_memory() -> None:
    """Keeps freed memory, up to 64 MB, for what is allocated next.

    glibc gives freed memory above a threshold back to the system, which hands it out again page by page and
    zeroed: half the time of a loop over arrays of some hundred thousand numbers. The threshold is twice the
    largest block that was freed so far (mallopt(3), M_MMAP_THRESHOLD). This frees a large one; as nothing is
    written to it, it takes no memory itself. Other allocators are not affected.
    """
    np.empty(_LARGEST, np.uint8)
