"""Rules for how accessions are spelt, which make the names of two files fit.

Nothing is renamed by a guess: a rule is named where it is used, or in a message that proposes it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations

BARS = "the accession between the bars of sp|...|..."
GI = "the accession before the last bar of gi|...|ref|...|"
DATABASE = "without the database before the colon"
ISOFORM = "without the isoform number"
VERSION = "without the version"
TAXON = "without the taxon before the dot"
_UPPER = "in upper case"

_RULES: Mapping[str, tuple[re.Pattern[str], str]] = {
    BARS: (re.compile(r"^(?:sp|tr)\|([^|]+)\|.*$"), r"\1"),
    GI: (re.compile(r"^gi\|\d+\|[a-z]+\|([^|]+)(?:\|.*)?$"), r"\1"),
    # Not every prefix: the numbers of some databases are those of others.
    DATABASE: (
        re.compile(
            r"^(?:uniprot(?:kb|/swiss-prot|/trembl)?|swiss-?prot|trembl|refseq|ensembl(?:genomes)?|string"
            r"|entrez ?gene/locuslink):(.+)$"
        ),
        r"\1",
    ),
    ISOFORM: (re.compile(r"^(.+)-\d+$"), r"\1"),
    VERSION: (re.compile(r"^(.+)\.\d+$"), r"\1"),
    TAXON: (re.compile(r"^\d+\.(.+)$"), r"\1"),
    _UPPER: (re.compile(r"^.*[a-z].*$"), ""),
}
# So many names are enough to see which rules make them fit.
_LOOKED_AT = 200


def three_of(names: Iterable[str]) -> str:
    """The first three names in sorted order, with `...` for further ones.

    >>> three_of(["C", "A", "D", "B"])
    'A, B, C, ...'
    """
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (", ..." if len(ordered) > 3 else "")


def fitting_rule(missing: Sequence[str], known: Collection[str]) -> str | None:
    """Names the rule that makes missing names fit known ones, with how many and an example.

    Args:
        missing: Names that are not among the known ones.
        known: The names of the other file.

    Returns:
        None if no rule makes any of them fit.

    >>> fitting_rule(["P1-2", "P2-2"], ["P1", "P2"])
    'without the isoform number, 2 of the 2 names fit: P1-2 as P1'
    """
    plain = {spelt(name, _RULES): name for name in known}
    fits = [(name, plain[spelt(name, _RULES)]) for name in missing if spelt(name, _RULES) in plain]
    if not fits:
        return None
    needed = Counter(_needed(name, found) for name, found in fits[:_LOOKED_AT])
    rules = needed.most_common(1)[0][0]
    name, found = next(fit for fit in fits if _needed(*fit) == rules)
    return f"{' and '.join(rules)}, {len(fits):,} of the {len(missing):,} names fit: {name} as {found}"


def _needed(name: str, found: str) -> tuple[str, ...]:
    """The fewest rules that make two names equal."""
    for count in range(1, len(_RULES)):
        for rules in combinations(_RULES, count):
            if spelt(name, rules) == spelt(found, rules):
                return rules
    return tuple(_RULES)


def spelt(name: str, rules: Iterable[str]) -> str:
    """A name after some of the rules of this module, in their order.

    >>> spelt("uniprotkb:P12345-2", [DATABASE, ISOFORM])
    'P12345'
    """
    for rule in rules:
        pattern, replacement = _RULES[rule]
        name = pattern.sub(replacement, name) if replacement else name.upper()
    return name
