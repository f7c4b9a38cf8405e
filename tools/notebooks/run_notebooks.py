"""Run notebooks in place, each in a fresh kernel, and clean them; or only clean them.

    python tools/notebooks/run_notebooks.py [--only-clean] [nbs/method/rules.ipynb ...]

Slow cells run too. A notebook that fails is left as it was, the others are still run, and the exit
status is 1. Cleaning is nbdev's (execution counts, cell metadata, memory addresses), and then what
it leaves: warnings and progress bars (all that goes to stderr), notebook metadata other than the
kernel, and a last cell that calls nbdev_export(), which `make export` does and no reader wants.
"""
import argparse
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from execnb.nbio import nb2str, read_nb
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbdev.clean import clean_nb
from nbdev.doclinks import nbglob

ROOT = Path(__file__).resolve().parents[2]
NOT_RUN = re.compile(r"^#\|\s*eval:\s*false", re.MULTILINE)
WIDGET = "application/vnd.jupyter.widget-view+json"  # a progress bar
KERNEL = {"display_name": "python3", "language": "python", "name": "python3"}

def notebooks(root: Path = ROOT) -> list[Path]:
    "All notebooks of the project, in the order of their names."
    return sorted(nbglob(root/"nbs", as_path=True))

def clean(path: Path) -> bool:
    "Remove noise from a notebook; tell whether there was any."
    before = path.read_text(encoding="utf-8")
    nb = read_nb(path)
    nb.cells = [cell for cell in nb.cells if "nbdev.nbdev_export()" not in cell.source]
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs
                            if o.get("name") != "stderr" and WIDGET not in o.get("data", {})]
    clean_nb(nb)
    nb.metadata = {"kernelspec": KERNEL}
    after = nb2str(nb)
    if after != before:
        path.write_text(after, encoding="utf-8")
    return after != before

def run(path: Path) -> None:
    "Execute a notebook from its own folder and write its outputs into it."
    nb = nbformat.read(path, as_version=4)
    for cell in nb.cells:
        if NOT_RUN.search(cell.source):
            cell.metadata.tags = ["skip-execution"]  # removed again by cleaning
    client = NotebookClient(
        nb, kernel_name="python3", timeout=None, record_timing=False, coalesce_streams=True,
        extra_arguments=["--log-level=40"], resources={"metadata": {"path": path.parent}})
    client.execute()
    nbformat.write(nb, path)

def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path, nargs="*", help="all of nbs/ by default")
    parser.add_argument("--only-clean", action="store_true", help="do not run them")
    args = parser.parse_args()
    os.environ["IN_TEST"] = "1"  # so that nbdev_export() in a last cell does nothing
    failed = []
    for path in [p.resolve() for p in args.notebook] or notebooks():
        name, start = path.relative_to(ROOT), time.monotonic()
        if not args.only_clean:
            try:
                run(path)
            except CellExecutionError as error:
                failed.append(str(name))
                print(f"{name} failed:\n{error}", file=sys.stderr)
                continue
            print(f"{time.monotonic() - start:6.1f} s  {name}", flush=True)
        if clean(path) and args.only_clean:
            print(f"cleaned {name}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)

if __name__ == "__main__":
    sys.exit(main())
