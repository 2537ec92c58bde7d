"""Option groups of prediction and explanation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ppi_train.config import bounds
from ppi_train.config.fields import option
from ppi_train.config.groups import OptionGroup

OUTPUT_ENDINGS = (".parquet", ".tsv", ".csv")
EDGE_ENDINGS = (".graphml", ".tsv")
# In a URL these end a path, or begin a code, or may not stand at all: two artifacts of a server that proxies
# them become one. Among the control characters are line breaks, which lists of files cannot have either.
_NOT_IN_URLS = re.compile(r"[#?%\x00-\x1f\x7f]")


def _listed(endings: tuple[str, ...]) -> str:
    return f"{', '.join(endings[:-1])} or {endings[-1]}"


@dataclass(frozen=True, kw_only=True)
class PredictionOptions(OptionGroup):
    SECTION: ClassVar[str] = "prediction"

    pairs: str | None = option(
        None, "Pairs to score (TSV, CSV, Parquet); labels are not needed.", place="file"
    )
    all_pairs: bool = option(
        False, "Score all pairs of the proteins of the FASTA, the data set or the embedding cache."
    )
    proteins_a: str | None = option(
        None, "Proteins to pair with those of proteins_b: accessions, one per line, or a FASTA.", place="file"
    )
    proteins_b: str | None = option(None, "The other list; goes with proteins_a.", place="file")
    protein: tuple[str, ...] | None = option(
        None, "Proteins, with commas between, to rank all others for as partners: accessions."
    )
    include_self: bool = option(False, "Pair each protein also with itself.")
    top_k: int | None = option(
        None, "Number of best partners to keep per protein; a pair is kept if it is among those of either.",
        low=1, high=bounds.TOP_K,
    )  # fmt: skip
    known: str | None = option(
        None,
        "Known interactions, a network or pair table: the column `known` says which pairs are in it.",
        place="file",
    )
    id_map: tuple[str, ...] | None = option(
        None, "Files, with commas between, that map the names of `known` to accessions.", place="file"
    )
    novel_only: bool = option(
        False, "Keep only pairs that are neither known nor training pairs; left out before top_k is counted."
    )
    training_identity: str = option(
        "auto",
        "How near proteins are to those of training: searched for, with auto if it takes about a minute "
        "at most; or equal sequences only.",
        choices=("auto", "search", "equal"),
    )
    min_probability: float | None = option(None, "Keep pairs with at least this probability.", low=0, high=1)
    uncertainty: bool = option(True, "Write the standard deviation of the logit, where the model has one.")
    output: str | None = option(
        None,
        "The table to write: a name that ends in .parquet, .tsv or .csv; or in / for a folder of Parquet "
        "parts with a manifest.",
        place="output",
    )
    edges: str | None = option(
        None,
        "The kept pairs as a network too, for Cytoscape: a name that ends in .graphml or .tsv.",
        place="output",
    )
    overwrite: bool = option(False, "Replace an output that exists.")

    @property
    def folder(self) -> bool:
        """Whether the output is a folder of parts."""
        return str(self.output).endswith("/")

    def validate(self) -> list[str]:
        return [*self._problems_of_pairs(), *self._problems_of_names()]

    def _problems_of_pairs(self) -> list[str]:
        lists = {"proteins_a": self.proteins_a, "proteins_b": self.proteins_b}
        absent = [name for name, value in lists.items() if not value]
        asked = {
            "pairs": bool(self.pairs),
            "all_pairs": self.all_pairs,
            "proteins_a": len(absent) < 2,
            "protein": bool(self.protein),
        }
        given = [name for name, value in asked.items() if value]
        if not given:
            return ["pairs: required (or all_pairs=true, or protein, or proteins_a and proteins_b)"]
        if len(given) > 1:
            return [f"{' and '.join(given)}: give one of them, not {'both' if len(given) == 2 else 'all'}"]
        if len(absent) == 1:
            return [f"{absent[0]}: required, since the other list is given"]
        return []

    def _problems_of_names(self) -> list[str]:
        found = []
        if not self.output:
            found.append(
                f"output: required; the table to write, a name that ends in {_listed(OUTPUT_ENDINGS)}"
            )
        elif not self.output.endswith((*OUTPUT_ENDINGS, "/")) or Path(self.output).name in ("", ".."):
            found.append(
                f"output: expected a name that ends in {_listed(OUTPUT_ENDINGS)}, or in / for a folder; "
                f"got {self.output!r}"
            )
        elif self.edges and Path(self.edges).absolute() == Path(self.output).absolute():
            found.append(f"output and edges: expected two names; got {self.output!r} for both")
        if self.edges and not self.edges.endswith(EDGE_ENDINGS):
            found.append(f"edges: expected a name that ends in {_listed(EDGE_ENDINGS)}; got {self.edges!r}")
        for name, path in {"output": self.output, "edges": self.edges}.items():
            wrong = dict.fromkeys(_NOT_IN_URLS.findall(Path(path or "").name))
            if wrong:
                marks = " ".join(mark if mark.isprintable() else ascii(mark) for mark in wrong)
                found.append(
                    f"{name}: expected a file name without {marks}, which a tracking server "
                    f"reads as another name; got {path!r}"
                )
        return found

    def unused_options(self, given: frozenset[str]) -> list[str]:
        idle = [name for name in ("top_k", "include_self") if name in given and self.pairs]
        found = [
            f"{name}={getattr(self, name)} has no effect: the pairs are given by a table" for name in idle
        ]
        if self.id_map and not self.known:
            found.append("id_map has no effect: no known interactions are given")
        return found


@dataclass(frozen=True, kw_only=True)
class ExplanationOptions(OptionGroup):
    SECTION: ClassVar[str] = "explanation"

    protein_a: str | None = option(None, "Accession of one protein of the pair.")
    protein_b: str | None = option(None, "Accession of the other; may be the same.")

    def validate(self) -> list[str]:
        return [
            f"{name}: required; an accession of the FASTA, data set or cache"
            for name in ("protein_a", "protein_b")
            if not getattr(self, name)
        ]
