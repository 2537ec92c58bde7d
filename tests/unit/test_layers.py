"""The packages are ranked: a file imports its own package or a lower one, and never in a circle."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support import ROOT

# From the lowest to the highest; a room is a package or a file of that name.
RANKS = (
    "errors", "io", "config", "tracking", "data", "models", "embeddings", "checkpoints", "features",
    "evaluation", "reporting", "inference", "training", "runs", "serving", "modes", "cli", "__main__",
)  # fmt: skip
# Where a library may be imported; everything else in the project does without it.
CONFINED = {
    "mlflow": ("ppi_train/tracking/",),
    "pyarrow": ("ppi_train/io/", "ppi_train/data/", "ppi_train/embeddings/", "ppi_train/inference/"),
    "h5py": ("ppi_train/embeddings/",),
    "transformers": ("ppi_train/embeddings/embedders/esm2.py",),
    "click": ("entry_points/", "ppi_train/cli.py"),
}
SOURCES = sorted([*ROOT.glob("ppi_train/**/*.py"), *ROOT.glob("entry_points/**/*.py")])


def imported_modules(path: Path, *, at_the_top: bool = False) -> set[str]:
    """Every module that a file imports, at any depth of nesting or only when it is imported itself."""
    modules: set[str] = set()
    tree = ast.parse(path.read_text())
    for node in tree.body if at_the_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide the room"
            modules |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str | None:
    """The room of a module of the package; None for the package itself and for other libraries."""
    parts = module.split(".")
    return parts[1] if parts[0] == "ppi_train" and len(parts) > 1 and parts[1] != "__version__" else None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    own = room_of(module_of(path))
    rooms = {room for module in imported_modules(path) if (room := room_of(module))}
    rank = RANKS.index(own) if own else len(RANKS)  # the entry points stand above all rooms
    above = {room for room in rooms if RANKS.index(room) > rank}
    assert not above, f"{path.relative_to(ROOT)} imports upwards: {above}"


def test_no_imports_in_a_circle() -> None:
    modules = {module_of(path): path for path in SOURCES}
    graph = {
        module: (imported_modules(path, at_the_top=True) & modules.keys()) - {module}
        for module, path in modules.items()
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"modules import one another: {' -> '.join(error.args[1])}")


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
    assert imported_modules(source, at_the_top=True) == set()
