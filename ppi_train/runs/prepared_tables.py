"""Tables that are made from a user's files once, and found again.

They lie in `data_dir/networks/<digest>` as ordinary tables of labelled pairs, with the sequences of their
proteins, what each name of the network stands for, and `network.json`, which says what they were made from
and how. The digest is that of the input files and options, so that equal inputs have equal tables.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppi_train.data.fasta import write_fasta
from ppi_train.data.identifiers import NameMapping
from ppi_train.data.mapped_network import write_names
from ppi_train.data.pairs import PairTable, write_pairs
from ppi_train.errors import DataError
from ppi_train.io.files import file_digest, reading, write_file

logger = logging.getLogger(__name__)

# Increased whenever the same inputs give other tables or facts, so that prepared copies are made again.
VERSION = 2
FOLDER = "networks"
RECORD = "network.json"
IDENTIFIERS = "identifiers.tsv"
_SEQUENCES = "sequences.fasta"


@dataclass(frozen=True, kw_only=True)
class NewTables:
    """What is made from the inputs.

    Attributes:
        tables: Labelled pairs by side.
        sequences: Of their proteins, by accession; empty if there are none.
        mapping: What the names of a network stand for; None if there was no network.
        lines: How the tables were made, for the log.
        warnings: What makes them doubtful.
        facts: Further entries of `network.json`.
    """

    tables: Mapping[str, PairTable]
    sequences: Mapping[str, str]
    mapping: NameMapping | None
    lines: list[str]
    warnings: list[str]
    facts: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class PreparedTables:
    """The folder of prepared tables, and what `network.json` says of them."""

    folder: Path
    record: Mapping[str, Any]

    def path(self, side: str) -> str | None:
        """The labelled pairs of a side; None if it has none."""
        path = self.folder / f"{side}.tsv"
        return str(path) if path.name in self.record["files"] else None

    @property
    def fasta(self) -> str | None:
        """The sequences of their proteins, if there are any."""
        return str(self.folder / _SEQUENCES) if _SEQUENCES in self.record["files"] else None

    @property
    def artifacts(self) -> list[Path]:
        """What a run keeps of them; it keeps the pairs anyway."""
        kept = [self.folder / name for name in (RECORD, IDENTIFIERS)]
        return [path for path in kept if path.exists()]

    def log(self) -> None:
        """Says how the tables were made."""
        for line in self.record["lines"]:
            logger.info("%s", line)
        for line in self.record["warnings"]:
            logger.warning("%s", line)
        logger.info("tables: %s", self.folder)


def prepare_tables(
    recipe: Mapping[str, object], data_dir: Path, make: Callable[[], NewTables]
) -> PreparedTables:
    """The tables of a recipe, made unless they are there already.

    Args:
        recipe: Everything that the tables depend on.
        data_dir: Where prepared tables are kept.
        make: Makes them.

    Raises:
        DataError: `data_dir` cannot be written; what `make` raises.
    """
    digest = hashlib.sha256(json.dumps({"version": VERSION, **recipe}, sort_keys=True).encode()).hexdigest()
    folder = data_dir / FOLDER / digest[:16]
    found = _find(folder)
    if found:
        return found
    new = make()
    try:
        with _new_folder(folder) as partial:
            _write(partial, new, recipe)
    except OSError as error:
        raise DataError(
            "the tables cannot be written",
            where=error.filename or folder,
            got=error.strerror,
            remedy="give a data_dir that can be written",
        ) from error
    made = _find(folder)
    assert made is not None, f"{folder} was just made"
    return made


def input_digests(paths: Iterable[str | Path], kind: str) -> list[str]:
    """The digests of input files, of one kind for messages.

    Raises:
        DataError: a file is not there.
    """
    digests = []
    for path in paths:
        with reading(path, kind):
            digests.append(file_digest(Path(path)))
    return digests


def _find(folder: Path) -> PreparedTables | None:
    """The complete and unchanged tables of a folder."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
        whole = all(file_digest(folder / name) == digest for name, digest in record["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return PreparedTables(folder=folder, record=record) if whole else None


def _write(folder: Path, new: NewTables, recipe: Mapping[str, object]) -> None:
    for side, table in new.tables.items():
        write_pairs(folder / f"{side}.tsv", table)
    if new.sequences:
        proteins = {name for table in new.tables.values() for name in table.proteins}
        write_fasta(folder / _SEQUENCES, {name: new.sequences[name] for name in sorted(proteins)})
    if new.mapping:
        write_names(folder / IDENTIFIERS, new.mapping)
    sides = {
        side: {"pairs": len(table), "positives": table.positives, "proteins": len(table.proteins)}
        for side, table in new.tables.items()
    }
    record = {
        "recipe": recipe,
        **new.facts,
        "sides": sides,
        "lines": new.lines,
        "warnings": new.warnings,
        "files": {path.name: file_digest(path) for path in sorted(folder.iterdir())},
    }
    write_file(folder / RECORD, (json.dumps(record, indent=2) + "\n").encode())


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Context manager that gives a temporary folder, and moves it into place.

    If another process has made the folder meanwhile, that one stays: it has the same files.
    """
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        if not _find(folder):
            shutil.rmtree(folder, ignore_errors=True)
            try:
                partial.rename(folder)
            except OSError:
                if not _find(folder):
                    raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
