"""Execution of the tutorial notebook in a folder of its own.

`python -m tests.support.notebook` executes it and saves what it printed: to be done when its code or the
project's output has changed.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from unittest import mock

import nbformat
from nbclient import NotebookClient

from tests.support import ROOT

NOTEBOOK = ROOT / "docs/tutorial.ipynb"


def execute(folder: Path) -> nbformat.NotebookNode:
    """Executes the notebook in a folder; log lines and progress bars, which differ each time, are not kept.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    environment = {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "PPI_TRAIN_CACHE": str(folder / "cache")}
    with mock.patch.dict(os.environ, environment):
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        client = NotebookClient(
            notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        )
        client.execute(env=dict(os.environ))
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_result(output)]
    return notebook


def _is_result(output: nbformat.NotebookNode) -> bool:
    return bool(output.output_type == "execute_result" or output.get("name") == "stdout")


def results(notebook: nbformat.NotebookNode) -> list[str]:
    """What each code cell printed or returned, as text."""
    return ["".join(map(_text, cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"]


def _text(output: nbformat.NotebookNode) -> str:
    return str(output.get("text") or output.data["text/plain"])


def split_numbers(text: str) -> tuple[list[str], list[float]]:
    """The words of a text, and its numbers: rounding may differ from one processor to the next."""
    return re.sub(r"-?\d+\.\d+", "#", text).split(), [float(word) for word in re.findall(r"-?\d+\.\d+", text)]


def main() -> None:
    """Saves the notebook with its outputs."""
    with tempfile.TemporaryDirectory() as folder:
        executed = execute(Path(folder))
    nbformat.write(executed, NOTEBOOK)


if __name__ == "__main__":
    main()
