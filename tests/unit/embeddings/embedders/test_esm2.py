"""Tests of `esm2` against plain `transformers` calls on tiny models."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ppi_train.embeddings.embedders import make_embedder
from ppi_train.embeddings.embedders.base import Embedder, EmbedderRequest
from ppi_train.errors import ConfigError

LETTERS = "ACDEFGHIKLMNPQRSTVWYXBUZO"
LENGTHS = (1, 2, 9, 40, 40, 133, 17)


def esm2(model: object, **asked: object) -> Embedder:
    return make_embedder(EmbedderRequest(name="esm2", model=str(model), **asked))  # type: ignore[arg-type]


def sequences_of(*lengths: int) -> list[str]:
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list(LETTERS), length)) for length in lengths]


def alone(folder: Path, sequence: str) -> np.ndarray:
    """Residue states (L, d) by the model's own tokenizer, without padding."""
    from transformers import EsmModel, EsmTokenizer

    model = EsmModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokens = EsmTokenizer.from_pretrained(folder)(sequence, return_tensors="pt")
    assert tokens["input_ids"].shape == (1, len(sequence) + 2)
    with torch.no_grad():
        states: torch.Tensor = model(**tokens).last_hidden_state
    return states[0, 1:-1].numpy()


@pytest.mark.parametrize("positions", ["rotary", "absolute"])
@pytest.mark.parametrize("dropout", [True, False])
def test_residues_are_those_of_the_model_alone_whatever_the_batch(
    make_esm: Callable[..., Path], tmp_path: Path, positions: str, dropout: bool
) -> None:
    folder = make_esm(tmp_path / "esm", position_embedding_type=positions, token_dropout=dropout)
    sequences = sequences_of(*LENGTHS)
    expected = [alone(folder, sequence) for sequence in sequences]
    found = list(esm2(folder, granularity="residue").embed(sequences))
    assert [array.shape for array in found] == [(length, 16) for length in LENGTHS]
    assert all(array.dtype == np.float32 for array in found)
    for array, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(array, reference, atol=2e-6, rtol=0)
    for array, reference in zip(esm2(folder).embed(sequences), expected, strict=True):
        np.testing.assert_allclose(array, reference.mean(axis=0), atol=2e-6, rtol=0)


@pytest.mark.parametrize("granularity", ["protein", "residue"])
def test_half_precision_gives_nearly_the_same_in_float32(tiny_esm: Path, granularity: str) -> None:
    sequences = sequences_of(*LENGTHS)
    whole = list(esm2(tiny_esm, granularity=granularity).embed(sequences))
    for precision, tolerance in (("bf16", 0.05), ("fp16", 0.01)):
        half = list(esm2(tiny_esm, granularity=granularity, precision=precision).embed(sequences))
        assert all(array.dtype == np.float32 for array in half)
        for array, reference in zip(half, whole, strict=True):
            np.testing.assert_allclose(array, reference, atol=tolerance, rtol=0)
        assert any((array != reference).any() for array, reference in zip(half, whole, strict=True))


