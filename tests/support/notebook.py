"""Execution of the tutorial notebook in a folder of its own.

`python -m tests.support.notebook` executes it and saves what it printed: to be done when its code or the
project's output has changed.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Result:
    """What a code cell printed or returned.

    Weights differ from one processor to the next as if by rounding, which training amplifies: scores agree
    to two or three digits. Where that decides which protein comes first, the cell has the tag `near-ties`.

    Attributes:
        words: Of its text, with marks in place of numbers and, for near ties, of the example's proteins.
        numbers: Those with a decimal point.
        near_ties: Whether the cell shows a choice among nearly equal scores.
    """

    words: list[str]
    numbers: list[float]
    near_ties: bool


def results(notebook: nbformat.NotebookNode) -> list[Result]:
    """The results of all code cells."""
    return [_result(cell) for cell in notebook.cells if cell.cell_type == "code"]


def _result(cell: nbformat.NotebookNode) -> Result:
    text = "".join(str(output.get("text") or output.data["text/plain"]) for output in cell.outputs)
    near_ties = "near-ties" in cell.metadata.get("tags", [])
    number = r"-?\d+\.\d+"
    words = re.sub(number, "#", re.sub(r"EX\d+", "EX#", text) if near_ties else text).split()
    return Result(words, [float(word) for word in re.findall(number, text)], near_ties)


def main() -> None:
    """Saves the notebook with its outputs."""
    with tempfile.TemporaryDirectory() as folder:
        executed = execute(Path(folder))
    nbformat.write(executed, NOTEBOOK)


if __name__ == "__main__":
    main()
