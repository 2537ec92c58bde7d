"""CPU seconds and memory of a training step of `contact_map`, or of D-SCRIPT 0.3.1, at equal work.

    pip install --no-deps --target /tmp/dscript dscript==0.3.1
    OMP_NUM_THREADS=1 python benchmarks/contact_map.py ours
    OMP_NUM_THREADS=1 PYTHONPATH=/tmp/dscript python benchmarks/contact_map.py authors

Both take the same pairs of random embeddings through projection, map and pooling with squares of 9x9, the
loss with the map's mean, backward, and a step of Adam. Of D-SCRIPT only the modules of its model are loaded;
their one import that training does not use, huggingface_hub, is replaced. Prints the CPU seconds of the
fastest step and the largest memory of the process: run them in turn, more than once.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

NUMBERS, PROTEINS, PAIRS = 384, 16, 8
SPARSITY = 0.65
Step = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("which", choices=("ours", "authors"))
    parser.add_argument("--steps", type=int, default=3)
    given = parser.parse_args()
    torch.manual_seed(0)
    lengths = torch.randint(150, 450, (PROTEINS,)).tolist()
    proteins = [torch.randn(length, NUMBERS) for length in lengths]
    pairs, targets = torch.randint(PROTEINS, (PAIRS, 2)), (torch.arange(PAIRS) % 2).float()
    step = (our_step if given.which == "ours" else authors_step)(proteins, pairs, targets)
    step()
    seconds = []
    for _ in range(given.steps):
        started = time.process_time()
        step()
        seconds.append(time.process_time() - started)
    cells = sum(lengths[a] * lengths[b] for a, b in pairs.tolist())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"{given.which}: {min(seconds):.2f} CPU s a step of {PAIRS} pairs, {cells:,} cells; {peak:,.0f} MB")


def our_step(proteins: Sequence[Tensor], pairs: Tensor, targets: Tensor) -> Step:
    from ppi_train.models.base import Packed
    from ppi_train.models.registry import build_model

    model = build_model("contact_map", input_dim=NUMBERS).train()
    packed = Packed(torch.cat(list(proteins)), torch.tensor([0, *map(len, proteins)]).cumsum(0))
    model.fit_input_statistics([packed])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        model.losses(packed, pairs, targets).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def authors_step(proteins: Sequence[Tensor], pairs: Tensor, targets: Tensor) -> Step:
    hub = types.ModuleType("huggingface_hub")
    hub.PyTorchModelHubMixin = type("PyTorchModelHubMixin", (), {})  # type: ignore[attr-defined]
    sys.modules["huggingface_hub"] = hub
    found = [Path(path, "dscript") for path in sys.path if Path(path, "dscript", "models").is_dir()]
    if not found:
        sys.exit("D-SCRIPT is not on PYTHONPATH: see the head of this file")
    for name, path in (("dscript", found[0]), ("dscript.models", found[0] / "models")):
        package = types.ModuleType(name)  # whose own __init__ would import all of its commands
        package.__path__ = [str(path)]
        sys.modules[name] = package
    from dscript.models import contact, embedding, interaction  # type: ignore[import-not-found]

    model = interaction.ModelInteraction(
        embedding.FullyConnectedEmbed(NUMBERS, 100, 0.5), contact.ContactCNN(100, 50, 7), False, do_pool=True
    )
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=1e-3)

    def step() -> None:
        scored = [model.map_predict(proteins[a][None], proteins[b][None]) for a, b in pairs.tolist()]
        probabilities = torch.stack([probability for _, probability in scored]).clamp(1e-6, 1 - 1e-6)
        means = torch.stack([contacts.mean() for contacts, _ in scored])
        entropy = binary_cross_entropy(probabilities, targets)
        ((1 - SPARSITY) * entropy + SPARSITY * means.mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
        model.clip()

    return step


if __name__ == "__main__":
    main()
