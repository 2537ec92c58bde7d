"""A downloaded network as ordinary tables of labelled pairs, with what was decided on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ppi_train.data.options import NetworkDivisionOptions, SourceNetworkOptions
from ppi_train.data.pairs import PairTable
from ppi_train.data.splits import GIVEN, SIDES, DrawnSplit, SplitHelp, SplitPlan
from ppi_train.errors import DataError
from ppi_train.runs.network_source import NetworkSource, read_source
from ppi_train.runs.network_split import divide_network, small_sides
from ppi_train.runs.prepared_tables import NewTables, PreparedTables, input_digests, prepare_tables

DEFAULT_NEGATIVES = "degree_matched"

MIN_EDGES = 100
"""Fewer edges are refused: what is trained and measured on them says nothing."""

_KEPT_APART = {
    "random": "pairs are kept apart, proteins are shared",
    "c3": "no protein is on two sides; similar ones may be, which split_method=clustered prevents",
    "clustered": "no protein is on two sides, nor are two of more than {max_identity:.0%} identity",
    "time": "by year of publication, proteins are shared",
}
_OF_A_WALK = "test is a part of the network with its own proteins"


def prepare_network(
    options: SourceNetworkOptions,
    division: NetworkDivisionOptions,
    fastas: Sequence[Path],
    data_dir: Path,
) -> PreparedTables:
    """Reads a network, divides it and draws negatives, unless that was done before.

    Args:
        options: The network and what is taken of it.
        division: How it is divided.
        fastas: The files of its sequences.
        data_dir: Where prepared tables are kept.

    Raises:
        DataError: a file is wrong, names and sequences do not fit, or the network is too small to be divided.
    """
    places = {"network", "id_map", "known"}
    recipe = {
        "network": input_digests([options.network or ""], "network"),
        "id_map": input_digests(options.id_map or (), "id_map"),
        "known": input_digests(options.known or (), "known network"),
        "fasta": input_digests(fastas, "FASTA"),
        "options": {name: value for name, value in vars(options).items() if name not in places},
        "division": vars(division),
    }
    return prepare_tables(recipe, data_dir, lambda: _new_tables(options, division, fastas))


def _new_tables(
    options: SourceNetworkOptions, division: NetworkDivisionOptions, fastas: Sequence[Path]
) -> NewTables:
    source = read_source(options, fastas, keep_negatives=division.negatives is None)
    edges = source.mapped.pairs
    refuse_star(edges)
    if len(edges) < MIN_EDGES:
        raise DataError(
            "the network is too small to train and test on",
            where=edges.source,
            got=f"{len(edges):,} pairs of {len(edges.proteins):,} proteins with a sequence",
            expected=f"{MIN_EDGES} pairs or more",
            remedy="take more of it by other filters, or give a larger network; a model that was trained on "
            "another network can score these pairs: mlflow run . --env-manager local -e predict",
        )
    plan = _plan(division, edges)
    sequences = source.proteins.sequences.sequences
    split = divide_network(
        edges, plan, split_help(source), sequences=sequences, max_identity=division.max_identity
    )
    return NewTables(
        tables=split.tables,
        sequences=sequences,
        mapping=source.mapping,
        lines=[*source.lines(), _split_line(plan, split, division), negatives_line(plan, source)],
        warnings=small_sides(split, plan, len(edges)),
        facts={
            "network": edges.source,
            "layout": source.network.layout,
            "rows": dict(source.network.counts),
            "negatives": plan.negatives,
            "dropped": split.dropped,
        },
    )


def split_help(source: NetworkSource) -> SplitHelp:
    """What a network says beyond its pairs, for its division."""
    return SplitHelp(years=source.mapped.years, organisms=source.organisms, known=source.known)


def refuse_star(edges: PairTable) -> None:
    """Refuses a network in which all pairs have one protein in common.

    Raises:
        DataError: a side of it could not have pairs of its own proteins.
    """
    partners = np.bincount(edges.index.reshape(-1))
    if len(edges) > 1 and partners.max() == len(edges):
        raise DataError(
            "the network is a star: all its pairs have one protein in common",
            where=edges.source,
            got=f"{len(edges):,} partners of {edges.proteins[int(partners.argmax())]}",
            expected="pairs of many proteins: on a star, to know the protein is to know the label",
            remedy="give a network that has the pairs of its partners, too",
        )


def _plan(division: NetworkDivisionOptions, edges: PairTable) -> SplitPlan:
    """How the network is divided; negatives that it has are kept unless others are asked for."""
    given = edges.labels is not None and division.negatives is None
    return SplitPlan(
        method=division.split_method,
        val_fraction=division.val_fraction,
        test_fraction=division.test_fraction,
        negatives=GIVEN if given else division.negatives or DEFAULT_NEGATIVES,
        negative_ratio=division.negative_ratio,
        seed=division.split_seed,
    )


def _split_line(plan: SplitPlan, split: DrawnSplit, division: NetworkDivisionOptions) -> str:
    apart = _KEPT_APART.get(plan.method, _OF_A_WALK).format(max_identity=division.max_identity)
    sides = ", ".join(
        f"{side} {split.tables[side].positives:,}"
        + (f" ({split.years[side][0]} to {split.years[side][1]})" if split.years else "")
        for side in SIDES
    )
    dropped = "without a year" if plan.method == "time" else "between two sides"
    return (
        f"split: {plan.method}, seed {plan.seed}: {apart}; interactions: {sides}; "
        f"{split.dropped:,} {dropped} left out"
    )


def negatives_line(plan: SplitPlan, source: NetworkSource) -> str:
    """Which negatives there are, and what is never drawn."""
    if plan.negatives == GIVEN:
        return "negatives: those of the network; negatives=degree_matched draws others"
    kind = plan.negatives.replace("_", "-")
    across = "" if source.organisms is None else ", between the organisms that interactions are between"
    return (
        f"negatives: {plan.negative_ratio:g} to 1, {kind}, seed {plan.seed}{across}; never a pair of any "
        f"set, nor one of {len(source.known):,} further known pairs"
    )
