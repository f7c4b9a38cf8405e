"""Check that adaptive_dist/ is what the notebooks export, and that these are clean.

The notebooks are exported and cleaned in a temporary copy, which is then compared; the checkout
stays as it is. `import` statements must stand in cells of their own: building the documentation
runs every cell that has one. A title stands in a cell of its own: its pages lack what else is in
that.
"""
import ast
import contextlib
import difflib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbdev.config import get_config
from nbdev.doclinks import nbdev_export
from run_notebooks import ROOT, clean, notebooks

PACKAGE = "adaptive_dist"
BY_HAND = [f"{PACKAGE}/__init__.py", f"{PACKAGE}/models/__init__.py"]
EXPORT = re.compile(r"^#\|\s*exports?\b", re.MULTILINE)
MAGIC = re.compile(r"^[%!].*", re.MULTILINE)
TITLE = re.compile(r"# [^\n]+\n+> [^\n]+\n*(- [\w-]+: [^\n]+\n?)*")

def export(copy: Path) -> None:
    "Export the notebooks into a copy of the project that has no modules yet."
    by_hand = [ROOT/name for name in ("settings.ini", "pyproject.toml", *BY_HAND)]
    for path in [*by_hand, *notebooks()]:
        target = copy/path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    with contextlib.chdir(copy):
        get_config.cache_clear()
        nbdev_export()

def modules(root: Path) -> dict[str, str]:
    "Text of every module of the package, by its path."
    paths = sorted((root/PACKAGE).rglob("*.py"))
    return {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in paths}

def export_faults(copy: Path) -> Iterator[str]:
    "What `nbdev_export` would change."
    here, there = modules(ROOT), modules(copy)
    for name in sorted({*here, *there}):
        if name not in there:
            yield f"{name} comes from no notebook: delete it, or export it from one"
        elif name not in here:
            yield f"{name} is not there: run `make export`"
        elif here[name] != there[name]:
            diff = difflib.unified_diff(here[name].splitlines(), there[name].splitlines(), name,
                                        "its notebook", lineterm="", n=1)
            yield "\n".join([
                f"{name} is not what its notebook exports: edit that, then run `make export`",
                *list(diff)[:30]])
    if (ROOT/"pyproject.toml").read_text() != (copy/"pyproject.toml").read_text():
        yield "pyproject.toml does not agree with settings.ini: run `make export`"

def noise(copy: Path) -> Iterator[str]:
    "What cleaning would change."
    for path in notebooks(copy):
        if clean(path):
            yield (f"{path.relative_to(copy)} holds noise (counts, metadata, progress bars, "
                   "addresses): run `make export`")

def mixed_imports() -> Iterator[str]:
    "Cells of exporting notebooks that import and do something else; their pages run such cells."
    for path in notebooks():
        cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        if not any(EXPORT.search(c.source) for c in cells): continue
        for cell in cells:
            if EXPORT.search(cell.source) or "nbdev_export()" in cell.source: continue
            body = ast.parse(MAGIC.sub("pass", cell.source)).body
            kinds = {isinstance(node, (ast.Import, ast.ImportFrom)) for node in body}
            if kinds == {True, False}:
                yield (f"{path.relative_to(ROOT)}: give the imports a cell of their own:\n"
                       f"{cell.source}")

def swallowed() -> Iterator[str]:
    "First cells with more than a title and a line about the page: nbdev drops what else they hold."
    for path in notebooks():
        first = nbformat.read(path, as_version=4).cells[0]
        if first.cell_type != "markdown" or not TITLE.fullmatch(first.source):
            yield (f"{path.relative_to(ROOT)}: its first cell must hold a title and a line after "
                   "'> ' only: pages drop what else it holds")

def main() -> int:
    os.environ.pop("IN_TEST", None)  # under which nbdev_export does nothing
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve()
        export(copy)
        faults = [*export_faults(copy), *noise(copy), *mixed_imports(), *swallowed()]
    fine = f"{len(notebooks())} notebooks are clean and agree with {PACKAGE}/"
    print("\n\n".join(faults) or fine)
    return bool(faults)

if __name__ == "__main__":
    sys.exit(main())
