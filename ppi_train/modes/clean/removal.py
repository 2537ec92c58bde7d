"""Removal of what `items` found, under the lock of the process that would use it."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ppi_train.errors import TrackingError
from ppi_train.io.files import remove_locked
from ppi_train.modes.clean.items import Item, why_kept
from ppi_train.tracking.runs import find_run

# A process may have made its lock file, and not have locked it yet: a young one counts as locked.
_YOUNG_SECONDS = 5.0
_IN_USE = "a process works on it"


def active_run(output_dir: Path, own_run_id: str) -> Path | None:
    """The folder of a run that another process works on, if there is one."""
    for name in ("outbox.lock", "lock"):
        for lock in sorted(output_dir.glob(f"*/{name}")):
            if lock.parent.name != own_run_id and _is_locked(lock):
                return lock.parent
    return None


def _is_locked(lock: Path) -> bool:
    try:
        # Of a trained run, `lock` stays for good, and its process writes into it when it locks it.
        if time.time() - lock.stat().st_mtime < _YOUNG_SECONDS and lock.with_name("outbox.db").exists():
            return True
        with lock.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError:
        return True  # of another user, or on a disk that cannot say
    return False


def remove(item: Item) -> str:
    """Removes an item; gives why it was kept, or nothing.

    What another process has removed meanwhile counts as removed.

    Raises:
        OSError: it cannot be removed.
    """
    with suppress(FileNotFoundError):
        if item.path.name.endswith(".done"):
            shutil.rmtree(item.path)
        elif item.kind == "runs":
            return _remove_run(item.path)
        elif item.kind == "parts":
            return _remove_folder(item.path)
        elif item.kind == "checkpoints":
            return _remove_checkpoint(item.path)
        else:
            item.path.unlink()
    return ""


def _remove_run(folder: Path) -> str:
    why = _why_no_copy(folder)
    if why:
        return why
    with _locked(folder / "lock", make=True) as is_ours:
        if not is_ours:
            return _IN_USE
        why = why_kept(folder)  # it may have been continued since it was found
        if not why:
            remove_locked(folder)
    return why


def _why_no_copy(folder: Path) -> str:
    """Why the tracking server may not have what is in the folder; empty if it has.

    The folder of a run that was made offline has another name than its run, for which a link stands.
    """
    links = (path for path in folder.parent.iterdir() if path.is_symlink())
    names = [folder.name, *(link.name for link in links if link.readlink() == Path(folder.name))]
    why = ""
    for name in names:
        try:
            run = find_run(name)
        except TrackingError as error:
            why = f"the tracking server may not have it: {error.what}"
        else:
            return "its run is still running" if run.running else ""
    return why


def _remove_folder(folder: Path) -> str:
    with _locked(folder / "lock", make=False) as is_ours:
        if not is_ours:
            return _IN_USE
        remove_locked(folder)
    return ""


def _remove_checkpoint(folder: Path) -> str:
    with _locked(folder.with_name(f".{folder.name}.lock"), make=True) as is_ours:
        if not is_ours:
            return _IN_USE
        remove_locked(folder)
    return ""


@contextmanager
def _locked(lock: Path, *, make: bool) -> Iterator[bool]:
    """Locks a file without waiting; gives whether this process has the lock now.

    Raises:
        FileNotFoundError: it or its folder is gone.
    """
    with ExitStack() as files:
        stream = files.enter_context(lock.open("a" if make else "r"))
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        # Another process may have removed the folder between the two calls.
        yield os.path.samestat(os.fstat(stream.fileno()), lock.stat())
