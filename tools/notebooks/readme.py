"""Make README.md from nbs/index.ipynb, or check that it is up to date.

    python tools/notebooks/readme.py [--check]

nbdev's own `nbdev_readme` needs Quarto. This uses the same cell processors (directives, hidden
cells, links), then nbconvert. Figures go to index_files/, links to notebooks lead to nbs/.
"""
import os
import re
import sys
from pathlib import Path

import nbformat
from execnb.nbio import nb2str, read_nb
from nbconvert import MarkdownExporter
from nbdev.config import get_config
from nbdev.frontmatter import FrontmatterProc
from nbdev.processors import FilterDefaults

ROOT = Path(__file__).resolve().parents[2]
FIGURES = "index_files"
WARNING = "<!-- Made from nbs/index.ipynb by `make export`: edit that. -->\n\n"

class Filter(FilterDefaults):
    "nbdev's processors for documentation, but title and subtitle stay Markdown."
    def base_procs(self) -> list:
        return [p for p in super().base_procs()
                if p is not FrontmatterProc and p.__name__ != "insert_warning"]

def local_links(text: str) -> str:
    "Links to the site and to other notebooks become links to files of the repository."
    config = get_config()
    site = re.escape(f"{config.doc_host}{config.doc_baseurl}/")
    text = re.sub(rf"\]\({site}([\w/]+)\.html(#[^)]*)?\)", r"](nbs/\1.ipynb)", text)
    return re.sub(r"\]\((?!https?:|nbs/)([\w/]+\.ipynb)", r"](nbs/\1", text)

def render() -> dict[str, bytes]:
    "README.md and its figures, by path."
    nb = read_nb(ROOT/"nbs/index.ipynb")
    Filter()(nb)
    nb.cells = [c for c in nb.cells if c.source]
    for cell in nb.cells:
        if re.search(r"^#\| *echo: *false", cell.source, re.MULTILINE):
            cell.metadata["transient"] = {"remove_source": True}
        cell.source = re.sub(r"^#\|.*\n", "", cell.source, flags=re.MULTILINE)
    nb.metadata.language_info = {"name": "python"}
    places = {"output_files_dir": FIGURES, "unique_key": "index"}
    notebook = nbformat.reads(nb2str(nb), as_version=4)
    text, resources = MarkdownExporter().from_notebook_node(notebook, resources=places)
    text = re.sub(r"\s*\n\s*?\n", "\n\n", local_links(text)).strip() + "\n"
    return {"README.md": (WARNING + text).encode(), **resources["outputs"]}

def main() -> int:
    os.chdir(ROOT)
    if not Path("nbs/index.ipynb").exists():
        print("nbs/index.ipynb does not exist: no README.md is made")
        return int(Path("README.md").exists())
    new = render()
    paths = [Path("README.md"), *Path(FIGURES).glob("*")]
    old = {str(path): path.read_bytes() for path in paths if path.exists()}
    if "--check" in sys.argv[1:]:
        wrong = sorted(name for name in {*new, *old} if new.get(name) != old.get(name))
        said = f"not as nbs/index.ipynb has it: {', '.join(wrong)}: run `make export`"
        print(said if wrong else "README.md agrees with nbs/index.ipynb")
        return bool(wrong)
    for name in {*old} - {*new}:
        Path(name).unlink()
    for name, content in new.items():
        Path(name).parent.mkdir(exist_ok=True)
        if old.get(name) != content:
            Path(name).write_bytes(content)
    return 0

if __name__ == "__main__":
    sys.exit(main())
