"""The tutorial notebook runs, and its saved outputs are those of the present code."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="needs the extra docs")

import nbformat

from tests.support import notebook


@pytest.mark.slow
def test_the_saved_outputs_are_those_of_an_execution(tmp_path: Path) -> None:
    saved = notebook.results(nbformat.read(notebook.NOTEBOOK, as_version=4))
    executed = notebook.results(notebook.execute(tmp_path))
    for before, now in zip(saved, executed, strict=True):
        assert now.words == before.words, "save the notebook again: python -m tests.support.notebook"
        if not before.near_ties:
            assert now.numbers == pytest.approx(before.numbers, abs=0.02, rel=0.03)
