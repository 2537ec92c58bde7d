"""PSI-MITAB 2.5 to 2.8, as IntAct, MINT, DIP and others give their interactions.

The columns are those of https://github.com/HUPO-PSI/miTab (PSI-MITAB25Format.md to PSI-MITAB28Format.md), by
their position: 15 in version 2.5, 36 in 2.6, 42 in 2.7, 46 in 2.8. An empty field is `-`, several values have
`|` between them, and a value is `database:identifier(text)`, with quotes around an identifier with special
characters. The terms are those of the PSI-MI vocabulary, https://www.ebi.ac.uk/ols4/ontologies/mi.

An interactor's name is its UniProt accession, if its identifiers have one, or else its first identifier.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pyarrow as pa

from ppi_train.data.networks.base import Network, NetworkFilter
from ppi_train.data.networks.collect import Collector, Interactor, Rows
from ppi_train.data.networks.table import CODED, Source, Table, by_value, publication_year

# Positions of columns, from 0. Those of B follow those of A.
_ID, _ALTERNATIVE, _ALIAS = 0, 2, 4
_METHOD, _AUTHOR, _TAXID, _TYPE, _CONFIDENCE = 6, 7, 9, 11, 14
_EXPANSION, _INTERACTOR_TYPE, _NEGATIVE = 15, 20, 35
_VERSIONS = ((46, "2.8"), (42, "2.7"), (36, "2.6"), (15, "2.5"))
_FILTERS = ("min_score", "score_column", "taxid", "detection_method", "interaction_type")

_HEADER = re.compile(r"#?\s*(unique )?id(entifier)?(\(s\)|s)?\s*(for )?interactor a$", re.IGNORECASE)
_IDENTIFIER = re.compile(r'[^:"|]+:.+')
_SPLIT = re.compile(r'(?:"[^"]*"|[^|])+')
_TAXON = re.compile(r'taxid:"?(\d{1,9})\b')
_UNIPROT = ("uniprotkb", "uniprot/swiss-prot", "uniprot/trembl", "uniprot knowledge base")
_GENE_NAMES = ("(gene name)", "(locus name)", "(orf name)")
# Confidences of interactions as such, from 0 to 1.
_SCORES = ("intact-miscore", "mi-score", "miscore", "mentha-score", "mint-score")
_PROTEIN = "MI:0326"
# Databases of small molecules and nucleic acids: version 2.5 does not say what kind an interactor is.
_NOT_PROTEINS = ("chebi:", "rnacentral:", "embl:", "ddbj/embl/genbank:", "genbank:", "drugbank:", "pubchem:")


def recognises(source: Source) -> bool:
    """Whether the first row is one of PSI-MITAB, or there is only its header."""
    fields = _first_row(source)
    return len(fields) >= 15 and (_is_header(fields[0]) or _is_row(fields))


def _first_row(source: Source) -> list[str]:
    """The fields of the first row; of the header if there is nothing else."""
    lines = [line for line in source.head if not line.startswith("#")]
    if lines and _is_header(lines[0].partition("\t")[0]):
        del lines[0]
    return (lines[0] if lines else source.head[0]).split("\t")


def _is_header(field: str) -> bool:
    return bool(_HEADER.match(field.strip()))


def _is_row(fields: list[str]) -> bool:
    ends = all(text == "-" or _IDENTIFIER.fullmatch(text) for text in fields[:2])
    return ends and all(text == "-" or text.startswith("taxid:") for text in fields[_TAXID : _TAXID + 2])


def read(source: Source, wanted: NetworkFilter) -> Network:
    """Reads a PSI-MITAB file; see `read_network`."""
    fields = _first_row(source)
    version = next(version for width, version in _VERSIONS if len(fields) >= width)
    layout = f"PSI-MITAB {version}"
    expanded = version != "2.5"
    wanted.refuse_others((*_FILTERS, "expanded_complexes") if expanded else _FILTERS, layout, source.path)
    texts = (_ALTERNATIVE, _ALTERNATIVE + 1, _ALIAS, _ALIAS + 1)
    coded = [_ID, _ID + 1, _METHOD, _AUTHOR, _TAXID, _TAXID + 1, _TYPE, _CONFIDENCE]
    if expanded:
        coded += [_EXPANSION, _INTERACTOR_TYPE, _INTERACTOR_TYPE + 1, _NEGATIVE]
    table = Table(
        source=source.path,
        delimiter="\t",
        names=tuple(f"column {number}" for number in range(1, len(fields) + 1)),
        types=dict.fromkeys(texts, pa.string()) | dict.fromkeys(coded, CODED),
    )
    collector = Collector(layout, source.path, wanted)
    # With a `#` before it, a header is one of the lines that are left out.
    header = _is_header(source.head[0].partition("\t")[0]) and not source.head[0].startswith("#")
    for block in source.blocks():
        _add(table.parse(block, header=header and block.line == 1), collector, wanted)
    return collector.network()


def _add(columns: Mapping[int, pa.Array], collector: Collector, wanted: NetworkFilter) -> None:
    """Adds the rows of a block."""
    rows = collector.rows(len(columns[_ID]))
    _refuse_interactors(rows, columns)
    _filter_terms(rows, columns, collector, wanted)
    score = by_value(columns[_CONFIDENCE], partial(_score, wanted=wanted.score_column), np.float32)
    if wanted.min_score is not None:
        rows.drop(np.isnan(score), "without a score")
        rows.drop(score < wanted.min_score, "below min_score")
    ends = np.stack([collector.numbers(columns[_ID + side], _describe(columns, side)) for side in (0, 1)])
    values = {"score": score, "year": by_value(columns[_AUTHOR], publication_year, np.int16)}
    if _NEGATIVE in columns:
        values["negative"] = by_value(columns[_NEGATIVE], lambda text: text.strip().lower() == "true", bool)
    collector.add(rows, ends, **values)
    if _EXPANSION in columns:
        kept = int(np.count_nonzero(~by_value(columns[_EXPANSION], _is_empty, bool) & rows.kept))
        if kept:
            collector.counts["spoke-expanded, kept"] += kept


def _refuse_interactors(rows: Rows, columns: Mapping[int, pa.Array]) -> None:
    """Leaves out rows with a single interactor, or with what is no protein."""
    ends = [columns[_ID], columns[_ID + 1]]
    for end in ends:
        rows.drop(by_value(end, _is_empty, bool), "one interactor")
    for end in ends:
        rows.drop(by_value(end, lambda text: text.lower().startswith(_NOT_PROTEINS), bool), "not a protein")
    if _INTERACTOR_TYPE in columns:
        for kind in (columns[_INTERACTOR_TYPE], columns[_INTERACTOR_TYPE + 1]):
            rows.drop(
                by_value(kind, lambda text: not _is_empty(text) and _PROTEIN not in text, bool),
                "not a protein",
            )


def _is_empty(text: str) -> bool:
    return text.strip() in ("", "-")


def _filter_terms(
    rows: Rows, columns: Mapping[int, pa.Array], collector: Collector, wanted: NetworkFilter
) -> None:
    """Leaves out rows by their detection method, their type, and whether they come from a complex."""
    filters = (
        (_METHOD, wanted.detection_method, "detection method"),
        (_TYPE, wanted.interaction_type, "interaction type"),
    )
    for at, terms, what in filters:
        if terms:
            collector.saw(what, columns[at])
            rows.drop(by_value(columns[at], partial(_lacks, terms=terms), bool), f"another {what}")
    if _EXPANSION in columns:
        binary = by_value(columns[_EXPANSION], _is_empty, bool)
        if wanted.expanded_complexes == "drop":
            rows.drop(~binary, "spoke-expanded")
        elif wanted.expanded_complexes == "only":
            rows.drop(binary, "not spoke-expanded")


def _lacks(text: str, terms: tuple[str, ...]) -> bool:
    """Whether a field has none of some terms, each given as `MI:0018` or by its name."""
    found = text.lower()
    # A number ends where its digits do: MI:004 is not MI:0045.
    patterns = (
        rf"{re.escape(term)}(?!\d)" if term.startswith("mi:") else re.escape(f"({term})")
        for term in map(str.lower, terms)
    )
    return not any(re.search(pattern, found) for pattern in patterns)


def _score(text: str, wanted: str | None) -> float:
    """The highest confidence of the wanted kind in a field; NaN if there is none."""
    names = _SCORES if wanted is None else (wanted.lower(),)
    found = [np.nan]
    for value in _SPLIT.findall(text):
        name, _, number = value.partition(":")
        if name.strip().lower() in names:
            try:
                found.append(float(number.strip('"').partition("(")[0]))
            except ValueError:
                continue
    return float(np.fmax.reduce(found))


def _describe(columns: Mapping[int, pa.Array], side: int) -> Callable[[str, int], Interactor]:
    """What gives the interactor of an identifier and a row, at one side of the pairs."""

    def describe(identifiers: str, row: int) -> Interactor:
        own = _identifiers(identifiers)
        others = _identifiers(columns[_ALTERNATIVE + side][row].as_py())
        aliases = _SPLIT.findall(columns[_ALIAS + side][row].as_py())
        genes = [_identifier(alias)[1] for alias in aliases if alias.lower().endswith(_GENE_NAMES)]
        uniprot = [name for database, name in (*own, *others) if database in _UNIPROT]
        match = _TAXON.search(columns[_TAXID + side][row].as_py())
        every = [name for _, name in (*own, *others)]
        return Interactor(
            (uniprot or every or [identifiers])[0],
            int(match.group(1)) if match else 0,
            (*every, *genes),
        )

    return describe


def _identifiers(text: str) -> list[tuple[str, str]]:
    """The databases and identifiers of a field."""
    return [_identifier(value) for value in _SPLIT.findall(text) if value != "-"]


def _identifier(value: str) -> tuple[str, str]:
    database, colon, name = value.partition(":")
    if not colon:
        return "", value.strip()
    quoted = name.startswith('"') and '"' in name[1:]
    name = name[1:].partition('"')[0] if quoted else name.partition("(")[0]
    return database.strip().lower(), name.strip()
