"""Static check for calls that could execute untrusted data.

These calls would run what a file, a model or a parameter says.

Read from the source, so that a new call is refused before anybody thinks of a file to attack it with; the
files themselves are in the tests of their readers, which docs/design/security.md names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

SOURCES = sorted(
    path for folder in ("ppi_train", "entry_points", "benchmarks") for path in ROOT.glob(f"{folder}/**/*.py")
)
# By full name, whatever the file calls it; a name that ends in a dot stands for all below it.
FORBIDDEN = (
    "eval", "exec", "compile", "__import__", "runpy.", "code.",
    "os.system", "os.popen", "os.exec", "os.spawn", "subprocess.getoutput", "subprocess.getstatusoutput",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "_pickle.", "marshal.", "shelve.", "dill.",
    "cloudpickle.", "joblib.", "pandas.read_pickle", "numpy.load", "jinja2.", "torch.hub.", "torch.jit.load",
    "torch.package.", "torch.serialization.add_safe_globals", "yaml.unsafe_load", "yaml.full_load",
    "yaml.load_all", "yaml.unsafe_load_all", "yaml.full_load_all", "mlflow.pyfunc.load_model",
    "mlflow.pyfunc.load_context", "mlflow.pytorch.", "mlflow.sklearn.", "shutil.unpack_archive",
    "tempfile.mktemp", "ssl._create_unverified_context",
)  # fmt: skip
# Where one of these is called all the same, and why what it reads is not a stranger's.
ALLOWED = {
    ("ppi_train/data/similarity.py", "numpy.load"),  # written by us, and without pickles
    ("ppi_train/reporting/page.py", "jinja2"),  # the templates are in the package, and all values escaped
    ("ppi_train/tracking/scoring_app.py", "mlflow.pyfunc.load_model"),  # verified before
    ("ppi_train/tracking/served_model.py", "pkgutil.resolve_name"),  # it is code: docs/design/security.md
    ("ppi_train/tracking/served_model.py", "sys.path.insert"),
    ("benchmarks/faults.py", "sys.path.insert"),  # the tests, whose proxy it breaks
    ("benchmarks/network_metrics.py", "sys.path.insert"),  # the tests, whose oracle it times
}
BY_TEXT = ("importlib.import_module", "pkgutil.resolve_name", "sys.path.insert", "sys.path.append")
METHODS = ("extractall", "unsafe_load")
SAFE_LOADERS = ("yaml.SafeLoader", "yaml.CSafeLoader", "_UniqueKeyLoader")
# Only `false` may be said of these, in any call.
NEVER_TRUE = ("shell", "allow_pickle", "trust_remote_code")


def names_of_imports(tree: ast.AST) -> dict[str, str]:
    """The full name behind each name that the file has imported."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def full_name(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{full_name(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


def is_forbidden(name: str) -> bool:
    exact = name in FORBIDDEN or name.partition("(")[0].rpartition(".")[2] in METHODS
    return exact or any(prefix.endswith(".") and f"{name}.".startswith(prefix) for prefix in FORBIDDEN)


def faults_of_call(call: ast.Call, name: str, names: dict[str, str]) -> Iterator[str]:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    constant = {key: value.value for key, value in given.items() if isinstance(value, ast.Constant)}
    if is_forbidden(name):
        yield name
    for key in NEVER_TRUE:
        if key in given and constant.get(key, True) is not False:
            yield f"{name} with {key}"
    if name == "torch.load" and constant.get("weights_only") is not True:
        yield "torch.load without weights_only=True"
    if name == "numpy.lib.format.read_array" and constant.get("allow_pickle") is not False:
        yield "read_array without allow_pickle=False"
    if constant.get("verify") is False:
        yield f"{name} with verify=False"
    if name == "yaml.load":
        loader = given.get("Loader") or (call.args[1] if len(call.args) > 1 else ast.Constant(None))
        if full_name(loader, names) not in SAFE_LOADERS:
            yield "yaml.load with a loader that makes objects"


def faults(source: str, path: str = "") -> list[str]:
    """What a source calls and may not, each with its line; also the import of what may not be used at all."""
    tree = ast.parse(source)
    names = names_of_imports(tree)
    allowed = tuple(name for place, name in ALLOWED if place == path)

    def is_allowed(name: str) -> bool:
        return any(name == permitted or name.startswith(f"{permitted}.") for permitted in allowed)

    found = [
        f"import of {imported}"
        for imported in names.values()
        if is_forbidden(imported) and not is_allowed(imported)
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = full_name(node.func, names).replace("np.", "numpy.")
            called = faults_of_call(node, name, names)
            found += [f"line {node.lineno}: {fault}" for fault in called if not is_allowed(fault)]
            if name in BY_TEXT and not is_allowed(name):
                found.append(f"line {node.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_runs_what_it_reads(path: Path) -> None:
    relative = str(path.relative_to(ROOT))
    assert faults(path.read_text(), relative) == []


@pytest.mark.parametrize(("place", "name"), sorted(ALLOWED))
def test_what_is_allowed_is_still_called_there(place: str, name: str) -> None:
    called = faults((ROOT / place).read_text())
    assert any(name in fault for fault in called), f"{place} does not call {name}: forbid it again"


CALLS = [
    "eval(x)",
    "exec(x)",
    "__import__(x)",
    "import os; os.system(x)",
    "from os import popen as p; p(x)",
    "import pickle; pickle.load(x)",
    "import pickle as harmless; harmless.loads(x)",
    "from pickle import loads",
    "import cloudpickle",
    "from joblib import load",
    "import torch; torch.load(x)",
    "import torch; torch.load(x, weights_only=False)",
    "import torch; torch.load(x, weights_only=flag)",
    "from torch import load; load(x, map_location='cpu')",
    "import numpy as np; np.load(x)",
    "from numpy.lib.format import read_array; read_array(x)",
    "f(x, allow_pickle=True)",
    "f(x, trust_remote_code=flag)",
    "import yaml; yaml.load(x)",
    "import yaml; yaml.load(x, yaml.Loader)",
    "import yaml; yaml.load(x, Loader=yaml.UnsafeLoader)",
    "import yaml; yaml.unsafe_load(x)",
    "import subprocess; subprocess.run(x, shell=True)",
    "import pandas; pandas.read_pickle(x)",
    "import mlflow; mlflow.pyfunc.load_model(x)",
    "from mlflow.pyfunc import load_model; load_model(x)",
    "import zipfile; zipfile.ZipFile(x).extractall(y)",
    "import importlib; importlib.import_module(x)",
    "import requests; requests.get(x, verify=False)",
    "from jinja2 import Template",
    "import tempfile; tempfile.mktemp()",
]
HARMLESS = [
    "import torch; torch.load(x, weights_only=True)",
    "import yaml; yaml.load(x, yaml.SafeLoader)",
    "import yaml; yaml.safe_load(x)",
    "import subprocess; subprocess.run([x], shell=False)",
    "import re; re.compile(x)",
    "model.eval()",
    "import numpy as np; np.lib.format.read_array(x, allow_pickle=False)",
    "import pickle; pickle.dumps(x); pickle.UnpicklingError",
]


@pytest.mark.parametrize("source", CALLS)
def test_the_reader_of_sources_sees(source: str) -> None:
    assert faults(source)


@pytest.mark.parametrize("source", HARMLESS)
def test_the_reader_of_sources_lets_pass(source: str) -> None:
    assert faults(source) == []
