"""What mkdocs builds from the code: a page for each mode, the notebook as a page, diagrams as images.

The parameters are those of `--help`, from the same declarations, so that the pages cannot be out of date.
GitHub draws a diagram from its source in the page. The site shows an image that was made of it before, since
the program that draws it would have to be fetched from another server by each reader.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from ppi_train import cli
from ppi_train.config.fields import Constraint, describe_fields
from ppi_train.modes import MODES, Mode

logger = logging.getLogger("mkdocs.hooks")

FOLDER = "reference/modes"
DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOTEBOOK = "tutorial.ipynb"
STYLE = re.compile(r"<style scoped>.*?</style>\n", re.DOTALL)  # of pandas; the site has its own
TABLE = "<!-- modes -->"
AT_THE_TOP = ("CHANGELOG.md", "CONTRIBUTING.md")  # of the repository; pages of the site as well


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the pages of the modes into the navigation, in the order of the table of modes."""
    (reference,) = (part["Reference"] for part in config.nav or [] if "Reference" in part)
    pages: list[Any] = [f"{FOLDER}/index.md", *({name: f"{FOLDER}/{name}.md"} for name in MODES)]
    reference[0] = {"Parameters of the modes": pages}  # in place of the index alone
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    pages = {f"{FOLDER}/{name}.md": mode_page(mode) for name, mode in MODES.items()}
    notebook = Path(config.docs_dir, NOTEBOOK)
    pages[notebook.with_suffix(".md").name] = notebook_page(json.loads(notebook.read_text()))
    for name in AT_THE_TOP:
        pages[name] = Path(config.docs_dir, "..", name).read_text().replace("](docs/", "](")
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Puts the table of modes into its place, and an image into that of each diagram.

    An image is named after the digest of the diagram's source. Links to files at the top of the repository
    lead to their pages.
    """
    to_docs = "../" * page.file.src_uri.count("/")

    def image(found: re.Match[str]) -> str:
        name = f"images/diagram-{hashlib.sha256(found[1].encode()).hexdigest()[:8]}.svg"
        if not Path(config.docs_dir, name).exists():
            logger.warning("%s: a diagram without image; save it as docs/%s", page.file.src_uri, name)
        return f"![A diagram]({to_docs}{name}){{ .diagram }}"

    for name in AT_THE_TOP:
        markdown = markdown.replace(f"](../{to_docs}{name}", f"]({to_docs}{name}")
    return DIAGRAM.sub(image, markdown).replace(TABLE, _table_of_modes())


def _table_of_modes() -> str:
    rows = (
        f"| [`{mode.name}`]({mode.name}.md) | {', '.join(map(_code, mode.aliases))} | {mode.summary} |"
        for mode in MODES.values()
    )
    return "\n".join(["| mode | other names | what it does |", "| --- | --- | --- |", *rows])


def mode_page(mode: Mode) -> str:
    """The page of a mode in Markdown: its commands, and a table for each group of parameters."""
    rules = {spec.name: spec.rule for spec in describe_fields(mode.config)}
    words = mode.example.split()
    lines = [
        f"# `{mode.name}`",
        f"{mode.summary}." + (f" Also: {', '.join(map(_code, mode.aliases))}." if mode.aliases else ""),
        "```bash",
        " ".join([f"mlflow run . -e {mode.name} --env-manager local", *(f"-P {word}" for word in words)]),
        " ".join([f"ppi-train {mode.name}", *(f"--{word.replace('=', ' ')}" for word in words)]),
        "```",
    ]
    for heading, options in cli.option_groups(mode).items():
        lines += [
            "",
            f"## {heading}",
            "",
            "| parameter | value | default | meaning |",
            "| --- | --- | --- | --- |",
        ]
        lines += [_row(option, rules.get(str(option.name))) for option in options if not option.hidden]
    return "\n".join(lines) + "\n"


def _row(option: click.Option, rule: Constraint | None) -> str:
    meaning, _, note = (option.help or "").replace("|", "\\|").replace("<", "&lt;").partition("  [")
    default = note.removesuffix("]").removeprefix("default: ")
    return f"| `{option.name}`{{ #{option.name} }} | {_accepted(option, rule)} | {default} | {meaning} |"


def _accepted(option: click.Option, rule: Constraint | None) -> str:
    """What a parameter accepts: its choices, or its kind and bounds."""
    if rule and rule.choices:
        return ", ".join(map(_code, rule.choices))
    kind = str(option.metavar).lower()
    bounds = {"at least": "low", "above": "above", "at most": "high", "below": "below"}
    limits = {word: getattr(rule, name, None) for word, name in bounds.items()}
    shown = ", ".join(f"{word} {limit:,.13g}" for word, limit in limits.items() if limit is not None)
    return f"{kind}; {shown}" if shown else kind


def notebook_page(notebook: Mapping[str, Any]) -> str:
    """A notebook in Markdown, with the outputs that it was saved with."""
    return "\n\n".join(_cell(cell) for cell in notebook["cells"]) + "\n"


def _cell(cell: Mapping[str, Any]) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    return "\n\n".join([f"```python\n{source}\n```", *map(_output, cell["outputs"])])


def _output(output: Mapping[str, Any]) -> str:
    data = output.get("data", {})
    if "text/html" in data:
        table = STYLE.sub("", "".join(data["text/html"]))
        return f'<div class="output">\n{table}\n</div>'
    text = "".join(output.get("text") or data.get("text/plain", ""))
    return f"```text\n{text.rstrip()}\n```"


def _code(text: str) -> str:
    return f"`{text}`"
