"""Maps the names of a network to the proteins of a FASTA.

The rules are tried in a fixed order, and the first one that finds an accession of the FASTA decides:

1. as given: the accession itself, also between the bars of `sp|...|...`, after `uniprotkb:` or with STRING's
   `9606.` before it.
2. canonical, with `ids="canonical"`: without isoform and version, in the network or in the FASTA.
3. id_map: the files of `id_map`, one after another. Synonyms count only where a file has nothing better.
4. gene name: the gene, Ensembl gene or UniProt entry name in the headers of the FASTA.

A name that stands for several sequences is ambiguous and not mapped, unless a single one of them is reviewed
(`sp|...`). All names of one sequence are one protein: they get its first accession. The rule of each name
is in the table, and `NameMapping.summary` counts them: nothing is guessed silently.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from ppi_train.data.fasta import SequenceTable
from ppi_train.data.fasta_headers import Header, read_headers
from ppi_train.data.identifiers.id_map import IdMap, read_id_map
from ppi_train.data.identifiers.proteins import FastaProteins, Found, canonical, spellings, unversioned
from ppi_train.data.vocabulary import ISOFORM, VERSION, fitting_rule, three_of
from ppi_train.errors import ConfigError, DataError, first_ten

AS_GIVEN, CANONICAL, ID_MAP, GENE = "as given", "canonical", "id_map", "gene name"
AMBIGUOUS, OBSOLETE, NO_SEQUENCE, UNKNOWN = "ambiguous", "obsolete", "without sequence", "unknown"
MAPPED = (AS_GIVEN, CANONICAL, ID_MAP, GENE)
NOT_MAPPED = {
    AMBIGUOUS: "for several sequences of the FASTA",
    OBSOLETE: "the id_map says that they are deleted",
    NO_SEQUENCE: "the id_map knows them, the FASTA lacks their proteins",
    UNKNOWN: "no rule finds them",
}
IDS = ("as_given", "canonical")

_REVIEWED = "the only reviewed of several"
_SAME = "the first accession of its sequence"
_Lookup = Callable[[str], Found | None]
_NOTHING: Mapping[str, Sequence[str]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class NameMapping:
    """What each name of a network stands for.

    accession_of: The accession of the FASTA of each name that was mapped; one for each sequence.
    status: Of every name: one of `MAPPED` or a key of `NOT_MAPPED`.
    rows: The table: name, status, accession, candidates (joined by `;`), rule.
    """

    accession_of: Mapping[str, str]
    status: Mapping[str, str]
    rows: pa.Table

    def summary(self) -> list[str]:
        """Lines for the log: counts by status and rule, with at most ten examples each."""
        proteins = len(set(self.accession_of.values()))
        lines = [f"mapped {len(self.accession_of):,} of {len(self.status):,} names to {proteins:,} proteins"]
        rows = self.rows.to_pylist()
        for status in MAPPED:
            lines += _mapped_text(status, [row for row in rows if row["status"] == status])
        for note in (_REVIEWED, _SAME):
            lines += _mapped_text(f"of these, by {note}", [row for row in rows if note in row["rule"]])
        for status, meaning in NOT_MAPPED.items():
            left = [row for row in rows if row["status"] == status]
            lines += _counted(f"{status}, {meaning}", len(left), [_with_candidates(row) for row in left])
        return lines


@dataclass(frozen=True)
class _Decision:
    status: str
    accession: str | None = None
    candidates: tuple[str, ...] = ()
    rule: str = ""


def map_names(
    names: Sequence[str],
    fasta: SequenceTable,
    *,
    id_map: Sequence[str | Path] = (),
    ids: str = "as_given",
    alternatives: Mapping[str, Sequence[str]] = _NOTHING,
    headers: Mapping[str, Header] | None = None,
) -> NameMapping:
    """Maps names to accessions of a FASTA by the rules of this module.

    Args:
        names: Of a network.
        fasta: The sequences.
        id_map: Files in a layout of `ppi_train.data.identifiers.layouts`. They are read only if names are
            left without them.
        ids: `as_given`, or `canonical`, by which names that differ in isoform or version are one protein.
        alternatives: Further identifiers of names. By each rule, they are looked up after the name itself.
        headers: Of the FASTA; by default they are read from `fasta.source` if there is such a file.

    Raises:
        ConfigError: `ids` is unknown.
        DataError: no name is mapped, more names are ambiguous than mapped, or most names are left and an
            id_map has none of them; a file cannot be read.
    """
    if ids not in IDS:
        raise ConfigError("ids has an unknown value", where="ids", got=ids, expected=" or ".join(IDS))
    if headers is None:
        headers = read_headers(fasta.source, fasta.sequences) if Path(fasta.source).is_file() else {}
    proteins = FastaProteins(fasta.sequences, headers, isoforms=ids == "canonical")
    mapper = _Mapper(proteins, alternatives)
    left = sorted(set(names))
    total = len(left)
    left = mapper.decide(left, AS_GIVEN, proteins.as_given)
    left = mapper.decide(left, CANONICAL, proteins.as_canonical)
    for path in id_map if left else ():
        read = read_id_map(path, mapper.spelt(left), proteins)
        if not read.keys and 2 * len(left) > total:
            raise _foreign_id_map_error(read, left)
        left = mapper.decide(left, ID_MAP, partial(read.find, proteins=proteins))
    left = mapper.decide(left, GENE, proteins.of_gene)
    mapper.give_up(left)
    mapping = mapper.mapping()
    _refuse_unusable(mapping, fasta, ids)
    return mapping


class _Mapper:
    """Decides what names stand for, rule by rule."""

    def __init__(self, proteins: FastaProteins, alternatives: Mapping[str, Sequence[str]]) -> None:
        self._proteins = proteins
        self._alternatives = alternatives
        self._decided: dict[str, _Decision] = {}
        # What names stand for that an id_map has, but not the FASTA.
        self._others: dict[str, frozenset[str]] = {}

    def decide(self, names: Sequence[str], status: str, lookup: _Lookup) -> list[str]:
        """Looks names up by a rule; gives those that it does not decide."""
        for name in names:
            found = self._look_up(name, lookup)
            if found is None:
                continue
            if found.accessions:
                self._decided[name] = self._choose(status, found)
            else:
                self._others[name] = self._others.get(name, frozenset()) | found.others
        return [name for name in names if name not in self._decided]

    def give_up(self, names: Iterable[str]) -> None:
        """Says of the names that are left why they are not mapped."""
        for name in names:
            others = self._others.get(name)
            status = UNKNOWN if others is None else NO_SEQUENCE if others else OBSOLETE
            self._decided[name] = _Decision(status, candidates=tuple(sorted((others or set()) - {name})))

    def spelt(self, names: Iterable[str]) -> set[str]:
        """All spellings of names and their alternatives that may be looked up in an id_map."""
        texts = {text for name in names for given in self._identifiers(name) for text, _ in spellings(given)}
        texts |= {unversioned(text) for text in texts}
        return texts | {canonical(text) for text in texts} if self._proteins.isoforms else texts

    def mapping(self) -> NameMapping:
        """What was decided."""
        decided = dict(sorted(self._decided.items()))
        columns = {
            "name": list(decided),
            "status": [decision.status for decision in decided.values()],
            "accession": [decision.accession for decision in decided.values()],
            "candidates": [";".join(decision.candidates) for decision in decided.values()],
            "rule": [decision.rule for decision in decided.values()],
        }
        return NameMapping(
            accession_of={
                name: decision.accession for name, decision in decided.items() if decision.accession
            },
            status={name: decision.status for name, decision in decided.items()},
            rows=pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}),
        )

    def _identifiers(self, name: str) -> tuple[str, ...]:
        return (name, *self._alternatives.get(name, ()))

    def _look_up(self, name: str, lookup: _Lookup) -> Found | None:
        """What a rule finds for a name, or else for its alternatives together."""
        found = lookup(name)
        if found and found.accessions:
            return found
        others = [other for text in self._alternatives.get(name, ()) if (other := lookup(text))]
        hits = [other for other in others if other.accessions]
        strong = [hit for hit in hits if not hit.weak] or hits
        if not strong:
            return found or next(iter(others), None)
        accessions = frozenset[str]().union(*(hit.accessions for hit in strong))
        rule = f"{strong[0].rule}, by another identifier of the network"
        return Found(self._proteins.without_isoforms(accessions), rule)

    def _choose(self, status: str, found: Found) -> _Decision:
        representative = self._proteins.representative
        chosen = {representative[accession] for accession in found.accessions}
        notes = [found.rule + (", synonym" if found.weak else "")]
        if len(chosen) > 1:
            reviewed = {representative[accession] for accession in self._proteins.reviewed(found.accessions)}
            if len(reviewed) != 1:
                return _Decision(AMBIGUOUS, None, tuple(sorted(found.accessions)), notes[0])
            chosen = reviewed
            notes.append(_REVIEWED)
        accession = chosen.pop()
        of_sequence = {name for name in found.accessions if representative[name] == accession}
        if of_sequence != {accession}:
            notes.append(_SAME)
        candidates = tuple(sorted(found.accessions)) if len(found.accessions) > 1 else ()
        return _Decision(status, accession, candidates, ", ".join(notes))


def _mapped_text(what: str, rows: Sequence[Mapping[str, str]]) -> list[str]:
    # A name that is its accession is no example of anything.
    examples = [f"{row['name']} as {row['accession']}" for row in rows if row["name"] != row["accession"]]
    return _counted(what, len(rows), examples)


def _with_candidates(row: Mapping[str, str]) -> str:
    return f"{row['name']} ({row['candidates']})" if row["candidates"] else row["name"]


def _counted(what: str, count: int, examples: Sequence[str]) -> list[str]:
    such_as = f", such as {first_ten(examples)}" if examples else ""
    return [f"{what}: {count:,}{such_as}"] if count else []


def _foreign_id_map_error(read: IdMap, names: Collection[str]) -> DataError:
    return DataError(
        "the id_map has none of the names that are to be mapped",
        where=read.source,
        got=f"{read.layout.name} of {three_of(read.examples)}",
        expected=f"names such as {three_of(names)}",
        remedy="give the id_map of the same species and database as the network",
    )


def _refuse_unusable(mapping: NameMapping, fasta: SequenceTable, ids: str) -> None:
    """Refuses a mapping of nothing, or one in which ambiguous names outnumber the mapped ones.

    Raises:
        DataError: with three names and what they stand for, or three accessions of the FASTA.
    """
    ambiguous = [row for row in mapping.rows.to_pylist() if row["status"] == AMBIGUOUS]
    if len(ambiguous) > len(mapping.accession_of):
        examples = (_with_candidates(row) for row in ambiguous)
        raise DataError(
            "most names of the network stand for several sequences of the FASTA",
            where=fasta.source,
            got=f"{len(ambiguous):,} of {len(mapping.status):,} names, such as "
            f"{'; '.join(islice(examples, 3))}",
            expected="one sequence a gene",
            remedy="give a FASTA with one sequence a gene, such as a reference proteome of UniProt without "
            "isoforms" + ("; or ids=canonical, which takes isoforms for one protein" * (ids == "as_given")),
        )
    if mapping.accession_of:
        return
    known = [row for row in mapping.rows.to_pylist() if row["status"] == NO_SEQUENCE]
    if known:
        examples = (_with_candidates(row) for row in known)
        raise DataError(
            "the id_map leads to no protein of the FASTA",
            where=fasta.source,
            got=f"it knows {len(known):,} of {len(mapping.status):,} names, such as "
            f"{', '.join(islice(examples, 3))}",
            expected=f"accessions of the FASTA, such as {three_of(fasta.sequences)}",
            remedy="give the FASTA of the species of the network, with accessions that the id_map has"
            + ("; or ids=canonical, if these are isoforms" * (ids == "as_given")),
        )
    names = sorted(mapping.status)
    rule = fitting_rule(names, fasta.sequences)
    helps = rule and ids == "as_given" and (ISOFORM in rule or VERSION in rule)
    advice = f"{rule}: give ids=canonical" if helps else None
    raise DataError(
        "no name of the network is that of a protein of the FASTA",
        where=fasta.source,
        got=f"the names {three_of(names)}",
        expected=f"accessions or genes of the FASTA, such as {three_of(fasta.sequences)}",
        remedy=advice
        or "give an id_map of this species, such as STRING's protein.aliases or UniProt's "
        "idmapping.dat, or the FASTA of the network",
    )