def test_a_long_protein_is_seen_in_overlapping_windows(make_esm: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_esm(tmp_path / "esm", max_position_embeddings=20, initializer_range=0.2)
    (sequence, short) = sequences_of(40, 16)
    embedder = esm2(folder, granularity="residue")
    assert (embedder.parameters()["window"], embedder.parameters()["overlap"]) == (16, 4)
    found, whole = embedder.embed([sequence, short])
    np.testing.assert_allclose(whole, alone(folder, short), atol=5e-6, rtol=0)
    # Two steps of 12 bring a window of 16 to the end; neighbours share four residues, two each.
    windows = [alone(folder, sequence[start : start + 16]) for start in (0, 12, 24)]
    expected = np.concatenate([windows[0][:14], windows[1][2:14], windows[2][2:]])
    np.testing.assert_allclose(found, expected, atol=5e-6, rtol=0)
    (mean, _) = esm2(folder).embed([sequence, short])
    np.testing.assert_allclose(mean, expected.mean(axis=0), atol=5e-6, rtol=0)


def test_a_letter_outside_the_alphabet_counts_as_unknown(tiny_esm: Path) -> None:
    known, unknown = esm2(tiny_esm).embed(["MKXLV", "MKJLV"])
    np.testing.assert_allclose(known, unknown, atol=1e-6, rtol=0)
    assert list(esm2(tiny_esm).embed([])) == []


def write_t5(folder: Path) -> Path:
    """A tiny encoder as ProtT5 is: a SentencePiece vocabulary of words of one letter."""
    from transformers import T5Config, T5EncoderModel
    from transformers.convert_slow_tokenizer import import_protobuf

    torch.manual_seed(0)
    config = T5Config(vocab_size=28, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    T5EncoderModel(config).save_pretrained(folder)
    pieces = import_protobuf().ModelProto()
    for piece in ("<pad>", "</s>", "<unk>", *(f"▁{letter}" for letter in "ALGVSRETIDPKFQNYMHWCXBOUZ")):
        pieces.pieces.add(piece=piece, score=0.0)
    (folder / "spiece.model").write_bytes(pieces.SerializeToString())
    return folder


def test_an_encoder_of_type_t5_takes_residues_and_an_end(tmp_path: Path) -> None:
    from transformers import T5EncoderModel

    folder = write_t5(tmp_path / "t5")
    found = list(esm2(folder, granularity="residue").embed(["ALGVS", "AUX", "AXX"]))
    model = T5EncoderModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = model(input_ids=torch.tensor([[3, 4, 5, 6, 7, 1]])).last_hidden_state[0, :-1].numpy()
    np.testing.assert_allclose(found[0], states, atol=2e-6, rtol=0)
    np.testing.assert_allclose(found[1], found[2], atol=2e-6, rtol=0)
    # The same vocabulary as the newer tokenizers write it.
    tokens = ["<pad>", "</s>", "<unk>", *(f"▁{letter}" for letter in "ALGVSRETIDPKFQNYMHWCXBOUZ")]
    described = {"model": {"type": "Unigram", "vocab": [[token, 0.0] for token in tokens]}}
    digest = esm2(folder).digest()
    (folder / "spiece.model").unlink()
    (folder / "tokenizer.json").write_text(json.dumps(described))
    assert esm2(folder).digest() == digest


def test_the_digest_follows_weights_settings_and_vocabulary_but_not_the_place(
    tiny_esm: Path, make_esm: Callable[..., Path], tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(tiny_esm, tmp_path / "moved"))
    digest = esm2(tiny_esm).digest()
    assert esm2(moved).digest() == digest
    assert esm2(moved).parameters()["model"] == str(moved)
    assert esm2(moved, granularity="residue").digest() == digest
    others = [esm2(moved, precision="bf16").digest(), esm2(make_esm(tmp_path / "other", seed=1)).digest()]
    _in_shards(moved)
    assert esm2(moved).digest() == digest
    np.testing.assert_array_equal(list(esm2(moved).embed(["MKV"])), list(esm2(tiny_esm).embed(["MKV"])))
    vocabulary = (moved / "vocab.txt").read_text()
    (moved / "vocab.txt").write_text(vocabulary.replace("L\nA", "A\nL"))
    others.append(esm2(moved).digest())
    assert len({digest, *others}) == 4


@pytest.mark.parametrize("name", ["../outside/model.safetensors", "{folder}/model.safetensors", 5, None])
def test_an_index_that_names_weights_elsewhere(tiny_esm: Path, tmp_path: Path, name: object) -> None:
    model, outside = tmp_path / "model", tmp_path / "outside"
    shutil.copytree(tiny_esm, model)
    outside.mkdir()
    (model / "model.safetensors").rename(outside / "model.safetensors")
    place = name.format(folder=outside) if isinstance(name, str) else name
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(outside / "model.safetensors"), place)}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "names files outside the model's folder" in refusal(model)


