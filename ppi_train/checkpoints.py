"""Checkpoints as plain data: loading them never runs code.

A checkpoint is a folder:

    weights.safetensors   the model's parameters and buffers
    checkpoint.json       how to build the model, what it was trained on, counters, metrics
    training_state.pt     optimiser, schedule, scaler and counters (only in `last`);
                          loads with weights_only=True
    COMPLETE.json         sha256 of each file above, written last

A folder without COMPLETE.json, or whose files do not match it, is not a checkpoint. A model is built from the
hyper-parameters in the description, and then takes the weights.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ppi_train.errors import CheckpointError, StorageError
from ppi_train.io.files import check_torch_archive, file_digest
from ppi_train.io.unavailable import described_by_cause, out_of_memory, unavailable_error
from ppi_train.models.base import PairModel
from ppi_train.models.registry import build_model

MARKER = "COMPLETE.json"
WEIGHTS = "weights.safetensors"
DESCRIPTION = "checkpoint.json"
TRAINING_STATE = "training_state.pt"
CHECKPOINT_FILES = frozenset({MARKER, WEIGHTS, DESCRIPTION, TRAINING_STATE})
FORMAT_VERSION = 1
# Two of the metrics, since they are measured with them.
TEMPERATURE, PREVALENCE = "val/temperature", "val/prevalence"
# Bytes; a disk with less free space counts as full.
_NO_ROOM = 1_000_000

# Weights of a matrix that is built regardless of the checkpoint's size: 64 MiB.
_FREE_WEIGHTS = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A verified checkpoint in memory.

    `description` holds plain JSON: `model` (name, input_dim, hyperparameters), `config`,
    `embedding`, `counters`, `metrics`.
    """

    weights: dict[str, torch.Tensor]
    description: dict[str, Any]
    training_state: dict[str, Any] | None

    @property
    def step(self) -> int:
        """Optimiser steps behind these weights.

        Raises:
            CheckpointError: the checkpoint has no valid step counter.
        """
        counters = self.description.get("counters")
        step = counters.get("step") if isinstance(counters, dict) else None
        if type(step) is not int or step < 0:
            raise CheckpointError(
                "the checkpoint is not one of ours: it does not say how long it was trained",
                got=f"counters {counters!r}",
                expected="a number of steps, `counters.step`",
            )
        return step

    @property
    def temperature(self) -> float:
        """The temperature that divides the logits of these weights.

        It was fitted on their validation pairs.

        1 for checkpoints from before temperatures were fitted.

        Raises:
            CheckpointError: it is not a positive number.
        """
        metrics = self.description.get("metrics", {})
        found = metrics.get(TEMPERATURE, 1.0) if isinstance(metrics, dict) else metrics
        if not isinstance(found, int | float) or not 0 < found <= sys.float_info.max:
            raise CheckpointError(
                "the checkpoint has a temperature that no logit can be divided by",
                got=f"{TEMPERATURE}: {found!r}",
                expected="a positive number",
            )
        return float(found)

    @property
    def prevalence(self) -> float | None:
        """Share of interacting pairs where the temperature was fitted; None for older checkpoints."""
        metrics = self.description.get("metrics", {})
        found = metrics.get(PREVALENCE) if isinstance(metrics, dict) else None
        return float(found) if isinstance(found, int | float) and 0 < found < 1 else None


def checkpoint_digest(folder: Path) -> str:
    """sha256 of the marker file, which identifies the whole checkpoint.

    The marker contains the digests of all other files.
    """
    return file_digest(folder / MARKER)


