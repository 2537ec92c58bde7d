"""Tests of the embedder `protein_lm`: vector contents and independence of the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppi_train.embeddings.embedders import make_embedder
from ppi_train.embeddings.embedders.base import EmbedderRequest, TrainedWeights
from ppi_train.embeddings.embedders.protein_lm import SEPARATOR, UNKNOWN, CausalLstm, ProteinLm, tokenize
from ppi_train.errors import CheckpointError, ConfigError

HIDDEN = 12


def weights(*, layers: int = 1, seed: int = 0, digest: str = "d" * 64) -> TrainedWeights:
    torch.manual_seed(seed)
    model = CausalLstm(HIDDEN, layers)
    hyperparameters = {"hidden_dim": HIDDEN, "num_layers": layers}
    described = {"model": {"name": "protein_lm", "hyperparameters": hyperparameters}}
    return TrainedWeights(run_id="r1", digest=digest, description=described, tensors=model.state_dict())


def embedder(granularity: str | None = None, *, layers: int = 1, precision: str = "float32") -> ProteinLm:
    found = make_embedder(
        EmbedderRequest(
            name="protein_lm", granularity=granularity, weights=weights(layers=layers), precision=precision
        )
    )
    assert isinstance(found, ProteinLm)
    return found


def random_sequences(count: int, longest: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWYX"))
    return ["".join(rng.choice(letters, rng.integers(1, longest))) for _ in range(count)]


def test_rare_letters_are_read_as_what_they_derive_from() -> None:
    assert tokenize("UOBZJ").tolist() == tokenize("CKDEL").tolist()
    assert tokenize("X").tolist() == [UNKNOWN]
    assert SEPARATOR not in tokenize("ACDEFGHIKLMNPQRSTVWYXUOBZJ")


def test_a_state_has_seen_nothing_that_comes_later() -> None:
    model = CausalLstm(HIDDEN, 2).eval()
    tokens = torch.randint(1, 21, (1, 30))
    other = tokens.clone()
    other[0, 20:] = 1 + other[0, 20:] % 20
    for original, changed in zip(model.states(tokens), model.states(other), strict=True):
        assert torch.equal(original[:, :20], changed[:, :20])
        assert not torch.allclose(original[:, 20], changed[:, 20])


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("length", [1, 30, 50, 180])
def test_the_vector_is_made_of_what_the_docstring_says(layers: int, length: int) -> None:
    sequence = random_sequences(1, 2, seed=length)[0] * length
    by_residue, whole = embedder("residue", layers=layers), embedder(layers=layers)
    (states,) = by_residue.embed([sequence])
    (vector,) = whole.embed([sequence])
    assert states.shape == (length, HIDDEN)
    assert vector.shape == (whole.dimension,) == ((layers + 4) * HIDDEN,)
    parts = vector.reshape(-1, HIDDEN)[layers - 1 :]
    expected = [
        states.mean(axis=0), states.max(axis=0), states.std(axis=0),
        states[:50].mean(axis=0), states[-50:].mean(axis=0),
    ]  # fmt: skip
    for part, wanted in zip(parts, expected, strict=True):
        np.testing.assert_allclose(part, wanted, atol=1e-5)


@pytest.mark.parametrize("granularity", ["protein", "residue"])
def test_company_changes_neither_numbers_nor_order(granularity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppi_train.embeddings.embedders.protein_lm.BATCH_RESIDUES", 2_000)
    sequences = [*random_sequences(40, 400), "W" * 2_500, "A", "MK"]
    together = list(embedder(granularity).embed(sequences))
    for sequence, found in zip(sequences, together, strict=True):
        (alone,) = embedder(granularity).embed([sequence])
        np.testing.assert_allclose(found, alone, atol=1e-5)
        assert found.dtype == np.float32


def test_other_weights_are_another_embedder() -> None:
    embedder = ProteinLm(weights(), "protein", torch.device("cpu"))
    assert embedder.digest() == ProteinLm(weights(), "protein", torch.device("cpu")).digest()
    assert embedder.digest() != ProteinLm(weights(digest="e" * 64), "protein", torch.device("cpu")).digest()
    assert embedder.parameters()["run_id"] == "r1"


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("granularity", ["protein", "residue"])
def test_bf16_gives_the_same_to_its_rounding(granularity: str, layers: int) -> None:
    sequences = random_sequences(20, 200)
    full, half = (
        embedder(granularity, layers=layers, precision=precision).embed(sequences)
        for precision in ("float32", "bf16")
    )
    for wanted, found in zip(full, half, strict=True):
        assert found.dtype == np.float32
        assert not np.array_equal(found, wanted)
        np.testing.assert_allclose(found, wanted, atol=0.02)


def test_bf16_is_another_embedder_and_float32_has_the_digest_from_before_there_was_bf16() -> None:
    full, half = embedder(), embedder(precision="bf16")
    assert full.parameters().keys() == {
        "hidden_dim", "num_layers", "recipe_version", "terminal_window", "run_id"
    }  # fmt: skip
    assert half.parameters() == {**full.parameters(), "precision": "bf16"}
    assert full.digest() != half.digest()
    assert full.digest() == "8f5c8bec31626b753ede8d11f489d11931b961e271422449b98324709f9f07ed"


def test_without_weights_it_says_how_to_train_them() -> None:
    with pytest.raises(
        ConfigError, match=r"embedder_run_id(.|\n)*mlflow run \. --env-manager local -e train_embedder"
    ):
        make_embedder(EmbedderRequest(name="protein_lm"))


def test_weights_of_another_kind_are_refused() -> None:
    tensors = {name: tensor for name, tensor in weights().tensors.items() if "next" not in name}
    strange = TrainedWeights(run_id="r2", digest="d" * 64, description=weights().description, tensors=tensors)
    with pytest.raises(CheckpointError, match=r"no language model that this version has(.|\n)*run r2"):
        ProteinLm(strange, "protein", torch.device("cpu"))
    nothing = TrainedWeights(run_id="r3", digest="d" * 64, description={"model": {}}, tensors={})
    with pytest.raises(CheckpointError, match="run r3"):
        ProteinLm(nothing, "protein", torch.device("cpu"))
