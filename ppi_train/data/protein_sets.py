"""Sets of proteins that a user names: lists, node sets and complexes.

A list is a text file of accessions or a FASTA. Complexes are a table of their known interactions. Node sets
are PRING's pickles, or JSON, of `{size: [sets of accessions]}`. A pickle is a program. This reader runs no
part of it that could do harm: it looks up no names except those of the set types, so that nothing is called;
it first reads through the operations, so that a few bytes cannot ask for gigabytes; and the result must be
plain containers of strings and integers.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ppi_train.data.benchmarks import CATALOGUE, fetch
from ppi_train.data.fasta import read_fasta
from ppi_train.errors import DataError, first_ten
from ppi_train.io.files import BOM, BZIP2_MAGIC, GZIP_MAGIC, read_file, reading, text_lines
from ppi_train.io.unavailable import unavailable_error

NodeSets = dict[int, list[tuple[str, ...]]]
MAX_BYTES = 16 << 20  # PRING's files for Arabidopsis have a third of a MB
MAX_SETS = 10_000
MAX_PROTEINS = 10_000_000  # over all sets
_EXPECTED = (
    "{size: [sets of accessions]} in JSON, or a pickle of it of plain dict, list, tuple, set, str and int"
)
_KIND = "file of node sets"
_ROLE = "nodes_"  # begins the roles of these files in the catalogue
_SIZE = re.compile("[1-9][0-9]{0,8}")
# The names of set and frozenset in Python 3 and, below protocol 3, in pickles that Python 2 can read.
_CONTAINERS = {(module, name) for module in ("builtins", "__builtin__") for name in ("set", "frozenset")}
COLUMNS = ("complex_id", "protein_a", "protein_b")


@dataclass(frozen=True, kw_only=True)
class ProteinList:
    """Distinct accessions, in the order of the file.

    `duplicates` counts lines that repeat an earlier one; `fasta` is the file if it has sequences, else
    None; `source` is the path as it was given, for messages.
    """

    accessions: tuple[str, ...]
    duplicates: int
    fasta: Path | None
    source: str


def read_proteins(path: str | Path) -> ProteinList:
    """Reads the accessions of a list or a FASTA.

    A list has one accession per line; blank lines are skipped. A FASTA may be plain or gzip. The content
    shows which of the two it is.

    Raises:
        DataError: the file is absent, empty or not text, or, with the line, a line has more than one word;
            for a FASTA those of `read_fasta`.
    """
    data = read_file(path, "list of proteins").removeprefix(BOM)
    if data.startswith((GZIP_MAGIC, BZIP2_MAGIC)) or data.lstrip().startswith(b">"):
        table = read_fasta(path)
        return ProteinList(
            accessions=tuple(table.sequences), duplicates=table.duplicates, fasta=Path(path), source=str(path)
        )
    listed = [_accession(path, *line) for line in text_lines(path, "list of proteins", data)]
    if not listed:
        raise DataError("the list of proteins is empty", where=path, got="blank lines only")
    accessions = tuple(dict.fromkeys(listed))
    return ProteinList(
        accessions=accessions, duplicates=len(listed) - len(accessions), fasta=None, source=str(path)
    )


def _accession(path: str | Path, number: int, line: str) -> str:
    words = line.split()
    if len(words) > 1 or "\0" in line:
        raise DataError(
            "a line of the list is not an accession",
            where=f"{path}, line {number}",
            got=repr(line[:60]),
            expected="one accession a line, or a FASTA",
        )
    return words[0]


# Of a table of complexes.
COLUMNS = ("complex_id", "protein_a", "protein_b")


def read_node_sets(path: str | Path, *, known: Collection[str] | None = None) -> NodeSets:
    """Reads node sets.

    The 500 sets of a species take 50 ms.

    Args:
        path: A pickle or JSON, recognised by the content; JSON has sizes as text and sets as lists.
        known: The proteins that a node set may have; None for any.

    Returns:
        The sets by size, in the order of the file; accessions in ascending order.

    Raises:
        DataError: the file is absent, too large, neither pickle nor JSON, cut short, or has any other
            content; a set is empty, has a protein twice, or one that is not known.
    """
    source = Path(path)
    with reading(path, _KIND):
        large = source.is_file() and source.stat().st_size > MAX_BYTES
    if large:
        _refuse(path, f"{source.stat().st_size:,} bytes", f"at most {MAX_BYTES:,} bytes")
    data = read_file(path, _KIND)
    # No pickle begins with a brace.
    load = _load_json if data.lstrip().startswith(b"{") else _load_pickle
    try:
        found = load(path, data)
    except DataError:
        raise
    # What a damaged pickle raises is not documented; among others IndexError, KeyError and TypeError.
    except Exception as error:
        raise unavailable_error(error, path) or DataError(
            f"the {_KIND} is damaged, or neither a pickle nor JSON",
            where=path,
            got=f"{type(error).__name__}: {str(error)[:200]}",
            expected=_EXPECTED,
        ) from error
    sets = _checked(found, path)
    if known is not None:
        _check_known(sets, known, path)
    return sets


def published_node_sets(dataset: str, *, data_dir: Path, mirror: str | None) -> dict[str, Path]:
    """The published node-set files of a data set, by kind.

    The kinds are `bfs`, `dfs` and `random_walk`; the result is empty for a data set without node sets.
    Missing files are fetched.

    Args:
        dataset: The name of a data set.
        data_dir: Where downloads are kept.
        mirror: A folder or http server to fetch from in place of the internet; None for none.

    Raises:
        DownloadError: a file could not be fetched.
    """
    files = CATALOGUE[dataset].files if dataset in CATALOGUE else {}
    return {
        role.removeprefix(_ROLE): fetch(file, data_dir=data_dir, mirror=mirror)
        for role, file in files.items()
        if role.startswith(_ROLE)
    }


class _PlainUnpickler(pickle.Unpickler):
    """Unpickler that allows no class except set and frozenset."""

    def __init__(self, data: bytes, path: str | Path) -> None:
        super().__init__(io.BytesIO(data))
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _CONTAINERS:
            _refuse(self._path, f"the name {module}.{name}, which a pickle can call")
        return frozenset if name == "frozenset" else set

    def persistent_load(self, pid: Any) -> NoReturn:
        _refuse(self._path, f"a reference to something outside the file, {str(pid)[:80]!r}")


def _load_pickle(path: str | Path, data: bytes) -> Any:
    _scan(path, data)
    return _PlainUnpickler(data, path).load()


def _load_json(_path: str | Path, data: bytes) -> Any:
    """The object of a JSON file, with sizes as integers.

    Keys that are not sizes stay as they are, so that the error can name them.
    """
    found = json.loads(data, object_pairs_hook=_pairs_once)
    return {int(size) if _SIZE.fullmatch(size) else size: group for size, group in found.items()}


def _pairs_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without repeated keys.

    By itself, `json` would drop all but the last of equal keys.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _scan(path: str | Path, data: bytes) -> None:
    """Checks the operations of a pickle without running them.

    A length beyond the end of the file is an error here, before memory is allocated for it. The
    unpickler would also allocate its memo up to any index that is named, and hash nested tuples to
    any depth of its stack.
    """
    tuples = 0
    for number, (operation, argument, _) in enumerate(pickletools.genops(data)):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= number:
            _refuse(path, f"operation {operation.name} to place {argument} after {number} operations")
        tuples += operation.name.startswith("TUPLE")
        if tuples > MAX_SETS:
            _refuse(path, f"more than {MAX_SETS:,} tuples")


def _checked(found: Any, path: str | Path) -> NodeSets:
    if type(found) is not dict:
        _refuse(path, f"a {type(found).__name__} in place of the dict")
    sets: NodeSets = {}
    rows = proteins = 0
    for size, group in found.items():
        if type(size) is not int or not 1 <= size <= MAX_PROTEINS:
            _refuse(path, f"a size that is a {type(size).__name__}", f"integers from 1 to {MAX_PROTEINS:,}")
        if type(group) not in (list, tuple):
            _refuse(path, f"a {type(group).__name__} in place of the list of size {size}")
        rows += len(group)
        if rows > MAX_SETS:
            _refuse(path, f"{rows:,} node sets", f"at most {MAX_SETS:,}")
        sets[size] = []
        for row, nodes in enumerate(group, start=1):
            where = f"node set {row} of size {size}"
            if type(nodes) not in (set, frozenset, list, tuple):
                _refuse(path, f"a {type(nodes).__name__} in place of {where}")
            proteins += len(nodes)
            if proteins > MAX_PROTEINS:
                _refuse(path, f"{proteins:,} proteins in all node sets", f"at most {MAX_PROTEINS:,}")
            sets[size].append(_accessions(nodes, f"{path}, {where}"))
    if not rows:
        _refuse(path, "no node sets")
    return sets


def _accessions(nodes: Collection[Any], where: str) -> tuple[str, ...]:
    wrong_types = [type(node).__name__ for node in nodes if type(node) is not str]
    if wrong_types:
        _refuse(where, f"a {wrong_types[0]} in place of an accession")
    if not nodes or len(set(nodes)) != len(nodes):
        _refuse(where, f"{len(nodes)} proteins, {len(set(nodes))} of them distinct", "each protein once")
    return tuple(sorted(nodes))


def _check_known(sets: NodeSets, known: Collection[str], path: str | Path) -> None:
    tested = frozenset(known)
    unknown = sorted({node for group in sets.values() for nodes in group for node in nodes} - tested)
    if unknown:
        raise DataError(
            f"the node sets have {len(unknown):,} "
            f"{'protein that is' if len(unknown) == 1 else 'proteins that are'} not known",
            where=path,
            got=first_ten(unknown),
            expected=f"proteins among the {len(tested):,} of the test network",
            remedy="give the node sets that belong to these test pairs",
        )


def _refuse(where: object, got: str, expected: str = _EXPECTED) -> NoReturn:
    raise DataError(
        f"the {_KIND} does not hold plain node sets",
        where=where,
        got=got,
        expected=expected,
        remedy="take the file from its publisher, or write it again as JSON",
    )


def read_complexes(path: str | Path) -> dict[str, list[tuple[str, str]]]:
    """Reads the known interactions of complexes from TSV or CSV.

    The columns are `complex_id`, `protein_a` and `protein_b`. A header with these names is optional and
    gives the order of the columns. The rows of a complex need not be adjacent.

    Returns:
        The pairs by complex, both in the order of the file.

    Raises:
        DataError: the file is absent, not text or has no rows; with the line: a wrong number of columns, or
            an empty value.
    """
    rows = text_lines(path, "table of complexes")
    delimiter = "\t" if rows and "\t" in rows[0][1] else ","
    fields = [(number, [value.strip() for value in line.split(delimiter)]) for number, line in rows]
    order = [0, 1, 2]
    if fields and sorted(value.lower() for value in fields[0][1]) == sorted(COLUMNS):
        header = [value.lower() for value in fields.pop(0)[1]]
        order = [header.index(name) for name in COLUMNS]
    if not fields:
        raise DataError("the table of complexes has no rows", where=path, expected=" ".join(COLUMNS))
    found: dict[str, list[tuple[str, str]]] = {}
    for number, values in fields:
        if len(values) != len(COLUMNS) or not all(values):
            raise DataError(
                "a row of the table of complexes is wrong",
                where=f"{path}, line {number}",
                got=repr(delimiter.join(values)[:80]),
                expected=f"{', '.join(COLUMNS)}, separated by tabs or commas",
            )
        name, a, b = (values[place] for place in order)
        found.setdefault(name, []).append((a, b))
    return found
