"""Which embedding of a source belongs to which protein of a FASTA.

First by the names themselves, then by names in which a program wrote `_` for another character, then by
the sequence: proteins of one sequence have one embedding.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ppi_train.data.fasta import SequenceTable, accession_of
from ppi_train.embeddings.import_sources.base import EmbeddingSource
from ppi_train.errors import DataError, counted, first_ten

logger = logging.getLogger(__name__)

_REPLACED = re.compile(r"[^A-Za-z0-9_]")


def match_proteins(source: EmbeddingSource, table: SequenceTable) -> tuple[dict[str, str], list[str]]:
    """The places of the FASTA's proteins, and those of other proteins.

    The former are sorted by accession. A place belongs to the protein that its label names, by the rule for
    FASTA headers; if the label is a path, to the protein that its last part names, or else the nearest part
    before that. A label may have `_` where the accession of one protein, and of no other, has a character
    that is neither a letter nor a digit. A protein without a place of its own takes that of the first
    protein with the same sequence.

    Raises:
        DataError: no protein is found, one is found in two places, or a name with `_` fits several.
    """
    matches = _Matches(source)
    unmatched: list[tuple[str, str]] = []
    for place, label in sorted(source.labels.items()):
        accession = next((name for name in _candidates(label) if name in table.sequences), None)
        if accession is None:
            unmatched.append((place, label))
        else:
            matches.add(accession, place)
    extra = _match_replaced(matches, unmatched, table.sequences)
    matches.refuse_repeated()
    if not matches.places:
        raise DataError(
            "no embedding belongs to a protein of the FASTA",
            where=source.path.absolute(),
            got=first_ten(extra) or "no embedding at all",
            expected=f"names such as {first_ten(table.sequences)} of {table.source}",
            remedy="name the embeddings by the accessions of the FASTA",
        )
    found = {accession: places[0] for accession, places in matches.places.items()}
    _match_sequences(found, table.sequences)
    # A further link to an embedding that was found is no embedding of another protein.
    known = {source.content_of(place) for place in found.values()}
    return dict(sorted(found.items())), [place for place in extra if source.content_of(place) not in known]


@dataclass(frozen=True)
class _Matches:
    """The places of each accession that have different contents."""

    source: EmbeddingSource
    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, accession: str, place: str) -> None:
        places = self.places.setdefault(accession, [])
        content_of = self.source.content_of
        if all(content_of(place) != content_of(known) for known in places[:2]):
            places.append(place)

    def refuse_repeated(self) -> None:
        repeated = [
            f"{accession} ({', '.join(places[:2])})"
            for accession, places in sorted(self.places.items())
            if len(places) > 1
        ]
        if repeated:
            raise DataError(
                f"two embeddings or more for {counted(len(repeated), 'protein')}",
                where=self.source.path.absolute(),
                got=first_ten(repeated),
                expected="one for each accession",
                remedy="keep one of them, in a file or folder of its own",
            )


def _candidates(label: str) -> Iterable[str]:
    yield label
    for part in reversed(label.split("/")):
        yield part
        yield accession_of(part.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _match_replaced(
    matches: _Matches, unmatched: list[tuple[str, str]], sequences: Mapping[str, str]
) -> list[str]:
    """Matches labels that have `_` for another character, and returns the places that are left.

    Raises:
        DataError: a label fits the accessions of two sequences or more.
    """
    by_shape: dict[str, list[str]] = {}
    for accession in sequences if unmatched else ():
        if _REPLACED.search(accession):
            by_shape.setdefault(_REPLACED.sub("_", accession), []).append(accession)
    named = frozenset(matches.places)
    extra, ambiguous, shown = [], [], []
    characters: set[str] = set()
    for place, label in unmatched:
        fitting = next((fit for name in _candidates(label) if (fit := _fitting(name, by_shape))), [])
        if named.issuperset(fitting):  # none fits, or all have embeddings under their own names
            extra.append(place)
        elif len({sequences[accession] for accession in fitting}) > 1:
            ambiguous.append(f"{place} ({', '.join(fitting[:3])})")
        else:
            accession = min(set(fitting) - named)
            matches.add(accession, place)
            characters |= set(_REPLACED.findall(accession))
            shown.append(f"{place} ({accession})")
    if ambiguous:
        verb = "fits" if len(ambiguous) == 1 else "fit"
        raise DataError(
            f"{counted(len(ambiguous), 'name')} with _ for another character {verb} several proteins",
            where=matches.source.path.absolute(),
            got=first_ten(ambiguous),
            expected="names that fit one protein of the FASTA",
            remedy="name the embeddings by the accessions of the FASTA",
        )
    if shown:
        logger.info(
            "%s names matched with _ for %s: %s",
            f"{len(shown):,}", " ".join(sorted(characters)), first_ten(shown),
        )  # fmt: skip
    return extra


def _fitting(name: str, by_shape: Mapping[str, list[str]]) -> list[str]:
    """The accessions that a name becomes if some of its `_` are other characters."""
    return [
        accession
        for accession in by_shape.get(_REPLACED.sub("_", name), ())
        if all(mine in ("_", theirs) for mine, theirs in zip(name, accession, strict=True))
    ]


def _match_sequences(found: dict[str, str], sequences: Mapping[str, str]) -> None:
    """Gives proteins without an embedding that of the first protein with the same sequence."""
    missing = sorted(sequences.keys() - found.keys())
    wanted = {sequences[accession] for accession in missing}
    first_of: dict[str, str] = {}
    for accession in sorted(found) if missing else ():
        if sequences[accession] in wanted:
            first_of.setdefault(sequences[accession], accession)
    shown = []
    for accession in missing:
        twin = first_of.get(sequences[accession])
        if twin is not None:
            found[accession] = found[twin]
            shown.append(f"{accession} ({twin})")
    if shown:
        logger.info(
            "%s proteins take the embedding of another name of the same sequence: %s",
            f"{len(shown):,}", first_ten(shown),
        )  # fmt: skip
