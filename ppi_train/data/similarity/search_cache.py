"""Stored results of the search for similar proteins.

Evaluations repeat the search with the same sequences for each model.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ppi_train.data.similarity.search import VERSION, Similarities, find_similar
from ppi_train.io.files import write_file

logger = logging.getLogger(__name__)

FOLDER = "similarity"


def cached_similar(
    queries: Sequence[str],
    targets: Sequence[str],
    data_dir: Path,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Similarities:
    """The result of `find_similar`, from `data_dir` if it is stored there.

    If a file is damaged or the folder cannot be written, the search is repeated; there is no error.

    Args:
        queries: q sequences.
        targets: t sequences.
        data_dir: Where the results are kept, under the digest of the sequences.
        advance: Called with the number of queries done since the last call; not for a stored result.
    """
    path = data_dir / FOLDER / f"{_digest(queries, targets)}.npz"
    found = _read(path)
    if found is not None:
        logger.info("the similar proteins are taken from an earlier search: %s", path)
        return found
    found = find_similar(queries, targets, advance=advance)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **asdict(found))
    try:
        write_file(path, buffer.getvalue())
    except OSError as error:
        logger.warning("the similar proteins cannot be stored for next time: %s: %s", path, error.strerror)
    return found


def _digest(queries: Sequence[str], targets: Sequence[str]) -> str:
    """sha256 of everything that determines the result."""
    found = hashlib.sha256(f"{VERSION} {len(queries)} {len(targets)}".encode())
    for sequence in (*queries, *targets):
        found.update(b"\n" + sequence.encode())
    return found.hexdigest()


def _read(path: Path) -> Similarities | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Similarities(**arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile) as error:
        logger.warning("%s is damaged (%s): the search is done again", path, error)
        return None
