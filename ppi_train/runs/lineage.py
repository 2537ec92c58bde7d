"""Origin of a run: its code, ancestors and training pairs.

The training pairs of a run and all its ancestors are read back from their artifacts, to find test pairs among
them. `lineage_table` shows where a scored model comes from, and the commands that reproduce it.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import ppi_train
from ppi_train.config.fields import FieldSpec, describe_fields
from ppi_train.config.options import DatasetOptions
from ppi_train.data.fasta import read_fasta
from ppi_train.data.pairs import PairTable, pairs_from_ids, read_pairs
from ppi_train.errors import DataError, UserError
from ppi_train.reporting.page import Column, Row, Section, Table
from ppi_train.runs.checkpoints import ResolvedCheckpoint
from ppi_train.runs.config import original_config
from ppi_train.runs.configs import MODES, PairTrainingConfig
from ppi_train.runs.datasets import DEFAULT_DATASET, prepare
from ppi_train.runs.inputs import SplitInputs
from ppi_train.tracking.runs import RunInfo, download_artifact, find_run

logger = logging.getLogger(__name__)

_PACKAGE = Path(ppi_train.__file__).parent

Pairs = set[tuple[str, str]]

# Output places do not affect results.
_PLACES = ("output_dir",)


@functools.cache
def code_version() -> str:
    """The package version and source digest, such as `0.1.0+3f2a9c0d1b4e`.

    Two runs with the same code version ran the same source.
    """
    hasher = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        hasher.update(f"{path.relative_to(_PACKAGE)}\0".encode())
        hasher.update(path.read_bytes())
    return f"{ppi_train.__version__}+{hasher.hexdigest()[:12]}"


def refuse_leakage(candidate: ResolvedCheckpoint, table: PairTable, *, allowed: bool) -> int:
    """Counts the test pairs in the training data of candidate and ancestors.

    Raises:
        DataError: there are such pairs, or a run's training pairs cannot be read, and this is not
            `allowed`.
    """
    test = unordered_pairs(table)
    shared: Pairs = set()
    for run_id in lineage_of(candidate):
        try:
            shared |= test & training_pairs(run_id)
        except UserError as error:
            if not allowed:
                raise DataError(
                    "the training pairs cannot be read, so leakage cannot be ruled out",
                    where=f"run {run_id}",
                    got=error.what,
                    remedy="restore the run, or give allow_leakage=true",
                ) from None
            logger.warning("the training pairs of run %s cannot be read: %s", run_id, error.what)
    if not shared:
        return 0
    count = f"{len(shared):,} of {len(test):,} test pairs are among the training pairs"
    if not allowed:
        raise DataError(
            f"{count} of the candidate",
            where=table.source,
            got=", ".join("-".join(pair) for pair in sorted(shared)[:5]),
            expected="test pairs that neither the run nor its ancestors were trained on",
            remedy="test on other pairs; or give allow_leakage=true, which tags the version",
        )
    logger.warning("%s: allowed, and recorded in a tag", count)
    return len(shared)


def lineage_of(resolved: ResolvedCheckpoint) -> list[str]:
    """IDs of a run's ancestors, oldest first, followed by its own ID."""
    return [*resolved.read().description.get("lineage", ()), resolved.run.run_id]


def training_pairs(run_id: str) -> Pairs:
    """The training pairs that a run logged."""
    return unordered_pairs(logged_pairs(find_run(run_id), "train"))


def logged_pairs(run: RunInfo, split: str) -> PairTable:
    """The pairs of a split that a training run logged.

    Args:
        run: The training run.
        split: `train` or `validation`.

    Raises:
        TrackingError: the run has no such file, or the server does not answer.
        DataError: their digest differs from the one that the run recorded.
    """
    with tempfile.TemporaryDirectory() as folder:
        table = read_pairs(download_artifact(run, f"pairs/{split}.parquet", Path(folder)))
    logged = [digest for name, digest in run.datasets.items() if name.rpartition("/")[2] == split]
    if logged and table.digest[:36] not in logged:
        # Otherwise anyone with write access to the artifacts could hide that a test pair was trained on.
        raise DataError(
            f"the {split} pairs among the run's artifacts are not those that it read",
            where=f"pairs/{split}.parquet of {run}",
            got=f"digest {table.digest[:36]}",
            expected=f"digest {logged[0]}",
            remedy="find out who replaced them",
        )
    return table


def unordered_pairs(table: PairTable) -> Pairs:
    """The distinct pairs of a table."""
    return set(ordered_pairs(table))


def ordered_pairs(table: PairTable) -> list[tuple[str, str]]:
    """Sorted accessions of each pair, in the order of the table."""
    names = table.proteins
    return [(min(names[a], names[b]), max(names[a], names[b])) for a, b in table.index.tolist()]


@dataclass(frozen=True, kw_only=True)
class TrainingLineage:
    """The training data of a run and its ancestors.

    Attributes:
        table: All training pairs, with the label that was used last.
        sequences: Sequences of the proteins, by accession, as far as they could be found.
        notes: What could not be read, and why.
    """

    table: PairTable
    sequences: dict[str, str]
    notes: tuple[str, ...]


