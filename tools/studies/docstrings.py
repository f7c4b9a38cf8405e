"""Write the docstrings of SciPy to a text file: a target of which the embedded corpus has nothing.

    python tools/studies/docstrings.py docstrings.txt
    adaptive-dist compare lm --preset small-target --specific docstrings.txt --seeds 3

One document for each public function, class and method with a docstring of at least 400 characters,
in the order of their names, each text once. The version is that of the installed package.
"""
import argparse
import importlib
import inspect
import pkgutil
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

LEAST = 400  # characters of a document

def modules(package: str) -> Iterator[str]:
    "Names of the public modules of a package."
    root = importlib.import_module(package)
    for found in pkgutil.walk_packages(root.__path__, f"{package}."):
        if not any(part.startswith("_") or part in ("tests", "conftest")
                   for part in found.name.split(".")):
            yield found.name

def docstrings(module: str) -> Iterator[tuple[str, str]]:
    "Names and docstrings of what a module has, and of the methods of its classes."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            members = vars(importlib.import_module(module))
    except ImportError:
        return
    for name, value in sorted(members.items()):
        if name.startswith("_"):
            continue
        inner = vars(value).items() if inspect.isclass(value) else ()
        named = [(name, value), *((f"{name}.{n}", x) for n, x in sorted(inner) if n[0] != "_")]
        for full, thing in named:
            text = inspect.getdoc(thing) if callable(thing) else None
            if text and len(text) >= LEAST:
                yield f"{module}.{full}", text

def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    texts = dict.fromkeys(
        re.sub(r"\n\s*\n", "\n", text).strip() for module in modules("scipy")
        for _, text in docstrings(module))
    args.out.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    print(f"{len(texts):,} documents of SciPy {importlib.import_module('scipy').__version__}, "
          f"{args.out.stat().st_size:,} bytes: {args.out}")

if __name__ == "__main__":
    main()
