"""The tasks of a scan, and the file through which other processes get what they need for them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ppi_train.checkpoints import Checkpoint, model_from_checkpoint
from ppi_train.inference.output_parts import part_of, write_part
from ppi_train.inference.pair_grid import PairGrid, PairList
from ppi_train.inference.pair_sets import PairSet
from ppi_train.inference.scan import EncodedProteins, Scan
from ppi_train.inference.scan_plan import ScanPlan
from ppi_train.io.files import file_digest

_METADATA = "scan"
_GRID = ("shared", "only_a", "only_b", "include_self", "side")
_OPTIONS = ("best", "queries", "min_probability", "uncertainty")


@dataclass(frozen=True)
class HeldScan:
    """A scan in the memory of this process, and the folder of its parts."""

    scan: Scan
    parts: Path

    def opened(self) -> Scan:
        return self.scan


@dataclass(frozen=True)
class SharedScan:
    """A scan in a file, which any process can open.

    Attributes:
        file: Written by `share_scan`.
        parts: The folder of the parts.
        device: On which the scan runs.
    """

    file: Path
    parts: Path
    device: str

    def opened(self) -> Scan:
        return _opened(self.file, self.device)


def score_task(job: HeldScan | SharedScan, number: int) -> Path:
    """Does a task of a scan, unless its part is there, and returns the part.

    Raises:
        CheckpointError: a score is not finite.
        DataError: the shared scan is damaged.
    """
    # The part is there if a worker wrote it and died before it could say so.
    return part_of(job.parts, number) or write_part(job.parts, number, job.opened().run(number))


@lru_cache(maxsize=1)
def _opened(file: Path, device: str) -> Scan:
    """The scan of a file, which a process opens for its first task."""
    plan, encoded = open_scan(file, device)
    return plan.scan(encoded)


def share_scan(folder: Path, plan: ScanPlan, checkpoint: Checkpoint, encoded: EncodedProteins) -> Path:
    """Writes all that a task needs into one file, named by its sha256.

    The processes of a machine map it into memory, and so have one copy of it.

    Args:
        folder: Where to write; every process sees it under the same path.
        plan: The scan.
        checkpoint: Of the model.
        encoded: The model and the states of the proteins.
    """
    states = encoded.model.state_tensors(encoded.states)
    tensors = {f"states.{name}": tensor for name, tensor in states.items()}
    tensors |= {f"weights.{name}": tensor for name, tensor in checkpoint.weights.items()}
    tensors |= {f"plan.{name}": torch.from_numpy(array) for name, array in _arrays(plan).items()}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    grid = plan.pairs if isinstance(plan.pairs, PairGrid) else None
    described = {
        "checkpoint": checkpoint.description,
        "grid": {name: getattr(grid, name) for name in _GRID} if grid else None,
        "options": {name: getattr(plan, name) for name in _OPTIONS},
    }
    unfinished = folder / f"scan.{secrets.token_hex(6)}.unfinished"
    try:
        save_file(tensors, unfinished, metadata={_METADATA: json.dumps(described)})
        return unfinished.rename(folder / f"scan-{file_digest(unfinished)}.safetensors")
    finally:
        unfinished.unlink(missing_ok=True)


def shared_scan(folder: Path) -> Path | None:
    """The intact file that `share_scan` has written into a folder, if there is one."""
    found = sorted(folder.glob("scan-*.safetensors"))
    return next((path for path in found if path.stem == f"scan-{file_digest(path)}"), None)


def open_scan(path: Path, device: str) -> tuple[ScanPlan, EncodedProteins]:
    """Opens what `share_scan` has written; on a CPU its tensors are mapped into memory."""
    with safe_open(path, framework="pt") as file:
        described = json.loads(file.metadata()[_METADATA])
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    checkpoint = Checkpoint(
        weights=_named(tensors, "weights."), description=described["checkpoint"], training_state=None
    )
    on = torch.device(device)
    model = model_from_checkpoint(checkpoint, on)
    states = model.states_of({name: tensor.to(on) for name, tensor in _named(tensors, "states.").items()})
    plan = _plan(described, {name: tensor.numpy() for name, tensor in _named(tensors, "plan.").items()})
    return plan, EncodedProteins(model=model, states=states, device=on)


def _named(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _arrays(plan: ScanPlan) -> dict[str, np.ndarray]:
    found = {} if plan.ranks is None else {"ranks": plan.ranks}
    if isinstance(plan.pairs, PairList):
        return found | {"index": plan.pairs.index}
    excluded = plan.pairs.excluded
    return found if excluded is None else found | excluded.arrays


def _plan(described: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> ScanPlan:
    pairs: PairGrid | PairList
    if described["grid"] is None:
        pairs = PairList(index=arrays["index"])
    else:
        excluded = PairSet.of_arrays(arrays) if "indptr" in arrays else None
        pairs = PairGrid(**described["grid"], excluded=excluded)
    return ScanPlan(pairs=pairs, ranks=arrays.get("ranks"), **described["options"])
