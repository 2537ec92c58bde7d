"""Reading of files that say which identifiers are of one protein.

Such a file may have gigabytes. It is read some megabytes at a time, and only the rows are kept that have a
wanted name or an accession of the FASTA.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from ppi_train.data.identifiers.layouts import Layout, Links, recognised
from ppi_train.data.identifiers.proteins import FastaProteins, Found, spellings, unversioned
from ppi_train.errors import DataError, first_line
from ppi_train.io.files import LONGEST_STRETCH
from ppi_train.io.packed import Block, line_blocks, unpacked_parts

_KIND = "id_map"
_COMMENT = re.compile(rb"(?m)^#[^\n]*\n?")
_HEAD_LINES = 50
# What stands in place of an accession that was deleted.
_DELETED = frozenset({"", "-", "deleted", "obsolete", "none", "na", "n/a", "nan"})


@dataclass
class IdMap:
    """The rows of a file that concern some names and the accessions of a FASTA.

    source: The path as it was given.
    layout: How it is read.
    examples: The first keys of the file, for messages.
    keys: Of each wanted name: the keys that it is or belongs to, and whether by a synonym only.
    accessions: Of each key: the texts that stand for a protein of the FASTA, and whether by a synonym only.
    """

    source: str
    layout: Layout
    examples: tuple[str, ...]
    keys: dict[str, dict[str, bool]] = field(default_factory=dict)
    accessions: dict[str, dict[str, bool]] = field(default_factory=dict)

    def find(self, name: str, proteins: FastaProteins) -> Found | None:
        """The accessions of a name; none of them if the file has the name but the FASTA no protein of it."""
        known = None
        for text, rule in (*spellings(name), (unversioned(name), "without the version")):
            if text in self.keys:
                by = self.layout.name if text == name else f"{self.layout.name}, {rule}"
                found = replace(self._found(self.keys[text], proteins), rule=by)
                if found.accessions:
                    return found
                known = known or found
        return known

    def _found(self, keys: dict[str, bool], proteins: FastaProteins) -> Found:
        """The accessions of a name's keys, without those by synonym if there are others."""
        candidates: dict[str, bool] = {}
        for key, weak in keys.items():
            own = {key: False}
            texts = own if _in_fasta(key, proteins) else self.accessions.get(key, {})
            for text, weak_text in texts.items():
                for accession in _in_fasta(text, proteins):
                    candidates[accession] = candidates.get(accession, True) and (weak or weak_text)
        weakest = all(candidates.values())
        chosen = proteins.without_isoforms(name for name, weak in candidates.items() if weak == weakest)
        if chosen:
            return Found(chosen, "", weak=weakest)
        return Found(frozenset(), "", frozenset(key for key in keys if key.lower() not in _DELETED))

    def add(self, links: Links, names: pa.Array, texts: pa.Array) -> None:
        """Keeps the links of wanted names and of accessions."""
        self._keep(self.keys, links, pc.is_in(links.others, names), by_other=True)
        if self.layout.joined:
            self._keep(self.accessions, links, pc.is_in(links.others, texts), by_other=False)
            for key in pc.unique(links.keys.filter(pc.is_in(links.keys, names))).to_pylist():
                self.keys.setdefault(key, {})[key] = False

    @staticmethod
    def _keep(found: dict[str, dict[str, bool]], links: Links, rows: pa.Array, *, by_other: bool) -> None:
        keys, others, weak = (
            part.filter(rows).to_pylist() for part in (links.keys, links.others, links.weak)
        )
        for key, other, synonym in zip(keys, others, weak, strict=True):
            entry, value = (other, key) if by_other else (key, other)
            values = found.setdefault(entry, {})
            values[value] = values.get(value, True) and synonym


def read_id_map(path: str | Path, names: Collection[str], proteins: FastaProteins) -> IdMap:
    """Reads what a file, plain or packed, says of some names and of the proteins of a FASTA.

    Args:
        path: In one of the layouts of `layouts`, recognised by its content.
        names: The spellings of the names that are looked up.
        proteins: Of the FASTA.

    Raises:
        DataError: the file is absent, damaged, of an unknown layout, or has a row of another width.
    """
    blocks = line_blocks(path, _KIND, unpacked_parts(path, _KIND))
    first = next(blocks)
    lines = [line for line in _head(first) if line.strip()]
    layout = recognised(lines) if lines else None
    if layout is None:
        raise DataError(
            "the layout of the id_map is not known",
            where=path,
            got=repr(lines[0][:80]) if lines else "blank lines",
            expected="STRING's protein.aliases, UniProt's idmapping.dat or idmapping_selected.tab, or two "
            "columns with a tab or a comma between",
        )
    wanted, texts = pa.array(list(names), pa.string()), pa.array(proteins.all_spellings(), pa.string())
    found = IdMap(str(path), layout, ())
    for block in chain([first], blocks):
        columns = _columns(path, block, layout)
        if not found.examples:
            found.examples = tuple(islice(dict.fromkeys(columns[0].slice(0, 1000).to_pylist()), 3))
        for links in layout.links(columns):
            found.add(links, wanted, texts)
    return found


def _in_fasta(text: str, proteins: FastaProteins) -> frozenset[str]:
    found = proteins.as_given(text) or proteins.as_canonical(text)
    return found.accessions if found else frozenset()


def _head(block: Block) -> list[str]:
    lines = block.data[: 1 << 20].splitlines()[:_HEAD_LINES]
    return [line.decode("utf-8", "replace") for line in lines]


def _columns(path: str | Path, block: Block, layout: Layout) -> list[pa.Array]:
    """The wanted columns of some lines, without comments."""
    data = block.data
    if layout.header and block.line == 1:
        data = data.lstrip(b"\r\n").partition(b"\n")[2]
    if data.startswith(b"#") or b"\n#" in data:
        data = _COMMENT.sub(b"", data)
    if not data.strip():
        return [pa.array([], pa.string()) for _ in layout.wanted]
    names = [f"c{at}" for at in range(layout.width)]
    wanted = [names[at] for at in layout.wanted]
    try:
        table = pa_csv.read_csv(
            pa.py_buffer(data),
            read_options=pa_csv.ReadOptions(column_names=names, block_size=LONGEST_STRETCH),
            parse_options=pa_csv.ParseOptions(delimiter=layout.delimiter, quote_char=False),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()),
                include_columns=wanted,
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise _wrong_row(path, block, layout, error) from error
    return [table.column(name).combine_chunks() for name in wanted]


def _wrong_row(path: str | Path, block: Block, layout: Layout, error: object) -> DataError:
    lines = enumerate(block.data.splitlines(), start=block.line)
    for number, line in lines:
        width = line.count(layout.delimiter.encode()) + 1
        left_out = not line or line.startswith(b"#") or (layout.header and number == 1)
        if width != layout.width and not left_out:
            return DataError(
                "a row of the id_map has the wrong number of columns",
                where=f"{path}, line {number}",
                got=f"{width} in {line[:80].decode('utf-8', 'replace')!r}",
                expected=f"{layout.width}, as {layout.name} has",
            )
    return DataError("the id_map cannot be read", where=path, got=first_line(error), expected="text in UTF-8")
