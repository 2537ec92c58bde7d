"""Writes pairs in the layouts of public databases, with their published header lines and oddities.

Written from the databases' own files and specifications, and not from the readers: STRING 12.0, BioGRID 4.4,
IntAct (PSI-MITAB 2.7) and its kin. A writer and the reader of its layout share no table of columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

Pairs = Sequence[tuple[str, str]]

_HEADERS = Path(__file__).parents[1] / "data" / "network_headers"
_MITAB = ("2.5", "2.6", "2.7", "2.8")


def header(name: str) -> str:
    """The published header line of a layout."""
    return (_HEADERS / f"{name}.txt").read_text().strip()


def string_links(pairs: Pairs, taxid: int = 3702, score: int = 700) -> str:
    """Both directions of each pair, sorted, as STRING lists them; a homodimer once."""
    rows = {f"{taxid}.{a} {taxid}.{b} {score}" for pair in pairs for a, b in (pair, pair[::-1])}
    return "\n".join([header("string_links"), *sorted(rows)]) + "\n"


def biogrid_row(
    a: str = "P04637",
    b: str = "Q00987",
    *,
    system: str = "physical",
    author: str = "Momand J (1992)",
    taxids: tuple[int, int] = (9606, 9606),
    throughput: str = "Low Throughput",
    symbols: tuple[str, str] | None = None,
    trembl: tuple[str, str] = ("-", "-"),
) -> str:
    """A row of TAB3, with the quote that plain text in BioGRID has."""
    symbols = symbols or (f"SYM{a}", f"SYM{b}")
    ids = [f"1{symbol}" for symbol in symbols]
    start = [
        "103",
        *(f"7{symbol}" for symbol in symbols),
        *ids,
        f"LOC{symbols[0]}",
        f"LOC{symbols[1]}",
        *symbols,
    ]
    middle = ['p53|"TP53', "-", "Affinity Capture-Western", system, author, "PUBMED:1535557"]
    end = [*map(str, taxids), throughput, "-", "-", '"quoted and left open', "-", "BIOGRID"]
    accessions = [a, trembl[0], "NP_000537|NP_001", b, trembl[1], "-"]
    return "\t".join([*start, *middle, *end, *accessions, *["-"] * 6, "Homo sapiens", "Homo sapiens"])


def biogrid_tab3(pairs: Pairs) -> str:
    """A TAB3 file, with a row of a genetic interaction at its end."""
    rows = [biogrid_row(a, b) for a, b in pairs]
    return "\n".join([header("biogrid_tab3"), *rows, biogrid_row("X1", "X2", system="genetic")]) + "\n"


def biogrid_tab2(pairs: Pairs) -> str:
    """A TAB2 file, in which the symbols are the names."""
    rows = [
        f"103\t1\t2\t1{a}\t1{b}\tS{a}\tS{b}\t{a}\t{b}\t-\t-\tTwo-hybrid\tphysical\tIto T (2001)\t11283351"
        "\t559292\t559292\tHigh Throughput\t-\t-\t-\t-\t-\tBIOGRID"
        for a, b in pairs
    ]
    return "\n".join([header("biogrid_tab2"), *rows]) + "\n"


def mitab_row(
    a: str = "uniprotkb:P04637",
    b: str = "uniprotkb:Q00987",
    version: str = "2.7",
    *,
    method: str = 'psi-mi:"MI:0018"(two hybrid)',
    author: str = "Ciferri et al.(2005)",
    taxids: tuple[str, str] = ("taxid:9606(human)|taxid:9606(Homo sapiens)",) * 2,
    kind: str = 'psi-mi:"MI:0915"(physical association)',
    confidence: str = "author score:high|intact-miscore:0.56",
    expansion: str = "-",
    types: tuple[str, str] = ('psi-mi:"MI:0326"(protein)',) * 2,
    negative: str = "false",
    alternatives: tuple[str, str] = ("intact:EBI-366083", "-"),
) -> str:
    """A row as IntAct writes it."""
    aliases = 'psi-mi:p53_human(display_long)|uniprotkb:TP53(gene name)|psi-mi:"a|b"(gene name synonym)', "-"
    row = [a, b, *alternatives, *aliases, method, author, "pubmed:16980971|imex:IM-1", *taxids, kind]
    row += ['psi-mi:"MI:0469"(IntAct)', "intact:EBI-1547321", confidence]
    if version >= "2.6":
        role = 'psi-mi:"MI:0499"(unspecified role)'
        row += [expansion, role, role, role, role, *types, 'go:"GO:0003824"(catalytic activity)', "-", "-"]
        row += ["-", '"comment:"left open', 'figure legend:"Fig. 1, ""b"""', "taxid:-1(in vitro)", "-"]
        row += ["2010/10/17", "2011/12/13", "rogid:Ucd9606", "-", "-", negative]
    if version >= "2.7":
        row += ["-", "-", "0", "0", "-", "-"]
    if version >= "2.8":
        row += ["-"] * 4
    return "\t".join(row)


def mitab(rows: Iterable[str], version: str = "2.7") -> str:
    return "\n".join([header(f"mitab_{version}"), *rows]) + "\n"


def _mitab(version: str) -> Callable[[Pairs], str]:
    return lambda pairs: mitab(
        (mitab_row(f"uniprotkb:{a}", f"uniprotkb:{b}", version) for a, b in pairs), version
    )


def graphml(pairs: Pairs) -> str:
    names = dict.fromkeys(name for pair in pairs for name in pair)
    nodes = "".join(f"<node id={quoteattr(name)}/>\n" for name in names)
    edges = "".join(f"<edge source={quoteattr(a)} target={quoteattr(b)}/>\n" for a, b in pairs)
    return (
        "<?xml version='1.0' encoding='utf-8'?>\n"
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph edgedefault="undirected">\n'
        f"{nodes}{edges}</graph></graphml>\n"
    )


def columns(pairs: Pairs, *, names: str = "", delimiter: str = "\t", end: str = "") -> str:
    rows = (f"{a}{delimiter}{b}{end}\n" for a, b in pairs)
    return f"{names}\n{''.join(rows)}" if names else "".join(rows)


LAYOUTS: dict[str, tuple[str, Callable[[Pairs], str]]] = {
    "biogrid tab3": ("BioGRID TAB3", biogrid_tab3),
    "biogrid tab2": ("BioGRID TAB2", biogrid_tab2),
    **{f"mitab {version}": (f"PSI-MITAB {version}", _mitab(version)) for version in _MITAB},
    "huri": ("two columns", columns),
    "sif": ("SIF", lambda pairs: "".join(f"{a}\tpp\t{b}\n" for a, b in pairs)),
    "graphml": ("GraphML", graphml),
    "edges": ("two columns", lambda pairs: columns(pairs, names="source\ttarget")),
    "weights": (
        "table of pairs",
        lambda pairs: columns(pairs, names="source,target,weight", delimiter=",", end=",0.5"),
    ),
    "labels": ("table of pairs", lambda pairs: columns(pairs, end="\t1")),
}
"""For each layout its name in a network, and what writes pairs in it in their order."""
