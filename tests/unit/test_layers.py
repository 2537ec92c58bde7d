"""Tests of the ranks of packages, import circles, and confined libraries."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support import ROOT

# From the lowest to the highest; a room is a package or a file of that name.
RANKS = (
    "errors", "io", "config", "parallel", "tracking", "data", "models", "embeddings", "checkpoints",
    "released", "features", "evaluation", "reporting", "inference", "training", "runs", "serving", "modes",
    "cli",
)  # fmt: skip
# Not ranked: `__init__` of the package itself, which has the version, and the start of `python -m`; `api`,
# which `__init__` imports when it is first used.
# `pipelines` is the old name of `serving`, kept for models that were logged with it.
UNRANKED = {"__version__": 0, "__main__": len(RANKS), "api": len(RANKS), "pipelines": len(RANKS)}
# Where a library may be imported; everything else in the project does without it.
CONFINED = {
    "mlflow": ("ppi_train/tracking/",),
    "pyarrow": ("ppi_train/io/", "ppi_train/data/", "ppi_train/embeddings/", "ppi_train/inference/"),
    "fsspec": ("ppi_train/io/stores.py",),
    "h5py": ("ppi_train/embeddings/",),
    "dask": ("ppi_train/parallel/",),
    "distributed": ("ppi_train/parallel/",),
    "dask_jobqueue": ("ppi_train/parallel/",),
    "dask_kubernetes": ("ppi_train/parallel/",),
    "transformers": ("ppi_train/embeddings/embedders/esm2.py",),
    "optuna": ("ppi_train/modes/sweep/",),
    "click": ("entry_points/", "ppi_train/cli.py", "ppi_train/cli/"),
}
SOURCES = sorted([*ROOT.glob("ppi_train/**/*.py"), *ROOT.glob("entry_points/**/*.py")])
# The package itself shows the names of `api`, which it imports when one of them is first used.
FRONT = ROOT / "ppi_train/__init__.py"


def statements(node: ast.AST, *, for_types: bool) -> Iterator[ast.AST]:
    """All nodes below one, nested ones too; with or without the imports that only a type checker does."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING" and not for_types:
            continue
        yield child
        yield from statements(child, for_types=for_types)


def imported_modules(path: Path, *, for_types: bool = True) -> set[str]:
    """Every module that a file imports, also inside a function."""
    modules: set[str] = set()
    for node in statements(ast.parse(path.read_text()), for_types=for_types):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide the room"
            modules |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def rank_of(module: str) -> int | None:
    """The rank of a module's room; None for the package itself and for other libraries."""
    top, _, below = module.partition(".")
    if top == "entry_points":
        return len(RANKS)
    if top != "ppi_train" or not below:
        return None
    room = below.partition(".")[0]
    return UNRANKED[room] if room in UNRANKED else RANKS.index(room)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    own = rank_of(module_of(path)) or 0
    ranks = {module: rank_of(module) for module in imported_modules(path)}
    if path == FRONT:
        ranks = {module: rank for module, rank in ranks.items() if not module.startswith("ppi_train.api")}
    above = {module for module, rank in ranks.items() if rank is not None and rank > own}
    assert not above, f"{path.relative_to(ROOT)} imports upwards: {above}"


def circle(files: dict[str, Path]) -> list[str] | None:
    """Modules of which each imports the next and the last the first, or None."""
    graph = {
        module: (imported_modules(path, for_types=False) & files.keys()) - {module}
        for module, path in files.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def test_no_imports_in_a_circle() -> None:
    found = circle({module_of(path): path for path in SOURCES if path != FRONT})
    assert found is None, f"modules import one another: {' -> '.join(found)}"


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


def test_every_room_has_a_rank() -> None:
    rooms = {path.relative_to(ROOT / "ppi_train").parts[0].removesuffix(".py") for path in SOURCES
             if path.is_relative_to(ROOT / "ppi_train")}  # fmt: skip
    assert rooms <= {*RANKS, *UNRANKED, "__init__"}


def test_the_reader_of_imports_sees_nested_ones(tmp_path: Path) -> None:
    source = tmp_path / "nested.py"
    source.write_text(
        "def f():\n    if True:\n        from ppi_train.tracking import run\n        import mlflow.x\n"
        "if TYPE_CHECKING:\n    import ppi_train.io\n"
    )
    nested = {"ppi_train.tracking", "ppi_train.tracking.run", "mlflow.x"}
    assert imported_modules(source, for_types=False) == nested
    assert imported_modules(source) == nested | {"ppi_train.io"}


def test_a_circle_inside_a_function_is_found(tmp_path: Path) -> None:
    files = {"a": tmp_path / "a.py", "b": tmp_path / "b.py"}
    files["a"].write_text("import b\n")
    files["b"].write_text("def f():\n    import a\n")
    found = circle(files)
    assert found is not None
    assert set(found) == {"a", "b"}
    files["b"].write_text("if TYPE_CHECKING:\n    import a\n")
    assert circle(files) is None
