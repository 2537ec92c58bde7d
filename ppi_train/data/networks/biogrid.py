"""BioGRID's tables TAB2 and TAB3.

The columns are found by the names in the header, which begins with `#BioGRID Interaction ID`. They are
defined at https://wiki.thebiogrid.org/doku.php/biogrid_tab_version_3.0 and .../biogrid_tab_version_2.0.
TAB3 has 37 columns; TAB2 has 24, without accessions. An empty field is `-`; several values have `|` between.

An interactor is a gene. Its name here is its first Swiss-Prot accession, or else its first TrEMBL accession,
or else its symbol; all other identifiers are alternatives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from ppi_train.data.networks.base import Network, NetworkFilter
from ppi_train.data.networks.collect import Collector, Interactor, Rows
from ppi_train.data.networks.table import CODED, Source, Table, by_value, publication_year
from ppi_train.errors import DataError

_FIRST = "BioGRID Interaction ID"
_KEY = "BioGRID ID Interactor {}"
_SYMBOL = "Official Symbol Interactor {}"
# The first of these that a gene has is its name.
_ACCESSIONS = ("SWISS-PROT Accessions Interactor {}", "TREMBL Accessions Interactor {}")
_OTHERS = (
    _SYMBOL,
    "Systematic Name Interactor {}",
    "Entrez Gene Interactor {}",
    "REFSEQ Accessions Interactor {}",
)
# The second is the name in TAB2.
_ORGANISM, _OLD_ORGANISM = "Organism ID Interactor {}", "Organism Interactor {}"
_SYSTEM, _THROUGHPUT, _AUTHOR = "Experimental System Type", "Throughput", "Author"
_FILTERED = {"system_type": _SYSTEM, "throughput": _THROUGHPUT, "taxid": _ORGANISM.format("A")}
_NUMBER = re.compile(r"\d{1,9}")


def recognises(source: Source) -> bool:
    """Whether the first line is the header of a BioGRID table."""
    return bool(source.head) and _names(source)[0] == _FIRST


def read(source: Source, wanted: NetworkFilter) -> Network:
    """Reads a TAB2 or TAB3 file; see `read_network`."""
    names = _names(source)
    layout = "BioGRID TAB3" if _ACCESSIONS[0].format("A") in names else "BioGRID TAB2"
    columns = {name: at for at, name in enumerate(names)}
    for side in "AB":
        if _OLD_ORGANISM.format(side) in columns:
            columns[_ORGANISM.format(side)] = columns[_OLD_ORGANISM.format(side)]
    _refuse_missing(columns, layout, wanted, source.path)
    wanted.refuse_others(tuple(_FILTERED), layout, source.path)
    table = Table(
        source=source.path,
        delimiter="\t",
        names=tuple(names),
        types=_types(columns),
        needed=tuple(columns[_KEY.format(side)] for side in "AB"),
    )
    collector = Collector(layout, source.path, wanted)
    genes = _Genes()
    for block in source.blocks():
        parsed = table.parse(block, header=block.line == 1)
        found = {name: parsed[at] for name, at in columns.items() if at in parsed}
        rows = collector.rows(len(found[_KEY.format("A")]))
        _filter(rows, found, wanted, collector)
        ends = np.stack(
            [collector.numbers(found[_KEY.format(side)], genes.describe(found, side)) for side in "AB"]
        )
        years = {"year": by_value(found[_AUTHOR], publication_year, np.int16)} if _AUTHOR in found else {}
        collector.add(rows, ends, **years)
    return collector.network()


def _names(source: Source) -> list[str]:
    return source.head[0].lstrip("#").split("\t")


def _refuse_missing(columns: Mapping[str, int], layout: str, wanted: NetworkFilter, source: str) -> None:
    """Refuses a table without a column that is needed."""
    needed = [_KEY.format("A"), _KEY.format("B"), _SYMBOL.format("A"), _SYMBOL.format("B"), _SYSTEM]
    needed += [_FILTERED[name] for name in wanted.given if name in _FILTERED]
    missing = [name for name in needed if name not in columns]
    if missing:
        raise DataError(
            f"the network has no column {', '.join(missing)}",
            where=f"{source}, line 1",
            got=", ".join(columns),
            expected=f"the columns of {layout}",
        )


def _types(columns: Mapping[str, int]) -> dict[int, pa.DataType]:
    coded = [_SYSTEM, _THROUGHPUT, _AUTHOR, *(_KEY.format(side) for side in "AB")]
    coded += [_ORGANISM.format(side) for side in "AB"]
    texts = [name.format(side) for side in "AB" for name in (*_ACCESSIONS, *_OTHERS)]
    types = {columns[name]: pa.string() for name in texts if name in columns}
    return types | {columns[name]: CODED for name in coded if name in columns}


def _filter(rows: Rows, found: Mapping[str, pa.Array], wanted: NetworkFilter, collector: Collector) -> None:
    system = wanted.system_type or "physical"
    collector.saw(_SYSTEM, found[_SYSTEM])
    other = {"physical": "genetic", "genetic": "physical"}[system]
    rows.drop(by_value(found[_SYSTEM], lambda text: text.strip().lower() != system, bool), other)
    if wanted.throughput is not None:
        collector.saw(_THROUGHPUT, found[_THROUGHPUT])
        # "Both", as "High Throughput|Low Throughput", is either.
        lacking = by_value(found[_THROUGHPUT], lambda text: str(wanted.throughput) not in text.lower(), bool)
        rows.drop(lacking, f"not of {wanted.throughput} throughput")


class _Genes:
    """Names the genes of a file, so that no two genes without accession have the same name."""

    def __init__(self) -> None:
        self._symbols: dict[str, str] = {}

    def describe(self, found: Mapping[str, pa.Array], side: str) -> Callable[[str, int], Interactor]:
        """What gives the gene of a BioGRID ID and a row, at one side of the pairs."""

        def describe(key: str, row: int) -> Interactor:
            accessions = _values(found, _ACCESSIONS, side, row)
            others = _values(found, _OTHERS, side, row)
            organism = found.get(_ORGANISM.format(side))
            match = None if organism is None else _NUMBER.fullmatch(organism[row].as_py())
            return Interactor(
                accessions[0] if accessions else self._symbol(key, others),
                int(match.group()) if match else 0,
                (*accessions, *others),
            )

        return describe

    def _symbol(self, key: str, others: Sequence[str]) -> str:
        symbol = others[0] if others else f"biogrid:{key}"
        if self._symbols.setdefault(symbol, key) != key:
            return f"{symbol} (biogrid:{key})"
        return symbol


def _values(found: Mapping[str, pa.Array], columns: Sequence[str], side: str, row: int) -> list[str]:
    """What a row has in some columns; `-` is empty."""
    cells = [found[name.format(side)][row].as_py() for name in columns if name.format(side) in found]
    return [value for cell in cells for value in cell.split("|") if value not in ("", "-")]
