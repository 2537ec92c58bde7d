"""Tests that what MLflow is spared changes no result."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys

import pytest
from mlflow.tracking.context import registry as context
from mlflow.utils import requirements_utils

from ppi_train.tracking.shortcuts import context_tags, no_list_of_packages

ASKS = """
import sys
from ppi_train.tracking.shortcuts import context_tags, default_experiment_id
tags = context_tags({"mine": "1"})
assert default_experiment_id() == "0"
assert "IPython" not in sys.modules, "imported, or blocked for others"
import IPython
print(tags["mine"], tags["mlflow.source.type"], tags["mlflow.source.name"])
"""


def test_the_tags_are_those_of_mlflow() -> None:
    assert context_tags({"mine": "1"}) == context.resolve_tags({"mine": "1"})


@pytest.mark.skipif(importlib.util.find_spec("IPython") is None, reason="IPython is not installed")
def test_a_command_does_not_load_ipython_and_others_still_can() -> None:
    found = subprocess.run([sys.executable, "-c", ASKS], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1", "LOCAL", "-c"]


def test_other_versions_than_required_are_still_warned_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements_utils, "_MODULES_TO_PACKAGES", None)
    monkeypatch.setattr(logging.getLogger("mlflow"), "propagate", True)
    with no_list_of_packages():
        requirements_utils.warn_dependency_requirement_mismatches(
            ["numpy==0.1", "absent-package==1", "mlflow"]
        )
    assert "numpy (current:" in caplog.text
    assert "absent-package (current: uninstalled, required: absent-package==1)" in caplog.text
    assert "- mlflow" not in caplog.text
    assert requirements_utils._MODULES_TO_PACKAGES is None
