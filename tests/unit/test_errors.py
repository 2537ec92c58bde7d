"""Tests that messages contain no passwords and no foreign control characters.

This holds for the terminal, the log and the run.
"""

from __future__ import annotations

import logging

import pytest

from ppi_train.config.loading import load_config, logged_parameters
from ppi_train.errors import ConfigError, DataError, nearest, shown
from ppi_train.io.terminal import ShownFormatter
from ppi_train.runs.configs import MODES

SECRETS = {
    "https://ann:s3cret@lab.org/data": "https://***@lab.org/data",
    "http://ann:s3cret@lab.org:5000": "http://***@lab.org:5000",
    "postgresql://ann:s3/cr@et:x@db/mlflow": "postgresql://***@db/mlflow",
    "https://s3cret@github.com/lab/x.git": "https://***@github.com/lab/x.git",
    "https://lab.org/m?page=2&token=s3cret%2Fx": "https://lab.org/m?page=2&token=***",
    "https://b.s3.org/k?X-Amz-Credential=s3cr/d&X-Amz-Signature=s3cret&x=1": (
        "https://b.s3.org/k?X-Amz-Credential=***&X-Amz-Signature=***&x=1"
    ),
    "https://a.blob.org/c/f?sv=2024&sp=r&sig=s3cret": "https://a.blob.org/c/f?sv=2024&sp=r&sig=***",
    "https://lab.org/?API_KEY=s3cret": "https://lab.org/?API_KEY=***",
    "postgresql://db/optuna?user=ann&password=s3cret": "postgresql://db/optuna?user=ann&password=***",
    "no answer: /m?access_token=s3cret (timeout)": "no answer: /m?access_token=*** (timeout)",
    "got https://a:s3cret@h and https://b:s3cret@i": "got https://***@i",
}
PLAIN = [
    "http://lab.org:5000, models:/ppi@champion",
    "http://lab.org:5000/models:/ppi@champion",
    "sqlite:////home/ann@lab/mlflow.db",
    "models:/ppi@champion of http://127.0.0.1:5000",
    "two lines\n  got: é→蛋白質\t🧬",
    "https://lab.org/a@b",
    "https://lab.org/a?page=2&sort=key",
    "hidden_dim=64, keys=3",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_password_in_a_url_is_not_shown(text: str) -> None:
    assert "s3cr" not in shown(text)
    if text.count("://") == 1:
        assert shown(text) == SECRETS[text]
    assert "s3cr" not in str(DataError("no", where=text, got=text, expected=text, remedy=text))
    record = logging.makeLogRecord({"msg": "at %s", "args": (text,), "levelname": "INFO"})
    assert "s3cr" not in ShownFormatter().format(record)


@pytest.mark.parametrize("text", PLAIN)
def test_anything_else_is_shown_as_it_is(text: str) -> None:
    assert shown(text) == text


def test_control_characters_cannot_rewrite_a_terminal() -> None:
    told = str(DataError("no", got="\x1b[2J\x1b]0;x\x07\r\x00\u202e\udcff"))
    assert told == "no\n  got: \\x1b[2J\\x1b]0;x\\x07\\r\\x00\\u202e\\udcff"
    told.encode()


def test_an_unknown_name_gets_the_nearest_known_ones() -> None:
    known = ["pooled_mlp", "pair_transformer", "v3"]
    assert nearest("pooled_mpl", known) == "did you mean pooled_mlp?"
    assert nearest("v2", {"v3": 1, "v4": 2}, cutoff=0.4) == "did you mean v4 or v3?"
    assert nearest("zzz", known) is None


@pytest.mark.parametrize("url", ["https://ann:s3cret@lab.org/data", "https://lab.org/data?sig=s3cret"])
@pytest.mark.parametrize("name", ["mirror", "embeddings"])
def test_a_parameter_with_a_secret_is_refused_since_it_would_be_logged(name: str, url: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: expected a URL without user name and password") as caught:
        load_config(MODES["train_only"], {name: url})
    assert "s3cret" not in str(caught.value)


def test_a_mirror_from_the_environment_is_not_among_the_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPI_TRAIN_MIRROR", "https://ann:s3cret@lab.org/data")
    config, _ = load_config(MODES["train_only"], {})
    assert "s3cret" not in str(logged_parameters(config))
