"""CPU seconds of the training steps of a model, in any version of this project.

    OMP_NUM_THREADS=1 python benchmarks/training_step.py pooled_mlp 804 [--pairs 1024] [--proteins 400]

Forward, backward and the optimiser on batches of noise, with static features where a model has some, in the
precision of `--amp`: `auto` is what `amp=auto` takes here, float32 in versions without that choice. Prints
`cpu_seconds`, those of the fastest step times the number of steps, as `benchmarks/against.py` reads them, and
the pairs per second.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import Any

import torch

from ppi_train.models import residue_model
from ppi_train.models.registry import build_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("numbers", type=int, help="of a protein's or a residue's embedding")
    parser.add_argument("--pairs", type=int, default=1024, help="of a batch")
    parser.add_argument("--proteins", type=int, default=400, help="distinct ones of a batch")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--amp", default="auto", choices=["auto", "off", "bf16"])
    given = parser.parse_args()
    torch.manual_seed(0)
    model = build_model(given.model, input_dim=given.numbers)
    proteins = made_proteins(model.GRANULARITY, 2 * given.proteins, given.numbers)
    model.fit_input_statistics([proteins])
    if model.described_width:
        proteins = with_static_features(proteins, model)
    targets = (torch.arange(given.pairs) % 2).float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    model.train()
    low = precision(given.model, given.amp) == "bf16"
    keep_freed_memory()
    seconds = []
    for _ in range(given.steps + 3):
        # As in a training, no two batches have the same number of proteins, nor proteins of the same lengths.
        count = given.proteins - int(torch.randint(given.proteins // 8, ()))
        batch = taken(proteins, torch.randperm(2 * given.proteins)[:count])
        pairs = torch.randint(count, (given.pairs, 2))
        started = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = model.losses(batch, pairs, targets).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.process_time() - started)
    least = min(seconds[3:])
    print(f"cpu_seconds {given.steps * least:.3f}")
    print(f"{given.pairs / least:,.0f} pairs/s")


def made_proteins(granularity: str, count: int, numbers: int) -> Any:
    """Noise of the kind that a model takes: vectors, or 100 to 400 float16 residues each."""
    if granularity == "protein":
        return torch.randn(count, numbers)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), torch.randint(100, 400, (count,)).cumsum(0)])
    return packed(torch.randn(int(offsets[-1]), numbers).half(), offsets)


def taken(proteins: Any, rows: torch.Tensor) -> Any:
    """Some of the proteins."""
    if isinstance(proteins, torch.Tensor):
        return proteins[rows]
    some = proteins.take(rows)
    described = None if proteins.described is None else proteins.described[rows]
    return packed(some.values, some.offsets, described)


def with_static_features(proteins: Any, model: Any) -> Any:
    return packed(proteins.values, proteins.offsets, model.describe(proteins))


def precision(name: str, asked: str) -> str:
    """The precision of training."""
    try:
        from ppi_train.models.device import resolve_amp
        from ppi_train.models.registry import find_model
    except ImportError:  # a version that trains in float32 unless told otherwise
        return "off" if asked == "auto" else asked
    return resolve_amp(asked, "cpu", gains=find_model(name).GAINS_BY_BF16)


def keep_freed_memory() -> None:
    """As the trainer does, in a version that does."""
    with contextlib.suppress(ImportError):
        from ppi_train.models.device import keep_freed_memory

        keep_freed_memory()


def packed(*parts: Any) -> Any:
    """`Packed`, which earlier versions keep elsewhere."""
    return residue_model.Packed(*parts)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