def write_checkpoint(
    folder: Path,
    *,
    weights: Mapping[str, torch.Tensor],
    description: Mapping[str, object],
    training_state: Mapping[str, object] | None = None,
) -> None:
    """Writes a checkpoint, and replaces the old one only when complete.

    It is written under another name in the same folder and marked complete; only then does it replace the old
    one.

    If it is killed at any moment, the old or the new checkpoint remains, at worst under a name from
    which `recover_checkpoint` restores it.

    Raises:
        StorageError: the disk is full; the old checkpoint is as it was.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    replaced = folder.with_name(f".{folder.name}.replaced")
    recover_checkpoint(folder)
    try:
        partial.mkdir(parents=True)
        _fill(partial, weights, description, training_state)
        # Two renames, then the deletion: the moment without a checkpoint is as short as possible.
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
        _to_disk(folder.parent)
    except Exception as error:
        free = shutil.disk_usage(folder.parent).free
        if not _of_a_full_disk(error, free):
            raise
        raise StorageError(
            "there is no room on the disk for a checkpoint",
            where=folder.absolute(),
            got=f"{free / 1e6:,.1f} MB free",
            remedy="make room, and continue the run; the previous checkpoint is intact",
        ) from error
    finally:
        recover_checkpoint(folder)


def _of_a_full_disk(error: Exception, free: int) -> bool:
    """Whether a full disk caused the error.

    Not every library that writes files reports this clearly.
    """
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return free < _NO_ROOM or "No space left" in str(error)


def recover_checkpoint(folder: Path) -> None:
    """Cleans up after an interrupted write, restoring the old checkpoint.

    Only one process may write below the parent folder.
    """
    replaced = folder.with_name(f".{folder.name}.replaced")
    if replaced.exists() and not folder.exists():
        replaced.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)
    shutil.rmtree(folder.with_name(f".{folder.name}.partial"), ignore_errors=True)


def _to_disk(path: Path) -> None:
    """Flushes a file or a folder's entries to the disk.

    So that they survive a power cut.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fill(
    partial: Path,
    weights: Mapping[str, torch.Tensor],
    description: Mapping[str, object],
    training_state: Mapping[str, object] | None,
) -> None:
    save_file(
        {name: tensor.detach().contiguous().cpu() for name, tensor in weights.items()}, partial / WEIGHTS
    )
    content = {"format_version": FORMAT_VERSION, **description}
    (partial / DESCRIPTION).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    if training_state is not None:
        torch.save(dict(training_state), partial / TRAINING_STATE)
    # safetensors creates files that only their owner can read; apply the umask's permissions instead.
    (partial / WEIGHTS).chmod(stat.S_IMODE((partial / DESCRIPTION).stat().st_mode))
    digests = {path.name: file_digest(path) for path in sorted(partial.iterdir())}
    (partial / MARKER).write_text(json.dumps(digests, indent=2) + "\n")
    for path in (*partial.iterdir(), partial):
        _to_disk(path)


def verify_checkpoint(folder: Path) -> dict[str, str]:
    """Verifies every file against the marker's digests and returns them.

    Raises:
        CheckpointError: the marker is missing or invalid, or a file is missing, altered, or not named in it.
        UnavailableError: a file could not be read; the checkpoint may be whole.
    """
    with described_by_cause(folder):
        return _verified(folder)


def _verified(folder: Path) -> dict[str, str]:
    digests = _read_marker(folder)
    names = set(digests)
    # The marker is untrusted input: only files with a checkpoint's own names are ever opened.
    known = CHECKPOINT_FILES - {MARKER}
    present = {path.name for path in folder.iterdir()} - {MARKER}
    ours = {WEIGHTS, DESCRIPTION} <= names <= known and present == names
    if not ours or not all((folder / name).is_file() for name in names):
        raise CheckpointError(
            "the checkpoint is not one of ours: it holds other files than its marker names",
            where=folder,
            got=", ".join(sorted(present)),
            expected=", ".join(sorted(names & known | {WEIGHTS, DESCRIPTION})),
        )
    for name in sorted(names):
        found = file_digest(folder / name)
        if found != digests[name]:
            raise CheckpointError(
                "a file of the checkpoint was altered after it was written",
                where=folder / name,
                got=f"sha256 {found}",
                expected=f"sha256 {digests[name]}",
                remedy="take another checkpoint, or train again",
            )
    return digests