def _in_shards(folder: Path) -> None:
    """Deals the weights out to two files, as large models have them."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    places = {name: f"model-{1 + number % 2:05}-of-00002.safetensors" for number, name in enumerate(names)}
    for file in set(places.values()):
        part = {name: weights[name] for name in names if places[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def refusal(model: object) -> str:
    with pytest.raises(ConfigError) as caught:
        list(esm2(model).embed(["MKV"]))
    return str(caught.value)


def test_a_name_that_is_nothing_is_refused_with_the_nearest(tmp_path: Path) -> None:
    message = refusal("t33_650")
    assert "there is no such model\n  got: embedder_model=t33_650" in message
    assert "did you mean t33_650M" in message
    assert "the model's folder is not there" in (message := refusal(tmp_path / "absent"))
    assert "PPI_TRAIN_EMBEDDER_MODEL=FOLDER" in message


def test_a_folder_without_a_whole_model_is_refused(tiny_esm: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "the folder holds no Hugging Face model" in refusal(tmp_path / "empty")
    folder = Path(shutil.copytree(tiny_esm, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    assert "got: model_type=bert\n  expected: esm (EsmModel) or t5" in refusal(folder)
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 32}))
    assert "the model's weights cannot be loaded" in refusal(folder)
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    del weights["esm.encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    message = refusal(folder)
    assert "the model's weights do not fit its config" in message
    assert "got: 1 tensors are not there, such as encoder.layer.1.output.dense.weight" in message
    (folder / "vocab.txt").rename(folder / "vocab.old")
    assert "the model has no vocabulary" in refusal(folder)
    (folder / "vocab.txt").write_text("<cls>\n<pad>\n<eos>\n<unk>\nD\nN\nA\n")
    assert "got: no token X" in refusal(folder)
    (folder / "vocab.old").replace(folder / "vocab.txt")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:5000])
    with pytest.raises(ConfigError, match="the model's weights are damaged"):
        esm2(folder).digest()
    assert "the model's weights cannot be loaded" in refusal(folder)
    (folder / "model.safetensors").write_bytes(whole)
    _in_shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "got: no model-00002-of-00002.safetensors" in refusal(folder)


def test_pickled_weights_are_not_loaded(tiny_esm: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_esm, tmp_path / "model"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    message = refusal(folder)
    assert "the model has no weights in safetensors" in message
    assert "got: pytorch_model.bin" in message
    assert "docs/how-to/embedders.md" in message


def test_without_the_extra_the_command_that_installs_it_is_given(
    tiny_esm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    esm2(tiny_esm)  # what it imports from here, it has by now
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "site-packages" not in entry])
    assert 'pip install "ppi_train[esm]"' in refusal(tiny_esm)


def test_a_whole_model_is_identified_without_importing_transformers(tiny_esm: Path) -> None:
    code = (
        "import sys\nfrom ppi_train.embeddings.embedders import make_embedder\n"
        "from ppi_train.embeddings.embedders.base import EmbedderRequest\n"
        f"print(make_embedder(EmbedderRequest(name='esm2', model={str(tiny_esm)!r})).digest())\n"
        "sys.exit('transformers' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, esm2(tiny_esm).digest()), done.stderr


def by_hub(endpoint: str, home: Path, model: str) -> str:
    """What a process with that hub says of a model: its folder's files, or the message."""
    code = (
        "from ppi_train.embeddings.embedders.hub import located, model_folder\n"
        "from ppi_train.errors import ConfigError\n"
        f"try:\n    folder = model_folder(located({model!r}))\n"
        "except ConfigError as error:\n    print(error)\n"
        "else:\n    print(sorted(path.name for path in folder.iterdir()))\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return done.stdout


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as a download takes; serves the folder as the model `lab/tiny`."""

    folder: Path
    asked: list[str]
    commit = "c" * 40

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0].removeprefix("/api/models")
        self.asked.append(path)
        name = path.removeprefix(f"/lab/tiny/resolve/{self.commit}/")
        if path == "/lab/tiny/revision/main":
            body = json.dumps({"id": "lab/tiny", "sha": self.commit}).encode()
        elif path == f"/lab/tiny/tree/{self.commit}":
            body = json.dumps([self._entry(path) for path in sorted(self.folder.iterdir())]).encode()
        elif (self.folder / name).is_file() and name != path:
            body = (self.folder / name).read_bytes()
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _entry(self, path: Path) -> dict[str, object]:
        digest = hashlib.sha1(path.read_bytes()).hexdigest()
        return {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": digest}

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_model_is_downloaded_once_without_its_pickles(tiny_esm: Path, tmp_path: Path) -> None:
    Hub.folder, Hub.asked = Path(shutil.copytree(tiny_esm, tmp_path / "model")), []
    (Hub.folder / "pytorch_model.bin").write_bytes(b"a pickle")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever).start()
    try:
        said = by_hub(endpoint, tmp_path / "home", "lab/tiny")
        asked = len(Hub.asked)
        assert by_hub(endpoint, tmp_path / "home", "lab/tiny") == said
        assert len(Hub.asked) == asked, "the model is here: the hub is not asked again"
        assert "the hub has no such model" in by_hub(endpoint, tmp_path / "home", "lab/absent")
    finally:
        server.shutdown()
        server.server_close()
    assert said.strip() == str(["config.json", "model.safetensors", "vocab.txt"])
    (downloaded,) = (tmp_path / "home").rglob("model.safetensors")
    assert esm2(downloaded.parent).digest() == esm2(tiny_esm).digest()


def test_a_hub_that_cannot_be_reached_is_said(another_port: int, tmp_path: Path) -> None:
    said = by_hub(f"http://127.0.0.1:{another_port}", tmp_path, "t6_8M")
    assert "the model is not on this machine, and its hub cannot be reached" in said
    assert f"where: http://127.0.0.1:{another_port}" in said
    assert "facebook/esm2_t6_8M_UR50D: ConnectError" in said
    assert "hf download facebook/esm2_t6_8M_UR50D --local-dir FOLDER" in said
