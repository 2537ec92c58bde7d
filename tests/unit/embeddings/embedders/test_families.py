"""Tests of `esm2` with the types of models that are not ESM-2: ESM-C, ProstT5 and T5 in float16."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppi_train.embeddings.embedders import make_embedder
from ppi_train.embeddings.embedders.base import Embedder, EmbedderRequest
from ppi_train.embeddings.embedders.families import FAMILIES, TO_STRUCTURE
from ppi_train.embeddings.embedders.hub import read_config, weights_digest
from ppi_train.errors import ConfigError, DeviceError
from ppi_train.io.unavailable import UnavailableError

PIECES = ("<pad>", "</s>", "<unk>", *(f"▁{letter}" for letter in "ALGVSRETIDPKFQNYMHWCXBOUZ"))
STATES = "acdefghiklmnpqrstvwy"
SEQUENCES = ("ALGVSRETIDPKFQNYMHWCX", "A", "MKV", "UZOBMKV")


def esm2(model: object, **asked: object) -> Embedder:
    return make_embedder(EmbedderRequest(name="esm2", model=str(model), **asked))  # type: ignore[arg-type]


def write_esmc(folder: Path, **settings: object) -> Path:
    from transformers import EsmcConfig, EsmcForMaskedLM, EsmcTokenizer

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    EsmcForMaskedLM(EsmcConfig(**shape, **settings)).save_pretrained(folder)
    EsmcTokenizer().save_pretrained(folder)
    return folder


def of_esmc(folder: Path, sequence: str) -> np.ndarray:
    """Residue states (L, d) by the model's own tokenizer, without padding."""
    from transformers import EsmcModel, EsmcTokenizer

    tokens = EsmcTokenizer.from_pretrained(folder)(sequence, return_tensors="pt")
    assert tokens["input_ids"].shape == (1, len(sequence) + 2)
    model = EsmcModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states: torch.Tensor = model(**tokens).last_hidden_state
    return states[0, 1:-1].numpy()


def test_residues_of_esmc_are_those_of_the_model_alone(tmp_path: Path) -> None:
    folder = write_esmc(tmp_path / "esmc")
    found = list(esm2(folder, granularity="residue").embed(SEQUENCES))
    for sequence, array, mean in zip(SEQUENCES, found, esm2(folder).embed(SEQUENCES), strict=True):
        expected = of_esmc(folder, sequence)
        assert array.shape == (len(sequence), 16)
        np.testing.assert_allclose(array, expected, atol=2e-6, rtol=0)
        np.testing.assert_allclose(mean, expected.mean(axis=0), atol=2e-6, rtol=0)
    half = esm2(folder, granularity="residue", precision="bf16").embed(SEQUENCES)
    for array, reference in zip(half, found, strict=True):
        np.testing.assert_allclose(array, reference, atol=0.05, rtol=0)
    unknown, known = esm2(folder).embed(["MJV", "MXV"])
    np.testing.assert_allclose(unknown, known, atol=1e-6, rtol=0)


def test_the_window_of_esmc_is_its_positions_without_the_two_special_tokens(tmp_path: Path) -> None:
    folder = write_esmc(tmp_path / "esmc", max_position_embeddings=18)
    assert esm2(folder).parameters()["window"] == 16
    (found,) = esm2(folder, granularity="residue").embed([SEQUENCES[0][:16]])
    np.testing.assert_allclose(found, of_esmc(folder, SEQUENCES[0][:16]), atol=2e-6, rtol=0)


def write_t5(folder: Path, *, added: dict[str, int] | None = None, vocabulary_size: int = 128) -> Path:
    """A tiny encoder as ProtT5 is; with added tokens as ProstT5 is."""
    from transformers import T5Config, T5EncoderModel
    from transformers.convert_slow_tokenizer import import_protobuf

    torch.manual_seed(0)
    shape: dict[str, Any] = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    T5EncoderModel(T5Config(vocab_size=vocabulary_size, **shape)).save_pretrained(folder)
    model = import_protobuf().ModelProto()
    for piece in PIECES:
        model.pieces.add(piece=piece, score=0.0)
    (folder / "spiece.model").write_bytes(model.SerializeToString())
    if added is not None:
        (folder / "added_tokens.json").write_text(json.dumps(added))
    return folder


def states_of(folder: Path, tokens: list[int]) -> np.ndarray:
    from transformers import T5EncoderModel

    with torch.no_grad():
        output = T5EncoderModel.from_pretrained(folder).eval()(input_ids=torch.tensor([tokens]))
    states: torch.Tensor = output.last_hidden_state[0]
    return states.numpy()


