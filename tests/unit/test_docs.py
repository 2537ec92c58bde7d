"""The pages name files that exist, and the project's metadata agree with the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import ppi_train
from tests.support import ROOT

SITE = sorted(ROOT.glob("docs/**/*.md"))
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *SITE])
PRESENT = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which names what is gone, too
FOLDERS = "deploy|ppi_train|tests|entry_points|benchmarks|docs|scripts"
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# A path below one of the project's folders, such as `tests/unit/test_docs.py` or `docs/*.md`.
PATH = re.compile(rf"(?<![\w./-])(?:{FOLDERS})/[\w./*-]*[\w*/]")
IMPORT = re.compile(r"^from (ppi_train[\w.]*) import (\w+)$", re.MULTILINE)
# A file of Python and what it defines, as in a diagram: `models/registry.py: build_model`.
DEFINED_IN = re.compile(r"((?:[a-z_0-9]+/)*[a-z_0-9]+\.py): (?:\w+\.)?(\w+)")
# A file of Python in a package or a folder of tests, such as `models/base.py`, or a test by its bare name.
MODULE = re.compile(r"(?<![\w./-])(?:[a-z_0-9]+/)+[a-z_0-9]+\.py\b|(?<![\w./-])test_[a-z_0-9]+\.py\b")


def anchor(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def leads_nowhere(page: Path, target: str) -> bool:
    path, _, fragment = target.partition("#")
    file = page.parent / path if path else page
    if not file.exists():
        return True
    return bool(fragment) and fragment not in map(anchor, HEADING.findall(file.read_text()))


def broken_links(page: Path) -> list[str]:
    targets = LINK.findall(FENCE.sub("", page.read_text()))
    return [target for target in targets if not re.match(r"[a-z]+:", target) and leads_nowhere(page, target)]


def missing_paths(text: str) -> Iterator[str]:
    for name in PATH.findall(text):
        if not (any(ROOT.glob(name)) if "*" in name else (ROOT / name).exists()):
            yield name
    for name in MODULE.findall(text):
        below_package = (ROOT / name).exists() or (ROOT / "ppi_train" / name).exists()
        if not (below_package if "/" in name else any(ROOT.glob(f"tests/**/{name}"))):
            yield name


def missing_names(text: str) -> Iterator[str]:
    """The names that examples import, or diagrams give after a file, and the package does not have."""
    for module, name in IMPORT.findall(text):
        file = ROOT / Path(*module.split("."))
        if not defines(file / "__init__.py" if file.is_dir() else file.with_suffix(".py"), name):
            yield f"{module}.{name}"
    for path, name in DEFINED_IN.findall(text):
        if not defines(ROOT / "ppi_train" / path, name):
            yield f"{path}: {name}"


def defines(source: Path, name: str) -> bool:
    pattern = rf"^ *(class|def) {name}\b"
    return source.exists() and re.search(pattern, source.read_text(), re.MULTILINE) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert sorted(broken_links(page)) == []


@pytest.mark.parametrize("page", PRESENT, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page: Path) -> None:
    text = page.read_text()
    assert sorted({*missing_paths(text), *missing_names(text)}) == []


@pytest.mark.parametrize("page", SITE, ids=lambda page: page.name)
def test_every_page_is_linked(page: Path) -> None:
    linked = "".join(other.read_text() for other in PAGES if other != page)
    assert f"{page.name})" in linked


def test_pages_that_the_code_names_exist() -> None:
    """Also in messages, since a user follows them, and in the files at the top."""
    folders = ("ppi_train", "benchmarks", "entry_points", "scripts")
    sources = [path for folder in folders for path in ROOT.glob(f"{folder}/**/*.py")]
    sources += [ROOT / name for name in ("MLproject", "conda.yaml", "pyproject.toml", ".ci/run")]
    named = {path: re.findall(r"(?<![\w./-])docs/[\w./-]*\w", path.read_text()) for path in sources}
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path, names in named.items()
        for name in names
        if not (ROOT / name).exists()
    ]
    assert missing == []
    assert "docs/how-to/embedders.md" in named[ROOT / "ppi_train/embeddings/embedders/hub.py"]


@pytest.mark.parametrize("page", SITE, ids=lambda page: page.name)
def test_lists_begin_after_an_empty_line(page: Path) -> None:
    """The site takes a list that does not for a part of the paragraph; GitHub does not."""
    text = FENCE.sub("", page.read_text())
    assert re.findall(r"^(?!- |\d+\. |[ #|]).+\n- .*", text, re.MULTILINE) == []


def test_links_of_the_notebook_lead_somewhere() -> None:
    notebook = ROOT / "docs/tutorial.ipynb"
    cells = json.loads(notebook.read_text())["cells"]
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    targets = LINK.findall(text)
    assert "reference/api.md" in targets
    assert [target for target in targets if leads_nowhere(notebook, target)] == []


def test_the_checks_see_what_is_missing(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A title\n[a](gone.md) [b](#a-title) [c](#no-title) [d](https://example.org/gone.md)\n")
    assert broken_links(page) == ["gone.md", "#no-title"]
    named = (
        "`tests/unit/gone.py`, models/base.py, models/gone.py, test_docs.py, test_gone.py, docs/*.gone, x.py"
    )
    missing = ["docs/*.gone", "models/gone.py", "test_gone.py", "tests/unit/gone.py"]
    assert sorted(set(missing_paths(named))) == missing
    imports = (
        "from ppi_train.errors import UserError\nfrom ppi_train.errors import Gone\nfrom ppi_train.x import y"
    )
    assert list(missing_names(imports)) == ["ppi_train.errors.Gone", "ppi_train.x.y"]
    diagram = (
        'a["errors.py: UserError"] --> b["errors.py: Gone<br/>"] --> c["models/base.py: PairModel.lost"]'
    )
    assert list(missing_names(diagram)) == ["errors.py: Gone", "models/base.py: lost"]


def test_citation_has_the_version_and_the_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "license", "type"} <= citation.keys()
    assert str(citation["version"]) == ppi_train.__version__
    assert citation["license"] == "MIT"


def test_the_changelog_names_the_version() -> None:
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert ppi_train.__version__ in versions[:2]


def test_the_workflow_calls_the_gate() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in [step.get("run") for step in steps]


def test_the_hooks_are_the_fast_checks_of_the_gate() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    entries = [hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"]]
    assert [entry.removesuffix(" --force-exclude") for entry in entries] == [
        "ruff check",
        "ruff format",
        "mypy",
    ]
