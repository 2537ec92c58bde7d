"""Limits on what a file may claim before it is refused.

docs/broken-files.md lists them. They are far above what real data need, and low enough that no file of a few
kilobytes uses up the memory of a machine. Readers compare what a file claims with these limits before they
allocate memory for it.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

MAX_RESIDUES = 100_000
"""Longest sequence. Titin, the longest human protein, has 34,350; the longest of any species 45,000."""

FREE_BYTES = 64 << 20
"""Bytes that any file may unpack to, however small it is."""

MAX_RATIO = 100
"""Largest ratio of unpacked to packed size.

Sequences do not reach 10; decompression bombs exceed 1,000.
"""


def unpacked_limit(size: int) -> int:
    """Bytes that a file of `size` bytes may unpack to.

    >>> unpacked_limit(1000) >> 20, unpacked_limit(10 << 20) >> 20
    (64, 1000)
    """
    return max(FREE_BYTES, MAX_RATIO * size)


def check_torch_archive(path: Path) -> None:
    """Refuses a zip archive that `torch.save` cannot have written.

    `torch.save` stores bytes uncompressed, and only once. A file that is not a zip archive passes;
    `torch.load` reads the older format from end to end.

    Raises:
        ValueError: entries are compressed, or claim more bytes together than the file has.
        OSError, zipfile.BadZipFile: the file cannot be read.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    claimed, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if claimed > size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError(f"an archive of {size:,} bytes whose entries unpack to {claimed:,}")
