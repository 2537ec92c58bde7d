"""Layouts of files that say which identifiers are of one protein.

STRING's `9606.protein.aliases.v12.0.txt` has `#string_protein_id`, `alias` and `source`
(https://string-db.org/cgi/download); before version 11.5 a row had several sources with blanks between.
UniProt's `idmapping.dat` has accession, type and identifier, and `idmapping_selected.tab` 22 columns without
a header (https://ftp.uniprot.org/pub/databases/uniprot/current_release/knowledgebase/idmapping/README).
A table of two columns has names and accessions, in either order; UniProt's web service writes `From` and
`To`, or `From`, `Entry` and others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ppi_train.data.identifiers.proteins import VERSIONED

STRING_ALIASES = "STRING aliases"
TWO_COLUMNS = "two columns"

# A synonym may be the name of another gene, and BLAST finds relatives too.
_WEAK_SOURCE = re.compile(r"^BLAST_|[Ss]ynonym|_alias|_prev_|Paralog")
# Types of idmapping.dat that stand for one protein or one gene. Others stand for many (UniRef90, NCBI_TaxID,
# PDB), or are plain numbers that would be taken for those of GeneID (GI, MIM, BioGRID).
_DAT_STRONG = (
    "UniProtKB-ID", "UniParc", "Gene_Name", "Gene_OrderedLocusName", "Gene_ORFName", "GeneID", "RefSeq",
    "EMBL-CDS", "STRING", "Ensembl", "Ensembl_TRS", "Ensembl_PRO", "EnsemblGenome", "EnsemblGenome_TRS",
    "EnsemblGenome_PRO", "HGNC", "MGI", "RGD", "VGNC", "ZFIN", "Xenbase", "FlyBase", "WormBase",
    "WormBase_TRS", "WormBase_PRO", "SGD", "PomBase", "CGD", "TAIR", "Araport", "dictyBase", "EcoGene",
    "TubercuList", "KEGG", "UCSC", "neXtProt", "DIP",
)  # fmt: skip
_DAT_WEAK = ("Gene_Synonym",)
# Columns of idmapping_selected.tab, from 0: UniProtKB-ID, GeneID, RefSeq, UniParc, EMBL-CDS, Ensembl,
# Ensembl_TRS, Ensembl_PRO.
_SELECTED = (1, 2, 3, 10, 17, 18, 19, 20)
_SELECTED_WIDTH = 22
_TAXON = re.compile(r"^\d+\.\S")


@dataclass(frozen=True)
class Links:
    """Rows of a file: a key, another identifier of the same protein, and whether it is a synonym."""

    keys: pa.Array
    others: pa.Array
    weak: pa.Array


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a file is read.

    name: For messages.
    delimiter: Between the columns.
    width: Number of columns.
    wanted: Positions of the columns that are read.
    header: Whether the first line is left out.
    joined: Whether all identifiers of one key are of one protein. Otherwise each row stands alone.
    links: Gives the links of the wanted columns of some rows.
    """

    name: str
    delimiter: str
    width: int
    wanted: tuple[int, ...]
    header: bool
    joined: bool
    links: Callable[[Sequence[pa.Array]], Iterator[Links]]


def recognised(lines: Sequence[str]) -> Layout | None:
    """The layout of a file by its first lines; None for an unknown one."""
    header = "string_protein_id" in lines[0] and "alias" in lines[0]
    rows = [line.split("\t") for line in lines[header:] if not line.startswith("#")] or [[]]
    width = len(rows[0])
    if header or (width == 3 and all(_TAXON.match(row[0]) for row in rows)):
        return _tabs(STRING_ALIASES, 3, (0, 1, 2), _of_string, header=header)
    if any(len(row) != width for row in rows):
        width = 0
    if width == 3 and any(row[1] in (*_DAT_STRONG, *_DAT_WEAK) for row in rows):
        return _tabs("UniProt idmapping", 3, (0, 1, 2), _of_dat)
    if width == _SELECTED_WIDTH:
        return _tabs("UniProt idmapping_selected", width, (0, *_SELECTED), _of_selected)
    if width == 2 or (width > 2 and rows[0][0] == "From" and rows[0][1] in ("To", "Entry")):
        return _two_columns("\t", width, header=rows[0][0] == "From")
    if all(line.count(",") == 1 for line in lines):
        return _two_columns(",", 2)
    return None


def _tabs(
    name: str,
    width: int,
    wanted: tuple[int, ...],
    links: Callable[[Sequence[pa.Array]], Iterator[Links]],
    *,
    header: bool = False,
) -> Layout:
    return Layout(
        name=name, delimiter="\t", width=width, wanted=wanted, header=header, joined=True, links=links
    )


def _two_columns(delimiter: str, width: int, *, header: bool = False) -> Layout:
    return Layout(
        name=TWO_COLUMNS,
        delimiter=delimiter,
        width=width,
        wanted=(0, 1),
        header=header,
        joined=False,
        links=_of_two_columns,
    )


def _of_string(columns: Sequence[pa.Array]) -> Iterator[Links]:
    keys, aliases, sources = columns
    coded = sources.dictionary_encode()
    weak = [
        all(_WEAK_SOURCE.search(word) for word in source.split()) for source in coded.dictionary.to_pylist()
    ]
    yield Links(keys, aliases, pa.array(weak, pa.bool_()).take(coded.indices))


def _of_dat(columns: Sequence[pa.Array]) -> Iterator[Links]:
    keys, types, identifiers = columns
    strong = pc.is_in(types, pa.array(_DAT_STRONG))
    known = pc.or_(strong, pc.is_in(types, pa.array(_DAT_WEAK)))
    keys, identifiers = keys.filter(known), identifiers.filter(known)
    yield from _with_and_without_version(keys, identifiers, pc.invert(strong.filter(known)))


def _of_selected(columns: Sequence[pa.Array]) -> Iterator[Links]:
    keys = columns[0]
    for column in columns[1:]:
        values = pc.split_pattern(column, "; ")
        keys_of_values = keys.take(pc.list_parent_indices(values))
        identifiers = pc.list_flatten(values)
        weak = pa.repeat(pa.scalar(False), len(identifiers))
        yield from _with_and_without_version(keys_of_values, identifiers, weak)


def _of_two_columns(columns: Sequence[pa.Array]) -> Iterator[Links]:
    first, second = (pc.utf8_trim_whitespace(column) for column in columns)
    weak = pa.repeat(pa.scalar(False), len(first))
    yield from _with_and_without_version(first, second, weak)
    yield from _with_and_without_version(second, first, weak)


def _with_and_without_version(keys: pa.Array, identifiers: pa.Array, weak: pa.Array) -> Iterator[Links]:
    yield Links(keys, identifiers, weak)
    versioned = pc.match_substring_regex(identifiers, VERSIONED)
    if pc.any(versioned).as_py():
        plain = pc.replace_substring_regex(identifiers.filter(versioned), r"\.\d+$", "")
        yield Links(keys.filter(versioned), plain, weak.filter(versioned))
