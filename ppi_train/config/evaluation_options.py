"""The parameters of what an evaluation measures beside pairs: leakage, and the network that is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ppi_train.config.fields import option
from ppi_train.config.options import Section

AUDITS = ("full", "overlap", "off")
# How node sets were drawn; OWN where that is not said.
WALKS = ("bfs", "dfs", "random_walk")
OWN = "own"
# In place of files.
DRAW, OFF = "draw", "off"


@dataclass(frozen=True, kw_only=True)
class LeakageOptions(Section):
    SECTION: ClassVar[str] = "evaluation"

    audit: str = option(
        "full",
        "What the scored pairs share with the training pairs: full looks for similar sequences too, which "
        "takes half a minute for thousands of proteins, the first time.",
        choices=AUDITS,
    )


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Section):
    SECTION: ClassVar[str] = "evaluation"

    node_sets: tuple[str, ...] | None = option(
        None,
        "Node sets to compare networks on: files (JSON, or a pickle as PRING's), each as bfs=FILE, dfs=FILE, "
        "random_walk=FILE or FILE, with commas between; draw makes them; off leaves out those of a dataset.",
    )
    complexes: str | None = option(
        None, "Table complex_id protein_a protein_b of complexes that the network should show."
    )
    essential: str | None = option(
        None, "Essential proteins of the network, one a line; goes with non_essential."
    )
    non_essential: str | None = option(None, "Others, of which it is known that they are not.")

    def own_problems(self) -> list[str]:
        found = []
        if bool(self.essential) != bool(self.non_essential):
            found.append("essential and non_essential: give both or none")
        items = self.node_sets or ()
        alone = [one for one in items if one in (DRAW, OFF)]
        if alone and len(items) > 1:
            found.append(f"node_sets: {alone[0]} stands alone; got {', '.join(items)}")
        kinds = [kind for kind, _ in map(kind_and_file, items)]
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        found += [f"node_sets: two files of kind {kind}; give one of each" for kind in twice]
        return found

    @property
    def node_set_files(self) -> dict[str, str]:
        """The named files by kind."""
        return dict(kind_and_file(one) for one in self.node_sets or () if one not in (DRAW, OFF))


def kind_and_file(item: str) -> tuple[str, str]:
    """Takes `bfs=FILE` apart; what has no such beginning is a file of kind `own`.

    >>> kind_and_file("dfs=my/sets.json")
    ('dfs', 'my/sets.json')
    """
    kind, _, path = item.partition("=")
    return (kind, path) if kind in WALKS and path else (OWN, item)