ADDED = {**{state: 128 + number for number, state in enumerate(STATES)}, "<fold2AA>": 148, TO_STRUCTURE: 149}


def test_prostt5_gets_the_token_that_it_learned_to_expect(tmp_path: Path) -> None:
    folder = write_t5(tmp_path / "prostt5", added=ADDED, vocabulary_size=150)
    (found,) = esm2(folder, granularity="residue").embed(["ALGV"])
    with_token = states_of(folder, [149, 3, 4, 5, 6, 1])[1:-1]
    np.testing.assert_allclose(found, with_token, atol=2e-6, rtol=0)
    assert not np.allclose(found, states_of(folder, [3, 4, 5, 6, 1])[:-1], atol=1e-3)
    (mean,) = esm2(folder).embed(["ALGV"])
    np.testing.assert_allclose(mean, with_token.mean(axis=0), atol=2e-6, rtol=0)


def test_prostt5_is_known_by_a_described_vocabulary_as_well(tmp_path: Path) -> None:
    folder = write_t5(tmp_path / "prostt5", added=ADDED, vocabulary_size=150)
    digest = esm2(folder).digest()
    described = {
        "model": {"type": "Unigram", "vocab": [[piece, 0.0] for piece in PIECES]},
        "added_tokens": [{"content": token, "id": number} for token, number in ADDED.items()],
    }
    (folder / "tokenizer.json").write_text(json.dumps(described))
    for name in ("spiece.model", "added_tokens.json"):
        (folder / name).unlink()
    assert esm2(folder).digest() == digest


def test_prostt5_without_the_names_of_its_tokens_is_refused(tmp_path: Path) -> None:
    folder = write_t5(tmp_path / "prostt5", vocabulary_size=150)
    with pytest.raises(ConfigError) as caught:
        list(esm2(folder).embed(["ALGV"]))
    assert "22 tokens beyond those of spiece.model, as in ProstT5" in str(caught.value)
    assert "added_tokens.json beside spiece.model" in str(caught.value)
    plain = write_t5(tmp_path / "prott5")
    (found,) = esm2(plain, granularity="residue").embed(["ALGV"])
    np.testing.assert_allclose(found, states_of(plain, [3, 4, 5, 6, 1])[:-1], atol=2e-6, rtol=0)


def with_large_numbers(folder: Path, layer: str, factor: float) -> Path:
    """The model with numbers beyond float16 in one kind of layer."""
    from transformers import T5EncoderModel

    model = T5EncoderModel.from_pretrained(folder)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(f".{layer}.weight"):
                weight.mul_(factor)
    model.save_pretrained(folder)
    return folder


def test_float16_keeps_the_layer_of_t5_that_transformers_keeps(tmp_path: Path) -> None:
    from transformers import T5EncoderModel

    assert set(FAMILIES["t5"].kept) == set(T5EncoderModel._keep_in_fp32_modules)
    folder = with_large_numbers(write_t5(tmp_path / "t5"), "wo", 1e6)
    whole = list(esm2(folder, granularity="residue").embed(SEQUENCES))
    half = list(esm2(folder, granularity="residue", precision="fp16").embed(SEQUENCES))
    for array, reference in zip(half, whole, strict=True):
        np.testing.assert_allclose(array, reference, atol=0.02, rtol=0)
    digests = {esm2(folder, precision=precision).digest() for precision in ("float32", "bf16", "fp16")}
    assert len(digests) == 3


def test_numbers_beyond_a_precision_are_refused_with_those_that_work(tmp_path: Path) -> None:
    folder = with_large_numbers(write_t5(tmp_path / "t5"), "wi", 1e7)
    with pytest.raises(DeviceError) as caught:
        esm2(folder, precision="fp16").embed(SEQUENCES)
    assert "4 of 4 proteins with embedder_precision=fp16" in str(caught.value)
    assert "give embedder_precision=bf16 or float32" in str(caught.value)
    assert all(np.isfinite(array).all() for array in esm2(folder, precision="bf16").embed(SEQUENCES))


def test_files_that_cannot_be_opened_are_not_called_damaged(tiny_esm: Path) -> None:
    weights_digest(tiny_esm)  # what it imports, it has by now
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The lowest free number of a file is what the limit speaks of.
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    (tiny_esm / "model.safetensors").touch()  # not the digest that is remembered
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        told = []
        for read in (read_config, weights_digest):
            with pytest.raises(UnavailableError) as caught:
                read(tiny_esm)
            told.append(str(caught.value))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    for message in told:
        assert "the file could not be read" in message
        assert "got: Too many open files" in message
        assert "ulimit -n" in message
