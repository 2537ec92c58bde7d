"""What fills the disk, found by its place and name; nothing is changed here.

Links are never followed. Only files and folders whose place, name and content are those that this project
gives are recognised; all others are foreign.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ppi_train.data import similarity
from ppi_train.data.benchmarks import CATALOGUE, local_path
from ppi_train.data.benchmarks.prepare import DATASETS
from ppi_train.embeddings.cache.file import CacheFile
from ppi_train.errors import CacheError
from ppi_train.runs import prepared_tables
from ppi_train.tracking.outbox.store import LEGACY_NAME, NAME

REMEDIES = {
    "downloads": "fetched again by the next mode that needs them",
    "prepared": "made again by prepare_data; not freed, since it is small",
    "networks": "made again from the same files; not freed, since runs name the tables",
    "studies": "searched again; not freed, since sweeps continue them",
    "embeddings": "made again by embed, or by the next mode that needs them",
    "parts": "unfinished caches: without them the interrupted embed starts from nothing",
    "similarity": "searched again by the next audit",
    "runs": "copies of what the tracking server has",
    "checkpoints": "fetched again from the tracking server",
    "foreign": "not ours, or a link: never removed",
}
"""What makes each kind again, by kind."""

# What `remove_locked` leaves if its process is killed.
_DONE = re.compile(r"\.?[\w.-]+\.[0-9a-f]{12}\.done")
_CACHE = re.compile(r"[\w.-]+-([0-9a-f]{16})\.parquet")
_PARTS = re.compile(r"\..+\.parquet\.parts")
_RUN = re.compile(r"[0-9a-f]{32}")
# What may be in the folder of a run: names at its top, and endings of all files.
_OF_RUN = frozenset(
    {
        *(
            "lock",
            "outbox.lock",
            "config.yaml",
            "report.html",
            "sweep.html",
            "report.md",
            "promotion.md",
            "audit.json",
            "strata.tsv",
        ),
        *("audit.md", "network.json", "pairs", "dropped", "checkpoints", "figures", "predictions"),
        *("explanation", "text", "logs", "shared"),
    }
)
_SUFFIXES = frozenset(
    {
        *(".parquet", ".json", ".safetensors", ".pt", ".png", ".svg"),
        *(".tsv", ".fasta", ".html", ".yaml", ".md", ".log", ".npy"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Item:
    """A file or folder; size in bytes, time of its last change in seconds since 1970.

    `keep` says why it may not be removed; empty where it may.
    """

    kind: str
    path: Path
    size: int = 0
    modified: float = field(default=0.0, compare=False)
    keep: str = ""


def items_of_data(data_dir: Path) -> Iterator[Item]:
    """What is in a `data_dir`, which need not exist."""
    prepared = re.compile(rf"({'|'.join(DATASETS)})(-seed\d+)?")
    finders = {
        "downloads": _downloads,
        "embeddings": _embeddings,
        similarity.FOLDER: _similarity,
        prepared_tables.FOLDER: _networks,
        "sweeps": _studies,
    }
    for path in _entries(data_dir):
        if not _is_folder(path):
            yield _foreign(path)
        elif path.name in finders:
            yield from finders[path.name](path)
        elif prepared.fullmatch(path.name) and _is_file(path / "dataset.json"):
            yield _measured("prepared", path)
        else:
            yield _foreign(path)


def _downloads(folder: Path) -> Iterator[Item]:
    files = (file for benchmark in CATALOGUE.values() for file in benchmark.files.values())
    known = {local_path(file, folder.parent) for file in files}
    for path in _walk(folder):
        yield _measured("downloads", path) if path in known and _is_file(path) else _foreign(path)


def _embeddings(folder: Path) -> Iterator[Item]:
    for path in _entries(folder):
        if _is_folder(path) and _is_parts(path):
            yield _measured("parts", path)
        elif _is_file(path) and _is_made_cache(path):
            yield _measured("embeddings", path)
        else:
            yield _foreign(path)


def _is_parts(path: Path) -> bool:
    named = _PARTS.fullmatch(path.name) or (_DONE.fullmatch(path.name) and ".parquet.parts." in path.name)
    return bool(named) and all(
        _is_file(entry) and (entry.suffix == ".parquet" or entry.name == "lock") for entry in _entries(path)
    )


def _is_made_cache(path: Path) -> bool:
    """Whether a cache can be computed again: it has the name of its recipe, and was not imported."""
    named = _CACHE.fullmatch(path.name)
    if not named:
        return False
    try:
        spec = CacheFile(path).spec
    except (CacheError, OSError):
        return False
    return spec.content_digest is None and spec.digest.startswith(named[1])


def _similarity(folder: Path) -> Iterator[Item]:
    for path in _entries(folder):
        ours = _is_file(path) and re.fullmatch(r"[0-9a-f]{64}\.npz", path.name)
        yield _measured("similarity", path) if ours else _foreign(path)


def _studies(folder: Path) -> Iterator[Item]:
    for path in _entries(folder):
        file = _is_file(path) and re.fullmatch(r".+\.(db|log)(\.owner)?", path.name)
        scores = _is_folder(path) and path.suffix == ".scores"
        yield _measured("studies", path) if file or scores else _foreign(path)


def _networks(folder: Path) -> Iterator[Item]:
    for path in _entries(folder):
        tables = re.fullmatch(r"[0-9a-f]{16}", path.name) and _is_file(path / prepared_tables.RECORD)
        joined = re.fullmatch(r"sequences-[0-9a-f]{16}\.fasta", path.name) and _is_file(path)
        ours = joined or (tables and _is_folder(path))
        yield _measured("networks", path) if ours else _foreign(path)


def items_of_runs(output_dir: Path) -> Iterator[Item]:
    """What is in an `output_dir`, which need not exist."""
    for path in _entries(output_dir):
        if not _is_folder(path):
            yield _foreign(path)
        elif _DONE.fullmatch(path.name) and _RUN.fullmatch(path.name[:32]):
            yield _measured("runs", path)
        elif _RUN.fullmatch(path.name):
            yield _measured("runs", path, keep=why_kept(path))
        else:
            yield _foreign(path)


def why_kept(folder: Path) -> str:
    """Why the folder of a run may not be removed; empty where it may."""
    unsent = [path for path in _entries(folder) if _is_outbox(path.name)]
    if unsent:
        return f"not all of it was sent: mlflow run . --env-manager local -e sync -P journal={unsent[0]}"
    for path in _walk(folder):
        top = path.relative_to(folder).parts[0]
        named = top in _OF_RUN and (path.suffix in _SUFFIXES or path.name in ("lock", "outbox.lock"))
        if not (named and _is_file(path)):
            return f"not ours, or a link: {path}"
    return ""


def _is_outbox(name: str) -> bool:
    return name == LEGACY_NAME or name == "unsent" or name.endswith((NAME, f"{NAME}-journal"))


def items_of_checkpoints(cache: Path) -> Iterator[Item]:
    """The downloaded checkpoints; locks and unfinished downloads of other processes are left out."""
    for path in _entries(cache):
        ours = re.fullmatch(r"[0-9a-f]{64}", path.name) and _is_folder(path)
        if ours and _is_file(path / "COMPLETE.json"):
            yield _measured("checkpoints", path, keep=_link_in(path))
        elif _DONE.fullmatch(path.name) and _is_folder(path):
            yield _measured("checkpoints", path)
        elif not path.name.startswith("."):
            yield _foreign(path)


def _link_in(folder: Path) -> str:
    return next((f"not ours, or a link: {path}" for path in _walk(folder) if not _is_file(path)), "")


def _foreign(path: Path) -> Item:
    return Item(kind="foreign", path=path)


def _measured(kind: str, path: Path, *, keep: str = "") -> Item:
    size, modified = 0, 0.0
    for file in _walk(path) if _is_folder(path) else [path]:
        found = _status(file)
        if found:
            size, modified = size + found.st_size, max(modified, found.st_mtime)
    found = None if modified else _status(path)
    return Item(kind=kind, path=path, size=size, modified=found.st_mtime if found else modified, keep=keep)


def _entries(folder: Path) -> list[Path]:
    """The sorted entries of a folder; none where it is gone or cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _walk(folder: Path) -> Iterator[Path]:
    """Everything below a folder but folders; links to folders are among it."""
    for root, folders, files in os.walk(folder, followlinks=False):
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        yield from (Path(root) / name for name in sorted([*files, *links]))


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


def _is_file(path: Path) -> bool:
    found = _status(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def _is_folder(path: Path) -> bool:
    found = _status(path)
    return found is not None and stat.S_ISDIR(found.st_mode)
