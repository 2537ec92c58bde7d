"""The search for similar proteins, done once for the same sequences: evaluations repeat it for each model."""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ppi_train.data.fasta import write_file
from ppi_train.data.similarity import VERSION, Similarities, find_similar

logger = logging.getLogger(__name__)

FOLDER = "similarity"


def cached_similar(
    queries: Sequence[str],
    targets: Sequence[str],
    data_dir: Path,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Similarities:
    """What `find_similar` gives, from `data_dir` if it was searched before.

    A file that is damaged, and a folder that cannot be written, cost the time of the search and no more.

    Args:
        queries: q sequences.
        targets: t sequences.
        data_dir: Where the results are kept, under the digest of the sequences.
        advance: Told how many queries were done since the last call; not called for what is there.
    """
    path = data_dir / FOLDER / f"{_digest(queries, targets)}.npz"
    found = _read(path)
    if found is not None:
        logger.info("the similar proteins were looked for before: %s", path)
        return found
    found = find_similar(queries, targets, advance=advance)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **asdict(found))
    try:
        write_file(path, buffer.getvalue())
    except OSError as error:
        logger.warning("the similar proteins are not kept for the next time: %s: %s", path, error.strerror)
    return found


def _digest(queries: Sequence[str], targets: Sequence[str]) -> str:
    """sha256 of all that the result follows from."""
    found = hashlib.sha256(f"{VERSION} {len(queries)} {len(targets)}".encode())
    for sequence in (*queries, *targets):
        found.update(b"\n" + sequence.encode())
    return found.hexdigest()


def _read(path: Path) -> Similarities | None:
    try:
        with np.load(path, allow_pickle=False) as held:
            return Similarities(**held)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile) as error:
        logger.warning("%s is damaged (%s): the search is done again", path, error)
        return None
