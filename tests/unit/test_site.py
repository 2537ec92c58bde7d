"""The pages that the site makes of the code; .ci/run builds the whole site."""

from __future__ import annotations

import importlib.util
import json
from types import ModuleType

import pytest
import yaml

from ppi_train.config.fields import describe_fields
from ppi_train.modes import MODES, find_mode
from tests.support import ROOT

pytest.importorskip("mkdocs", reason="needs the extra docs")


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", MODES)
def test_the_page_of_a_mode_has_every_parameter(hooks: ModuleType, name: str) -> None:
    page = hooks.mode_page(MODES[name])
    for spec in describe_fields(MODES[name].config):
        assert page.count(f"\n| `{spec.name}`{{ #{spec.name} }} |") == 1, spec.name


def test_a_parameter_has_its_bounds_its_default_and_its_meaning(hooks: ModuleType) -> None:
    page = hooks.mode_page(find_mode("train_only"))
    assert (
        "| `epochs`{ #epochs } | integer; at least 1, at most 1,000,000 | 8 | "
        "Passes over the training pairs, at most. |"
    ) in page
    assert (
        "| `scheduler`{ #scheduler } | `none`, `cosine`, `linear`, `one_cycle`, `plateau` | cosine |" in page
    )
    assert "ppi-train train_only --dataset bernett --seed 1\n" in page


def test_the_notebook_is_a_page_with_its_outputs(hooks: ModuleType) -> None:
    page = hooks.notebook_page(json.loads((ROOT / "docs/tutorial.ipynb").read_text()))
    assert page.startswith("# From a FASTA to a promoted model\n")
    assert "```text\n{'val/auroc_best': 0.9" in page
    assert '<div class="output">\n<div>\n<style scoped>' not in page
    assert "<td>EX00610</td>" in page


def test_the_site_asks_nothing_of_another_server() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    assert yaml.safe_load(text)["theme"]["font"] is False
    assert "://" not in text
