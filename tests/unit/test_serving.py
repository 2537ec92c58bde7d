"""Tests of the scorer's name, and of what a logged model carries."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import pkgutil
import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ppi_train.embeddings.cache import CacheSpec
from ppi_train.serving import SCORER, PairScorer, served_requirements
from tests.support import ROOT

IMPORT_WITHOUT = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in json.loads(sys.argv[1]):
            raise ImportError(f"{name} is not among the requirements of a logged model")

sys.meta_path.insert(0, Absent())
import ppi_train.serving, ppi_train.tracking.served_model
"""


def spec(embedder: str) -> CacheSpec:
    return CacheSpec(
        embedder={"name": embedder, "parameters": {}, "digest": "1"}, dimension=5, granularity="protein",
        dtype="float32", max_length=None, truncation="head", fasta_digest="1",
    )  # fmt: skip


@pytest.mark.parametrize("name", [SCORER, "ppi_train.pipelines.served_scorer:PairScorer"])
def test_the_names_that_logged_models_store_never_move(name: str) -> None:
    assert SCORER == "ppi_train.serving:PairScorer"
    scorer = pkgutil.resolve_name(name)
    assert scorer is PairScorer
    # What the code in a logged model calls: three arguments by position, and this method of one.
    assert list(inspect.signature(scorer).parameters) == ["folder", "embeddings", "embedder"]
    assert list(inspect.signature(scorer.with_uncertainty).parameters) == ["self", "table"]
    assert issubclass(pkgutil.resolve_name("ppi_train.errors:UserError"), ValueError)


def test_requirements_are_pinned_and_have_those_of_the_embedder() -> None:
    plain = served_requirements("descriptors")
    assert all(re.fullmatch(r"[\w-]+==[\d.]+\w*", requirement) for requirement in plain)
    assert {"torch", "mlflow", "safetensors"} < {requirement.partition("==")[0] for requirement in plain}
    pytest.importorskip("transformers")
    (added,) = set(served_requirements("esm2")) - set(plain)
    assert added.startswith("transformers==")


def with_dependencies(names: list[str]) -> set[str]:
    """The distributions that pip installs for these, by their canonical names."""
    found: set[str] = set()
    while names:
        name = canonicalize_name(names.pop())
        if name in found:
            continue
        found.add(name)
        try:
            needed = [Requirement(text) for text in importlib.metadata.requires(name) or []]
        except importlib.metadata.PackageNotFoundError:  # of another system
            continue
        names += [each.name for each in needed if not each.marker or each.marker.evaluate({"extra": ""})]
    return found


@pytest.mark.slow
def test_serving_needs_no_more_than_the_requirements() -> None:
    installed = with_dependencies([text.partition("==")[0] for text in served_requirements("mine")])
    declared = [Requirement(text) for text in importlib.metadata.requires("ppi_train") or []]
    absent = {canonicalize_name(each.name) for each in declared} - installed
    assert "psutil" in absent
    modules = [
        module
        for module, distributions in importlib.metadata.packages_distributions().items()
        if {canonicalize_name(name) for name in distributions} <= absent
    ]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT, json.dumps(modules)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
