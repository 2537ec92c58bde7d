"""Speed of scoring all pairs of many proteins.

The model has random weights and the embeddings are random; or it is the released model, with its training
proteins and the same read backwards, cut to `--residues`.

    nice -n 10 python benchmarks/scan.py [--proteins 20000] [--model pooled_mlp] [--top_k 10]
    nice -n 10 python benchmarks/scan.py --proteins 20000 --everything
    nice -n 10 python benchmarks/scan.py --proteins 8000 --released

Prints the pairs, the time and the rate of the scan, the time of all, the CPU seconds without encoding, the
size of the table and the peak of resident memory. The default is small; the second command writes every
pair. `--no_bf16` scores all pairs in float32, as processors without instructions for bf16 do.
"""

from __future__ import annotations

import argparse
import logging
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from ppi_train.checkpoints import model_from_checkpoint, read_checkpoint
from ppi_train.data.fasta import read_fasta
from ppi_train.embeddings.embedders import make_embedder
from ppi_train.embeddings.embedders.base import EmbedderRequest, TrainedWeights
from ppi_train.inference.pair_grid import SIDE, PairGrid, in_chunks
from ppi_train.inference.predict import make_prediction
from ppi_train.inference.prediction import Prediction
from ppi_train.inference.scan import EncodedProteins
from ppi_train.models.base import Packed, PairModel
from ppi_train.models.device import describe_device, resolve_device
from ppi_train.models.registry import MODEL_FACTORIES, build_model
from ppi_train.released import DEFAULT, SEQUENCES, find_release

# Proteins that are encoded at once.
_AT_ONCE = 256


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--proteins", type=int, default=2000)
    parser.add_argument("--model", choices=sorted(MODEL_FACTORIES), default="pooled_mlp")
    parser.add_argument("--dimension", type=int, default=640, help="numbers of an embedding")
    parser.add_argument("--residues", type=int, default=400, help="of a protein, for models of residues")
    parser.add_argument("--top_k", type=int, default=10)
    parser.add_argument("--everything", action="store_true", help="keep all pairs")
    parser.add_argument("--no_uncertainty", action="store_true")
    parser.add_argument("--min_probability", type=float, help="keep the pairs above it, instead of the best")
    parser.add_argument("--released", action="store_true", help="the released model and real proteins")
    parser.add_argument("--no_bf16", action="store_true")
    parser.add_argument("--side", type=int, default=SIDE, help="proteins on either side of a block")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", help="where to write; a disk, as /tmp may be memory")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = resolve_device(given.device)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        prediction = Prediction(
            output=Path(folder) / "table.parquet",
            proteins=tuple(f"P{number:06d}" for number in range(given.proteins)),
            pairs=PairGrid(shared=given.proteins, side=given.side),
            top_k=None if given.everything or given.min_probability else given.top_k,
            min_probability=given.min_probability,
            uncertainty=not given.no_uncertainty,
        )
        started = time.perf_counter()
        proteins = encoded(given, device)
        before = time.process_time()
        counts = make_prediction(prediction, lambda: proteins)
        used, seconds = time.process_time() - before, time.perf_counter() - started
        print(f"model {'released' if given.released else given.model}, {describe_device(device)}")
        rate, size = counts.pairs / counts.seconds, prediction.output.stat().st_size
        print(f"proteins {given.proteins:,}, pairs {counts.pairs:,}, kept {counts.kept:,}")
        print(f"scan {counts.seconds:.1f} s, {rate:,.0f} pairs/s; all {seconds:.1f} s")
        print(f"scan and table {used:.1f} CPU s, {counts.pairs / used:,.0f} pairs in each")
        print(f"table {size / 1e6:,.1f} MB; peak memory {peak_memory() / 1e6:,.0f} MB")


def encoded(given: argparse.Namespace, device: torch.device) -> EncodedProteins:
    """The proteins' states."""
    torch.manual_seed(0)
    model, proteins = released(given, device) if given.released else random(given, device)
    with torch.inference_mode():
        states = model.join([model.encode(chunk) for chunk in proteins])
    return EncodedProteins(model=model, states=states, device=device, rough=False if given.no_bf16 else None)


def random(
    given: argparse.Namespace, device: torch.device
) -> tuple[PairModel, Iterator[torch.Tensor | Packed]]:
    """A model with random weights, and random proteins in chunks."""
    model = build_model(given.model, input_dim=given.dimension).to(device).eval()
    sizes = [len(rows) for rows in torch.arange(given.proteins).split(_AT_ONCE)]
    return model, (features(model, size, given, device) for size in sizes)


def released(given: argparse.Namespace, device: torch.device) -> tuple[PairModel, Iterator[Packed]]:
    """The released model, and its training proteins in chunks."""
    release = find_release(DEFAULT)
    model = model_from_checkpoint(read_checkpoint(release.model), device).eval()
    weights = read_checkpoint(release.embedder)
    embedder = make_embedder(
        EmbedderRequest(
            name="protein_lm",
            granularity="residue",
            weights=TrainedWeights(
                run_id="", digest="", description=weights.description, tensors=weights.weights
            ),
            device=device,
        )
    )
    table = read_fasta(release.pairs / SEQUENCES)
    forward = [sequence[: given.residues] for sequence in table.sequences.values()]
    sequences = (forward + [sequence[::-1] for sequence in forward])[: given.proteins]
    if len(sequences) < given.proteins:
        raise SystemExit(f"--proteins: there are {len(sequences):,}")

    def chunks() -> Iterator[Packed]:
        for chunk in in_chunks(len(sequences), _AT_ONCE):
            found = [torch.from_numpy(residues) for residues in embedder.embed(sequences[chunk])]
            offsets = torch.tensor([0, *map(len, found)]).cumsum(0)
            yield Packed(torch.cat(found), offsets).to(device)

    return model, chunks()


def features(
    model: PairModel, count: int, given: argparse.Namespace, device: torch.device
) -> torch.Tensor | Packed:
    """Random proteins as the model takes them."""
    if model.GRANULARITY == "protein":
        return torch.randn(count, given.dimension).to(device)
    offsets = torch.arange(count + 1) * given.residues
    return Packed(torch.randn(int(offsets[-1]), given.dimension), offsets).to(device)


def peak_memory() -> int:
    """Bytes that were resident at the most."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    main()
