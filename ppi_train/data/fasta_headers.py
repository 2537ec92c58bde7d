"""What the headers of a FASTA say of its proteins, beyond their accessions.

Read apart from the sequences, since most commands need only these. The layouts are those of UniProt
(https://www.uniprot.org/help/fasta-headers), Ensembl (the README of its `pep` folders) and NCBI.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from sys import intern

from ppi_train.data.fasta import accession_of
from ppi_train.io.packed import line_blocks, unpacked_parts

_HEADER = re.compile(rb"(?m)^>([^\n]+)")
# A gene name may have blanks; the next field ends it.
_UNIPROT_FIELD = re.compile(r"(?:^| )(OS|OX|GN|PE|SV)=")
_ENSEMBL = re.compile(r"^pep\S* ")
_ENSEMBL_FIELD = re.compile(r" (gene|gene_symbol|description):((?<=description:).*?(?= \[Source:|$)|\S+)")
_NCBI_ORGANISM = re.compile(r" \[([^\[\]]+)\]$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a header says of a protein; empty where it does not.

    reviewed: Whether it is an entry of Swiss-Prot, `sp|...`.
    entry_name: UniProt's, such as P53_HUMAN.
    description: The protein's name.
    gene: The gene's name, such as TP53.
    gene_id: Ensembl's identifier of the gene, with its version.
    organism: Its scientific name.
    taxid: NCBI's number of the organism; 0 where it is not said.
    """

    reviewed: bool = False
    entry_name: str = ""
    description: str = ""
    gene: str = ""
    gene_id: str = ""
    organism: str = ""
    taxid: int = 0


def read_headers(path: str | Path, wanted: Collection[str] | None = None) -> dict[str, Header]:
    """The headers of a FASTA by accession, in the order of the file.

    Args:
        path: A FASTA as `read_fasta` takes it. A table of names and sequences has no headers.
        wanted: The accessions of which headers are kept; None for all.

    Raises:
        DataError: the file is absent, empty, damaged or not text.
    """
    headers: dict[str, Header] = {}
    # A line may end with either or both; blank lines do no harm here.
    parts = (part.replace(b"\r", b"\n") for part in unpacked_parts(path, "FASTA"))
    for block in line_blocks(path, "FASTA", parts):
        for line in _HEADER.findall(block.data):
            accession = accession_of(line).decode("utf-8", "replace")
            if accession not in headers and (wanted is None or accession in wanted):
                headers[accession] = parsed_header(line.decode("utf-8", "replace"))
    return headers


def parsed_header(header: str) -> Header:
    """What a header, without its `>`, says of its protein.

    >>> parsed_header("sp|P04637|P53_HUMAN Cellular tumor antigen p53 OS=Homo sapiens OX=9606 GN=TP53").gene
    'TP53'
    """
    key, *rest = header.split(None, 1) or [""]
    fields = key.split("|")
    entry_name = fields[2] if fields[0] in ("sp", "tr") and len(fields) > 2 else ""
    text = rest[0].strip() if rest else ""
    for belongs, parsed in _LAYOUTS:
        if belongs(text):
            return replace(parsed(text), entry_name=entry_name, reviewed=fields[0] == "sp")
    return Header(entry_name=entry_name, description=text, reviewed=fields[0] == "sp")


def _uniprot(text: str) -> Header:
    description, *pairs = _UNIPROT_FIELD.split(text)
    values = dict(zip(pairs[::2], (value.strip() for value in pairs[1::2]), strict=True))
    return Header(
        description=description.strip(),
        gene=values.get("GN", ""),
        organism=intern(values.get("OS", "")),
        taxid=int(values["OX"]) if values.get("OX", "").isdecimal() else 0,
    )


def _ensembl(text: str) -> Header:
    values = dict(_ENSEMBL_FIELD.findall(text))
    return Header(
        description=values.get("description", ""),
        gene=values.get("gene_symbol", ""),
        gene_id=values.get("gene", ""),
    )


def _ncbi(text: str) -> Header:
    found = _NCBI_ORGANISM.search(text)
    assert found
    return Header(description=text[: found.start()], organism=intern(found[1]))


_LAYOUTS: tuple[tuple[Callable[[str], object], Callable[[str], Header]], ...] = (
    (_UNIPROT_FIELD.search, _uniprot),
    (_ENSEMBL.match, _ensembl),
    (_NCBI_ORGANISM.search, _ncbi),
)
