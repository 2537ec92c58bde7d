"""Checkpoints that wait beside an outbox for their upload, while training writes new ones."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from pathlib import Path

from ppi_train.tracking.outbox.records import Checkpoints

logger = logging.getLogger(__name__)

_NAME = "unsent"


class UnsentCheckpoints:
    """The folder of waiting checkpoints.

    Only the last that wait are kept: a server that is away for long must not fill the disk.

    Args:
        folder: The folder of the outbox.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._waiting: dict[int, Checkpoints] = {}
        self._last, self._in_use = -1, -1
        self._replaced: list[Checkpoints] = []

    def keep(self, checkpoint: Path, name: str) -> Path:
        """Keeps the files of a checkpoint as they are now; returns their folder.

        They are linked, not copied, and so take room only once the originals are gone; on a disk without
        links they are copied. If neither can be done, the original stands for itself: it is uploaded unless
        training has replaced it by then.
        """
        kept = self._folder / _NAME / f"{time.time_ns()}-{name}"
        try:
            kept.mkdir(parents=True)
            for path in checkpoint.iterdir():
                _link_or_copy(path, kept / path.name)
        except OSError as error:
            logger.warning("a checkpoint cannot be kept for its upload: %s", error)
            shutil.rmtree(kept, ignore_errors=True)
            return checkpoint
        return kept

    def added(self, number: int, record: Checkpoints) -> None:
        """Takes a new record in; it replaces the checkpoints of earlier ones, unless in use."""
        with self._lock:
            for other in [waiting for waiting in self._waiting if waiting != self._in_use]:
                self._replaced.append(self._waiting.pop(other))
            self._waiting[number], self._last = record, number

    def found(self, number: int) -> None:
        """Takes note of a record in the outbox of a process that has ended."""
        self._last = number

    def use(self, number: int) -> bool:
        """Keeps the checkpoints of a record until `drop`; False if later ones replace them."""
        with self._lock:
            if number < self._last:
                return False
            self._in_use = number
            return True

    def drop(self, number: int, record: Checkpoints) -> None:
        """Gives up checkpoints that are uploaded, refused or replaced by later ones."""
        with self._lock:
            self._in_use = -1
            self._waiting.pop(number, None)
            self._replaced.append(record)

    def replaced(self) -> list[Checkpoints]:
        """The records whose checkpoints can go once the outbox on the disk says so.

        Until then a process that is killed would leave a record behind whose files are gone.
        """
        with self._lock:
            replaced, self._replaced = self._replaced, []
        return replaced

    def remove(self, records: list[Checkpoints]) -> None:
        for record in records:
            self._remove(record)

    def remove_all(self) -> None:
        shutil.rmtree(self._folder / _NAME, ignore_errors=True)

    def _remove(self, record: Checkpoints) -> None:
        for path in map(Path, record.folders.values()):
            if path.parent == Path(_NAME) and path.name != "..":
                shutil.rmtree(self._folder / path, ignore_errors=True)


def _link_or_copy(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
