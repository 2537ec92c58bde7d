"""Processes that a command has started."""

from __future__ import annotations

from contextlib import suppress

import psutil


def descendants(pid: int, word: str) -> list[psutil.Process]:
    """Those of whose command the word is part; others of them may end meanwhile."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if word in " ".join(child.cmdline()):
                found.append(child)
    return found