def _read_marker(folder: Path) -> dict[str, str]:
    if not (folder / MARKER).exists():
        raise CheckpointError(
            "there is no finished checkpoint",
            where=folder,
            expected=f"a folder with {MARKER}, which is written last",
        )
    try:
        return dict(json.loads((folder / MARKER).read_text()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise unavailable_error(error, folder / MARKER) or CheckpointError(
            f"the checkpoint is not one of ours: its {MARKER} cannot be read",
            where=folder,
            expected="the sha256 of each file, as JSON",
            remedy="take another checkpoint, or train again",
        ) from None


def read_checkpoint(folder: Path, *, with_training_state: bool = False) -> Checkpoint:
    """Verifies a checkpoint and loads it to the CPU, never unpickling objects.

    Raises:
        CheckpointError: see `verify_checkpoint`; also for another format version, unreadable files, or
            weights that are not finite numbers.
    """
    digests = verify_checkpoint(folder)
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        weights = load_file(folder / WEIGHTS)
    except (OSError, ValueError, RecursionError, SafetensorError, MemoryError) as error:
        raise unavailable_error(error, folder) or CheckpointError(
            "the checkpoint is not one of ours: it cannot be read",
            where=folder,
            got=error,
            expected=f"{DESCRIPTION} as JSON and {WEIGHTS} as safetensors, which cannot run code",
        ) from None
    version = description.get("format_version") if isinstance(description, dict) else None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            "the checkpoint has another format than this version reads",
            where=folder,
            got=f"format_version {version}",
            expected=FORMAT_VERSION,
        )
    wrong = [name for name, weight in weights.items() if not weight.isfinite().all()]
    if wrong:
        raise CheckpointError(
            "the checkpoint has weights that are not finite numbers",
            where=folder,
            got=f"{len(wrong)} of {len(weights)} tensors, such as {wrong[0]}",
            remedy="take another checkpoint, or train again, with a lower learning_rate if training diverged",
        )
    wanted = with_training_state and TRAINING_STATE in digests
    state = _read_training_state(folder / TRAINING_STATE) if wanted else None
    return Checkpoint(weights=weights, description=description, training_state=state)


def checkpoint_step(folder: Path) -> int:
    """Optimiser steps behind a checkpoint of our own, without reading its weights."""
    return int(json.loads((folder / DESCRIPTION).read_text())["counters"]["step"])


def _read_training_state(path: Path) -> dict[str, Any]:
    try:
        check_torch_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        unavailable = unavailable_error(error, path)
        if unavailable is not None:
            raise unavailable from error
        # On malformed bytes torch's unpickler raises any kind of exception; and its message, which advises
        # to load the file with weights_only=False, must not be shown to a user.
        state = error
    if not isinstance(state, dict):
        raise CheckpointError(
            "the checkpoint is not one of ours: its training state cannot be read",
            where=path,
            got=type(state).__name__,
            expected="a mapping of tensors, numbers and text: anything else could run code",
            remedy="take another checkpoint, or train again",
        )
    return state


def new_model(name: str, input_dim: int, hyperparameters: Mapping[str, object]) -> PairModel:
    """A model with random weights."""
    return build_model(name, input_dim=input_dim, **hyperparameters)


def model_from_checkpoint(checkpoint: Checkpoint, device: torch.device) -> PairModel:
    """The model of a checkpoint in evaluation mode, with its fitted temperature.

    Raises:
        CheckpointError: the weights do not fit the model that the checkpoint describes, or it has a
            temperature that is not a positive number.
    """
    try:
        described: Mapping[str, Any] = checkpoint.description["model"]
        _check_sizes(described, checkpoint.weights)
        model = new_model(described["name"], described["input_dim"], described["hyperparameters"])
    except (KeyError, TypeError, ValueError, RuntimeError, AssertionError, ArithmeticError) as error:
        if out_of_memory(error):
            raise
        raise CheckpointError(
            "the checkpoint does not describe a model that this version has", got=error
        ) from None
    try:
        model.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        raise CheckpointError(
            "the weights do not fit the model that the checkpoint describes",
            got=str(error).splitlines()[-1].strip(),
            expected=f"{described['name']} {described['hyperparameters']}",
        ) from None
    model.temperature = checkpoint.temperature
    return model.to(device).eval()


def _check_sizes(described: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> None:
    """Refuses a description much larger than the stored weights.

    Checked before memory is allocated for the model.

    Raises:
        ValueError: far more weights than there are, or more layers than tensors.
    """
    layers, total = {**described["hyperparameters"]}.get("num_layers", 1), _numbers(weights)
    if layers > len(weights):
        raise ValueError(f"{layers:,} layers for {len(weights)} tensors")
    with torch.device("meta"):  # shapes without memory
        model = new_model(described["name"], described["input_dim"], described["hyperparameters"])
    claimed = _numbers(model.state_dict())
    if claimed > max(_FREE_WEIGHTS, 4 * total):
        raise ValueError(f"{claimed:,} weights, of which {total:,} are there")


def _numbers(tensors: Mapping[str, torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())
