"""Trained models that the package carries: weights, training pairs and their records, but no code.

A release is a folder of this package:

    release.json     what it is, how it was trained, its figures, and sha256 of each other part
    model/           checkpoint of the pair model
    embedder/        checkpoint of its language model
    pairs/           the pairs that it was trained and chosen on, with their proteins' sequence digests,
                     and the sequences of the training proteins

`scripts/build_release.py` makes the folder from a training run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ppi_train.config.options import RELEASED_PREFIX
from ppi_train.errors import CheckpointError, ConfigError, nearest
from ppi_train.io.files import file_digest

DEFAULT = "human"
"""The release that is used where no model is named."""
RECORD = "release.json"
SEQUENCES = "sequences.fasta.gz"
PAIR_FILES = ("train.parquet", "validation.parquet", "proteins.parquet", SEQUENCES)
CARD = "docs/reference/model-card.md"
_FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run of a release is logged with, so that it is like one that was trained here.

    Attributes:
        mode: `train_only` or `train_embedder`.
        parameters: The parameters as a run logs them.
        tags: The tags that say what it was trained on.
        metrics: The last metrics.
        datasets: The data sets: name, context, digest, source, size.
    """

    mode: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    datasets: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Release:
    """A released model in a folder; its files are verified by `verify`."""

    folder: Path

    @cached_property
    def record(self) -> dict[str, Any]:
        """The content of `release.json`.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        path = self.folder / RECORD
        try:
            found: dict[str, Any] = json.loads(path.read_text())
            return {**found, "name": str(found["name"]), "digests": dict(found["digests"])}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(
                "the released model is damaged", where=path, got=error, remedy=_AGAIN
            ) from None

    @property
    def name(self) -> str:
        return str(self.record["name"])

    @property
    def model(self) -> Path:
        """The checkpoint of the pair model."""
        return self.folder / "model"

    @property
    def embedder(self) -> Path:
        """The checkpoint of the language model."""
        return self.folder / "embedder"

    @property
    def pairs(self) -> Path:
        """The folder of the training and validation pairs."""
        return self.folder / "pairs"

    @property
    def embedder_id(self) -> str:
        """What stands for a run ID where the embedder's is asked for."""
        return embedder_id(self.name, str(self.record["digests"]["embedder"]))

    def key_of(self, part: str) -> str:
        """What the run of a part, `model` or `embedder`, is found by on a tracking server."""
        digest = str(self.record["digests"]["model"])[:12]
        return self.embedder_id if part == "embedder" else f"{RELEASED_PREFIX}{self.name}-{part}@{digest}"

    def run(self, part: str) -> RunRecord:
        """The record of the run that trained a part, `model` or `embedder`."""
        fields = self.record["runs"][part]
        return RunRecord(**{**fields, "datasets": tuple(fields["datasets"])})

    def verify(self) -> None:
        """Verifies every file.

        Raises:
            CheckpointError: a file was changed; with its digest and the one that it had.
        """
        try:
            parts = parts_of(self.folder)
        except CheckpointError as error:
            raise CheckpointError(
                f"the released model is damaged: {error.what}",
                where=error.where,
                got=error.got,
                expected=error.expected,
                remedy=_AGAIN,
            ) from None
        for name, digest in parts.items():
            wanted = self.record["digests"].get(name)
            if digest != wanted:
                raise CheckpointError(
                    "a file of the released model was changed after it was released",
                    where=self.folder / name,
                    got=f"sha256 {digest}",
                    expected=f"sha256 {wanted}",
                    remedy=_AGAIN,
                )


_AGAIN = "install ppi_train again"


def parts_of(folder: Path) -> dict[str, str]:
    """sha256 of each part of a release; a checkpoint's is that of its marker, which names its files.

    Raises:
        CheckpointError: a checkpoint was altered, or a file is missing.
    """
    from ppi_train.checkpoints import checkpoint_digest, verify_checkpoint  # torch, which few modes need

    digests = {}
    for name in ("model", "embedder"):
        verify_checkpoint(folder / name)
        digests[name] = checkpoint_digest(folder / name)
    for name in PAIR_FILES:
        path = folder / "pairs" / name
        if not path.is_file():
            raise CheckpointError("a file is missing", where=path)
        digests[f"pairs/{name}"] = file_digest(path)
    return digests


def embedder_id(name: str, digest: str) -> str:
    """`released:NAME@DIGEST` of a language model whose checkpoint has this digest."""
    return f"{RELEASED_PREFIX}{name}@{digest[:12]}"


def release_names() -> list[str]:
    """The names of the models in this package."""
    return sorted(path.parent.name for path in _FOLDER.glob(f"*/{RECORD}"))


def find_release(name: str) -> Release:
    """The released model of a name.

    Raises:
        ConfigError: there is none of this name.
    """
    known = release_names()
    if name not in known:
        raise ConfigError(
            "there is no such released model",
            got=name,
            expected=", ".join(known) or "none: this package carries no model",
            remedy=nearest(name, known),
        )
    return Release(_FOLDER / name)


def canonical_embedder_id(text: str) -> str:
    """`released:NAME` with the digest of the present language model; other IDs as they are.

    Raises:
        ConfigError: there is no release of this name.
    """
    if not text.startswith(RELEASED_PREFIX) or "@" in text:
        return text
    return find_release(text.removeprefix(RELEASED_PREFIX)).embedder_id


def packaged_embedder(text: str) -> Path | None:
    """The checkpoint of a released language model; None if this package has another version of it.

    Args:
        text: `released:NAME@DIGEST`.

    Raises:
        CheckpointError: its files were changed.
    """
    name = text.removeprefix(RELEASED_PREFIX).partition("@")[0]
    if name not in release_names():
        return None
    release = find_release(name)
    if release.embedder_id != text:
        return None
    release.verify()
    return release.embedder
