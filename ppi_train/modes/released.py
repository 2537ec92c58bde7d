"""Released models as runs of the tracking server, so that every mode takes them by a run ID."""

from __future__ import annotations

import logging
import time
from typing import TypeVar

from ppi_train.config.fields import describe_fields
from ppi_train.config.groups import ModeConfig
from ppi_train.config.options import RELEASED_PREFIX
from ppi_train.io.files import file_digest
from ppi_train.released import CARD, DEFAULT, PAIR_FILES, Release, RunRecord, find_release
from ppi_train.runs.configs import PredictConfig, PromoteConfig, ServeConfig
from ppi_train.tracking.outbox.records import (
    OWN_MODEL,
    Checkpoints,
    Datasets,
    End,
    Files,
    Metrics,
    Model,
    Parameters,
    Point,
    Record,
    Tags,
    TrackedDataset,
)
from ppi_train.tracking.released_run import find_released_run, log_released_run

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=ModeConfig)


def released_run_id(name: str, *, part: str = "model") -> str:
    """The run of a released model on the tracking server, where it is logged at its first use.

    Args:
        name: The release.
        part: `model`, or `embedder` for the run of its language model.

    Raises:
        ConfigError: there is no such release.
        CheckpointError: a file of the release was changed.
        TrackingError: the server does not answer.
    """
    release = find_release(name)
    release.verify()
    key = release.key_of(part)
    found = find_released_run(key)
    if found is None:
        record = release.run(part)
        found = log_released_run(
            key, mode=record.mode, name=f"released-{name}-{part}", records=_records(release, part, record)
        )
        logger.info("released model %s: its %s is now run %s", name, part, found)
    return found


def with_released_runs(config: C) -> C:
    """The config with run IDs in place of released models.

    They are given as `released=NAME`, or as `released:NAME` where a run ID is asked for. Where no model is
    named, `predict` and `serve` take the default one. A promotion that names no registered model gets the
    name `ppi-NAME`.

    Raises:
        UserError: see `released_run_id`.
    """
    config = _as_run_id(config)
    changed: dict[str, object] = {}
    for spec in describe_fields(type(config)):
        value = config.values[spec.name]
        if not spec.rule.names_runs or spec.name == "embedder_run_id":  # which runs/embedder.py finds
            continue
        if isinstance(value, str):
            changed[spec.name] = _run_id_of(value)
        elif isinstance(value, tuple):
            changed[spec.name] = tuple(_run_id_of(text) for text in value)
    return config.replace(**changed)


def _as_run_id(config: C) -> C:
    """`released=NAME`, or the default of `predict` and `serve`, as a run ID `released:NAME`."""
    name = config.values.get("released")
    if isinstance(config, PredictConfig | ServeConfig) and not config.evaluated.named:
        name = DEFAULT
    if name is None:
        return config
    changed: dict[str, object] = {"released": None, "run_id": f"{RELEASED_PREFIX}{name}"}
    if isinstance(config, PromoteConfig) and not config.registry.registered_model:
        changed["registered_model"] = f"ppi-{name}"
    return config.replace(**changed)


def _run_id_of(text: str) -> str:
    if not text.startswith(RELEASED_PREFIX):
        return text
    name = text.removeprefix(RELEASED_PREFIX)
    released_run_id(name, part="embedder")  # so that later versions of this package find it
    run_id = released_run_id(name)
    logger.info(
        "the released model %s is run %s; what it was trained on, and how good it is: %s", name, run_id, CARD
    )
    return run_id


def _records(release: Release, part: str, record: RunRecord) -> list[Record]:
    """What the run is logged with; each record has the same effect twice as once."""
    from ppi_train.checkpoints import checkpoint_digest, checkpoint_step  # torch, which few modes need

    now = int(time.time() * 1000)
    folder = (release.folder / part).resolve()
    checkpoint = Checkpoints(
        folders={"best": str(folder)},
        digests={"best": checkpoint_digest(folder)},
        step=checkpoint_step(folder),
        final=True,
    )
    points = tuple(
        Point(name=name, value=float(value), timestamp=now, step=0) for name, value in record.metrics.items()
    )
    datasets = tuple(TrackedDataset(**dataset) for dataset in record.datasets)
    records: list[Record] = [
        Parameters(values=dict(record.parameters)),
        Tags(values=dict(record.tags)),
        Datasets(datasets=datasets),
        checkpoint,
    ]
    if part == "model":
        pairs = release.pairs.resolve()
        digests = {name: file_digest(pairs / name) for name in PAIR_FILES}
        records += [Files(folder=str(pairs), artifact_path="pairs", digests=digests), _model(release, record)]
    measured = Metrics(points=points)
    if part == "model":
        validation = next(dataset for dataset in datasets if dataset.context == "validation")
        measured = Metrics(
            points=points, model=OWN_MODEL, dataset=validation.name, dataset_digest=validation.digest
        )
    return [*records, measured, End(status="FINISHED", time=now)]


def _model(release: Release, record: RunRecord) -> Model:
    from ppi_train.checkpoints import read_checkpoint
    from ppi_train.serving import SCORER, example_sequences, served_requirements

    folder = release.model.resolve()
    embedder = str(read_checkpoint(folder).description["embedding"]["recipe"]["embedder"]["name"])
    return Model(
        name=f"released-{release.name}",
        checkpoint=str(folder),
        digests={path.name: file_digest(path) for path in sorted(folder.iterdir())},
        embedder=str(release.embedder.resolve()),
        scorer=SCORER,
        example={column: tuple(rows) for column, rows in example_sequences().items()},
        requirements=tuple(served_requirements(embedder)),
        parameters=dict(record.parameters),
        tags={name: record.tags[name] for name in ("ppi.model", "ppi.dataset")},
    )
