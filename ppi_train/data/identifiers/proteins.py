"""The proteins of a FASTA, found by the spellings of their accessions and by gene."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from ppi_train.data.fasta_headers import Header
from ppi_train.data.vocabulary import BARS, DATABASE, GI, ISOFORM, TAXON, VERSION, spelt

# Names of Ensembl and RefSeq; the version of one says which sequence it had, not which protein it is.
VERSIONED = r"^(ENS[A-Z]*\d{11}|[NXYW]P_\d+)\.\d+$"


@dataclass(frozen=True)
class Found:
    """What a rule finds for a name.

    accessions: Of the FASTA; empty if the name is known but its protein is not in the FASTA.
    rule: Says how it was found.
    others: Where there are no accessions, what the name stands for.
    weak: Whether it is a synonym or the like, which counts only where nothing better is found.
    """

    accessions: frozenset[str]
    rule: str
    others: frozenset[str] = frozenset()
    weak: bool = False


def spellings(name: str) -> Iterator[tuple[str, str]]:
    """Spellings of a name that lose nothing, with the rule of each, the name itself first.

    >>> list(spellings("9606.ENSP1"))
    [('9606.ENSP1', 'exact'), ('ENSP1', 'without the taxon before the dot')]
    """
    yield name, "exact"
    bare = name
    for rule in (BARS, GI, DATABASE, TAXON):
        shorter = spelt(bare, [rule])
        if shorter != bare:
            yield shorter, rule
            bare = shorter


def unversioned(name: str) -> str:
    """A name of Ensembl or RefSeq without its version, any other as it is."""
    return re.sub(VERSIONED, r"\1", name)


def canonical(name: str) -> str:
    """A name without isoform and version."""
    return spelt(name, (VERSION, ISOFORM))


class FastaProteins:
    """Finds the accessions of a FASTA.

    Args:
        sequences: By accession.
        headers: By accession, as far as they are known.
        isoforms: Whether names that differ in isoform or version only are one protein.
    """

    def __init__(
        self, sequences: Mapping[str, str], headers: Mapping[str, Header], *, isoforms: bool
    ) -> None:
        self.isoforms = isoforms
        self._headers = headers
        first_of: dict[str, str] = {}
        self.representative = {
            accession: first_of.setdefault(sequences[accession], accession) for accession in sorted(sequences)
        }
        """The first accession of the same sequence, by accession."""
        self._bare = _inverted((spelt(accession, [TAXON]), accession) for accession in sequences)
        self._canonical = (
            _inverted(
                (canonical(bare), accession) for bare, found in self._bare.items() for accession in found
            )
            if isoforms
            else {}
        )

    def as_given(self, name: str) -> Found | None:
        """The accession that a name spells."""
        for text, rule in spellings(name):
            if text in self.representative:
                return Found(frozenset({text}), rule)
            if text in self._bare:
                return Found(frozenset(self._bare[text]), rule if text != name else TAXON)
        return None

    def as_canonical(self, name: str) -> Found | None:
        """The accessions that differ from a name in isoform or version only."""
        for text, _ in spellings(name) if self.isoforms else ():
            plain = canonical(text)
            if plain in self._canonical:
                return Found(self.without_isoforms(self._canonical[plain]), _difference(text, plain))
        return None

    def of_gene(self, name: str) -> Found | None:
        """The accessions with a gene name, an Ensembl gene or a UniProt entry name in their headers."""
        for text in dict.fromkeys((name, unversioned(name))):
            if text in self._by_header:
                accessions, rule = self._by_header[text]
                return Found(self.without_isoforms(accessions), rule)
        return None

    def all_spellings(self) -> list[str]:
        """All texts that stand for a protein of the FASTA by their spelling."""
        return list({*self.representative, *self._bare, *self._canonical})

    def without_isoforms(self, accessions: Iterable[str]) -> frozenset[str]:
        """Accessions without the isoforms of others of them, where isoforms are one protein."""
        kept = set(accessions)
        return frozenset(
            accession
            for accession in kept
            if not self.isoforms or canonical(accession) == accession or canonical(accession) not in kept
        )

    def reviewed(self, accessions: Iterable[str]) -> set[str]:
        """Those that are entries of Swiss-Prot."""
        return {name for name in accessions if name in self._headers and self._headers[name].reviewed}

    @cached_property
    def _by_header(self) -> dict[str, tuple[set[str], str]]:
        found: dict[str, tuple[set[str], str]] = {}
        # The earlier kind is taken where a text is of two kinds.
        for rule, key in (
            ("entry name of the FASTA", lambda header: header.entry_name),
            ("gene name of the FASTA", lambda header: header.gene),
            ("Ensembl gene of the FASTA", lambda header: unversioned(header.gene_id)),
        ):
            kind = _inverted((key(header), accession) for accession, header in self._headers.items())
            found = {text: (accessions, rule) for text, accessions in kind.items() if text} | found
        return found


def _inverted(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for key, value in pairs:
        found.setdefault(key, set()).add(value)
    return found


def _difference(name: str, plain: str) -> str:
    """Which of the rules made a name canonical."""
    rules = [rule for rule in (VERSION, ISOFORM) if spelt(name, [rule]) != name]
    return " and ".join(rules) if name != plain else "of an isoform or a version of the FASTA"
