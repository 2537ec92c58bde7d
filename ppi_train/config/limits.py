"""How much a file may ask for before it is refused: docs/broken-files.md lists the bounds.

They lie far above what real data need, and low enough that no file of a few kilobytes takes the memory of
a machine. Readers compare what a file claims with these before they make room for it.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

MAX_RESIDUES = 100_000
"""Of one sequence. Titin, the longest human protein, has 34,350; the longest known of any species 45,000."""

FREE_BYTES = 64 << 20
"""What any file may unpack to, however small it is."""

MAX_RATIO = 100
"""How many times its own size a larger one may unpack to: sequences do not reach 10, bombs pass 1,000."""


def unpacked_limit(size: int) -> int:
    """Bytes that a file of `size` bytes may unpack to.

    >>> unpacked_limit(1000) >> 20, unpacked_limit(10 << 20) >> 20
    (64, 1000)
    """
    return max(FREE_BYTES, MAX_RATIO * size)


def check_torch_archive(path: Path) -> None:
    """Refuses a zip archive that `torch.save` cannot have written: it stores bytes as they are, and once.

    A file that is no zip archive passes; `torch.load` reads the older kind from end to end.

    Raises:
        ValueError: entries are compressed, or claim more bytes together than the file has.
        OSError, zipfile.BadZipFile: the file cannot be read.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    claimed, size = sum(one.file_size for one in entries), path.stat().st_size
    if claimed > size or any(one.compress_type != zipfile.ZIP_STORED for one in entries):
        raise ValueError(f"an archive of {size:,} bytes whose entries unpack to {claimed:,}")
