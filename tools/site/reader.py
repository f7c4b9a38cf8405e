"""What a reader gets to see of a processed notebook, and pages made from files of the repository.

On a page whose front matter says `code-fold: true`, a page of results, code is folded and what only
asserts is left out; it still runs, in the notebook. Guides leave asserts out, too.
"""
import ast
import re
from pathlib import Path

import api
import nbformat
import yaml

OPTION = re.compile(r"^#\|.*\n?", re.MULTILINE)
ALT = re.compile(r"^#\| *fig-alt: *(.+)$", re.MULTILINE)
ECHO = re.compile(r"^#\| *echo: *false", re.MULTILINE)
MAGIC = re.compile(r"^\s*[%!]", re.MULTILINE)

def front_matter(nb: nbformat.NotebookNode) -> dict:
    "The title, description and options that nbdev has written into the first cell."
    first = nb.cells[0]
    return yaml.safe_load(first.source.strip().strip("-")) if first.cell_type == "raw" else {}

def without_asserts(source: str) -> str:
    "Code without its assert statements, and without loops and functions that only assert."
    if "assert" not in source or MAGIC.search(source): return source
    lines = source.splitlines()

    def asserts(node: ast.stmt) -> bool:
        if isinstance(node, ast.For | ast.With | ast.If) and not getattr(node, "orelse", None):
            return all(map(asserts, node.body))
        return isinstance(node, ast.Assert)

    for node in ast.parse(source).body:
        if asserts(node):
            for k in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[k] = ""
    return re.sub(r"\n\n\n+", "\n\n", "\n".join(lines)).strip()

def with_alt(cell: nbformat.NotebookNode, title: str, before: str) -> None:
    "Give a figure without a description the heading that it stands under."
    pictures = any("image/png" in o.get("data", {}) for o in cell.get("outputs", []))
    if pictures and not ALT.search(cell.source):
        cell.source = f"#| fig-alt: \"{title}{': ' + before if before else ''}\"\n{cell.source}"

def fold(cell: nbformat.NotebookNode, before: list[str]) -> None:
    "Fold a cell's code behind what ran before it, of which nothing is left afterwards."
    options = "".join(OPTION.findall(cell.source))
    own = OPTION.sub("", cell.source).strip()
    source = "\n\n".join(part for part in (*before, own) if part)
    before.clear()
    cell.source = f"#| code-fold: true\n#| code-summary: Code\n{options}{source}"

def for_readers(path: Path, guide: bool, package: api.Package) -> set[str]:
    """Rewrite a processed notebook; the names it documents.

    On a folded page code that shows nothing goes to the next code that does.
    """
    nb = nbformat.read(path, as_version=4)
    front = front_matter(nb)
    folded = bool(front.get("code-fold"))
    title = str(front.get("title", "")).replace('"', "")
    names: set[str] = set()
    kept, heading, silent = [], "", []
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE) or [heading])[-1]
        if cell.cell_type == "code":
            names |= documented_names(cell, package)
            hidden = bool(ECHO.search(cell.source))
            if not hidden and (folded or guide):
                cell.source = without_asserts(cell.source)
            bare = OPTION.sub("", cell.source).strip()
            if not bare and not cell.outputs: continue
            if folded and not hidden and not cell.outputs:
                silent.append(bare)
                continue
            if folded and not hidden:
                fold(cell, silent)
            with_alt(cell, title, re.sub(r"[\"`*$\[\]\\]|\(\S*\)", "", heading))
        kept.append(cell)
    if silent:
        kept.append(nbformat.v4.new_code_cell(""))
        fold(kept[-1], silent)
    nb.cells = kept
    nbformat.write(nb, path)
    return names

def documented_names(cell: nbformat.NotebookNode, package: api.Package) -> set[str]:
    "Replace what show_doc wrote in a cell; the names it is about."
    found = set()
    for output in cell.outputs:
        data = output.get("data", {})
        text = "".join(data.get("text/markdown", ""))
        if "[source](" in text:
            data["text/markdown"] = api.documented(text, package)
            found |= set(re.findall(r"^#+ (\w+)$", text, re.MULTILINE))
    return found

def page_of(file: Path, title: str, description: str, blob: str) -> str:
    "A file of the repository as a page; its links to notebooks lead to their pages."
    text = re.sub(r"^# .*\n+", "", file.read_text(encoding="utf-8"), count=1)
    text = re.sub(r"\]\(nbs/([\w/]+\.ipynb)", r"](../\1", text)
    text = re.sub(r"\]\((?!https?:|\.\./|#)([\w./-]+)", rf"]({blob}\1", text)
    if not file.suffix:
        text = f"```text\n{text}\n```\n"
    return api.front(title, description) + text
