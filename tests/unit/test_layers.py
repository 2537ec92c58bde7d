"""Static check that the package's imports follow its layers.

The imports are read from the source, so that none is missed.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support import ROOT

MIDDLE = ("data", "embedders", "models", "training", "evaluation", "tracking")
BOTTOM = ("config", "errors")
# Where a library may be imported; everything else in the project does without it.
CONFINED = {
    "mlflow": ("ppi_train/tracking/",),
    "pyarrow": ("ppi_train/data/",),
    "h5py": ("ppi_train/data/",),
    "transformers": ("ppi_train/embeddings/embedders/esm2.py",),
    "click": ("entry_points/",),
}
SOURCES = sorted([*ROOT.glob("ppi_train/**/*.py"), *ROOT.glob("entry_points/**/*.py")])


def imported_modules(path: Path) -> set[str]:
    """Every module that a file imports, at any depth of nesting."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide the layer"
            modules |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def layer_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] == "entry_points":
        return "entry_points"
    return parts[1] if parts[0] == "ppi_train" and len(parts) > 1 else None


def allowed_layers(layer: str) -> set[str]:
    if layer == "entry_points":
        return {"entry_points", "pipelines", *MIDDLE, *BOTTOM}
    if layer == "pipelines":
        return {"pipelines", *MIDDLE, *BOTTOM}
    if layer in MIDDLE:
        return {layer, *BOTTOM}
    return set(BOTTOM)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    relative = path.relative_to(ROOT)
    own = layer_of(".".join(relative.with_suffix("").parts))
    if own in (None, "__init__"):
        own = "errors"
    layers = {layer_of(module) for module in imported_modules(path)} - {None, "__version__"}
    assert layers <= allowed_layers(str(own)), f"{relative} imports upwards or sideways"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_stay_where_they_belong(path: Path) -> None:
    relative = str(path.relative_to(ROOT))
    tops = {module.split(".")[0] for module in imported_modules(path)}
    strays = {
        library
        for library, homes in CONFINED.items()
        if library in tops and not any(relative.startswith(home) for home in homes)
    }
    assert not strays, f"{relative} imports {strays}"


def test_the_reader_of_imports_sees_nested_ones(tmp_path: Path) -> None:
    source = tmp_path / "nested.py"
    source.write_text(
        "def f():\n    if True:\n        from ppi_train.tracking import run\n        import mlflow.x\n"
    )
    assert imported_modules(source) == {"ppi_train.tracking", "ppi_train.tracking.run", "mlflow.x"}