def training_lineage(
    resolved: ResolvedCheckpoint, data: DatasetOptions, *, with_sequences: bool
) -> TrainingLineage | None:
    """Reads the available training data of a run and its ancestors.

    Returns None if the training pairs of none of these runs can be read.

    Args:
        resolved: The run.
        data: Gives the present folder of data sets.
        with_sequences: Whether sequences are read too.
    """
    tables, notes = [], []
    sequences: dict[str, str] = {}
    for run_id in lineage_of(resolved):
        try:
            run = find_run(run_id)
            tables.append(logged_pairs(run, "train"))
        except UserError as error:
            notes.append(f"the training pairs of run {run_id} cannot be read: {error.what}")
            continue
        if not with_sequences:
            continue
        try:
            trained = original_config(run)
            assert isinstance(trained, PairTrainingConfig)
            sequences |= _sequences(trained, data)
        except UserError as error:
            notes.append(f"the training sequences of run {run_id} cannot be read: {error.what}")
    for note in notes:
        logger.warning("%s", note)
    if not tables:
        return None
    source = f"training pairs of run {resolved.run.run_id}"
    if len(tables) > 1:
        source += f" and {len(tables) - 1} before it"
    return TrainingLineage(table=joined(tables, source), sequences=sequences, notes=tuple(notes))


def joined(tables: Sequence[PairTable], source: str) -> PairTable:
    """Joins labelled tables into one.

    A pair in several tables gets the label of the last one.
    """
    if len(tables) == 1:
        return replace(tables[0], source=source)
    labels: dict[tuple[str, str], int] = {}
    for table in tables:
        assert table.labels is not None
        labels |= dict(zip(ordered_pairs(table), table.labels.tolist(), strict=True))
    a, b = zip(*labels, strict=True)
    return pairs_from_ids(a, b, np.array(list(labels.values())), source)


def _sequences(trained: PairTrainingConfig, data: DatasetOptions) -> dict[str, str]:
    """The sequences that a run was trained on.

    Empty if the run was given its own pairs with embeddings, but no FASTA.
    """
    if trained.cache.fasta:
        return dict(read_fasta(trained.cache.fasta).sequences)
    if trained.pairs.train_pairs:
        return {}
    wanted = replace(data, dataset=trained.data.dataset or DEFAULT_DATASET, data_seed=trained.data.data_seed)
    return dict(read_fasta(prepare(wanted, ("train",)).splits["train"].fasta).sequences)


def lineage_table(resolved: ResolvedCheckpoint, inputs: SplitInputs, *, caption: str) -> Table:
    """Run, ancestors, embedder, data with digests and code of a scored checkpoint."""
    run, description = resolved.run, resolved.read().description
    spec = inputs.cache.spec
    rows = [
        ("model", description["model"]["name"]),
        ("trained by", f"{run.name}, run {run.run_id}"),
        *(("pretrained by", f"run {run_id}") for run_id in description.get("lineage", ())),
        ("checkpoint", f"sha256 {resolved.digest}"),
        ("embedder", str(spec.embedder["name"])),
        *([("embedder trained by", f"run {spec.embedder_run_id}")] if spec.embedder_run_id else []),
        ("embeddings", f"sha256 {inputs.cache.digest}"),
        ("their numbers", f"sha256 {inputs.cache.content_digest}"),
        *((f"training data {name}", f"sha256 {digest}…") for name, digest in sorted(run.datasets.items())),
        *(
            (f"scored data {inputs.name}/{split}", f"sha256 {table.digest}")
            for split, table in inputs.tables.items()
        ),
        ("trained with code", run.tags.get("ppi.code_version", "not recorded")),
        ("trained on", run.tags.get("ppi.device", "not recorded")),
        ("scored with code", code_version()),
    ]
    columns = (Column(name="what"), Column(name="which", kind="code"))
    return Table(caption=caption, columns=columns, rows=tuple(Row(cells=cells) for cells in rows))


def lineage_section(
    resolved: ResolvedCheckpoint, inputs: SplitInputs, *, mode: str, parameters: Mapping[str, str]
) -> Section:
    """Lineage of a model, with the commands that reproduce training and scoring.

    Args:
        resolved: The scored checkpoint.
        inputs: What it was scored on.
        mode: The mode of the scoring run.
        parameters: The parameters that the scoring run logged.
    """
    trained = resolved.run
    commands = [command_of(mode, parameters)]
    if trained.mode in MODES:
        commands.insert(0, command_of(trained.mode, trained.parameters))
    return Section(
        text=(
            "Run IDs are those of the tracking server. The same data, code and seed give the same figures.",
        ),
        tables=(lineage_table(resolved, inputs, caption="What the scored model follows from"),),
        commands=tuple(commands),
    )


def command_of(mode: str, parameters: Mapping[str, str]) -> str:
    """The `mlflow run` command with every parameter that differs from its default."""
    words = ["mlflow run . --env-manager local", f"-e {mode}"]
    words += [
        f"-P {shlex.quote(f'{spec.name}={parameters[spec.parameter]}')}"
        for spec in describe_fields(MODES[mode])
        if parameters.get(spec.parameter) and not _is_default(spec, parameters[spec.parameter])
        if spec.name not in _PLACES
    ]
    return " ".join(_as_lines(words))


def _is_default(spec: FieldSpec, text: str) -> bool:
    try:
        return spec.parse(text) == spec.default
    except ValueError:  # logged by another version, which had other bounds
        return False


def _as_lines(words: Sequence[str]) -> list[str]:
    """Breaks the command after every third parameter, in shell syntax."""
    return [
        f"\\\n  {word}" if position > 1 and position % 3 == 2 else word for position, word in enumerate(words)
    ]
