"""How the project is written, in figures: letters.py [--list KIND] [--limits] [PATH ...]

Counts what makes code hard to read, in the code cells of notebooks and in tests/ and tools/:

- long: lines of more than 100 characters
- body: the body of an `if`, `for`, `while`, `with` or `try` on its own line, unless it is a guard
  (`if` with a `return`, `raise`, `continue` or `break`)
- walrus: `:=` outside the head of a loop
- several: exported cells with more than one definition
- big: exported cells of more than 20 lines that hold no class
- unshown: exported cells after which no cell shows or asserts anything before the next exported one
- twice: public names that two modules define
- shown: the share of exported cells that are not unshown

`--list KIND` names the places. With `--limits` the exit status is 1 if a figure is above its limit.
"""
import argparse
import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat

ROOT = Path(__file__).resolve().parents[2]
WIDTH, LINES = 100, 20
LIMITS = {"long": 0, "body": 0, "walrus": 0, "several": 0, "big": 40, "twice": 0}
SHOWN = .905  # the smallest share of exported cells that are shown
KINDS = ("long", "body", "walrus", "several", "big", "unshown", "twice")
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try)
GUARDS = (ast.Return, ast.Raise, ast.Continue, ast.Break)
DEFINITIONS = (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)

class Cell(NamedTuple):
    """A piece of code.

    - `place`: file, and for a notebook the number of the cell
    - `source`: its text
    - `exported`: whether it becomes part of the package
    """
    place: str
    source: str
    exported: bool

def cells(path: Path) -> list[Cell]:
    "The code cells of a notebook, or a module as one."
    name = path.relative_to(ROOT).as_posix()
    if path.suffix == ".py":
        return [Cell(name, path.read_text(encoding="utf-8"), False)]
    found = nbformat.read(path, as_version=4).cells
    return [Cell(f"{name}[{number}]", cell.source, bool(re.match(r"#\|\s*exports?\b", cell.source)))
            for number, cell in enumerate(found) if cell.cell_type == "code"]

def parsed(source: str) -> ast.Module:
    "The syntax tree of a cell, magics left out."
    return ast.parse(re.sub(r"^[%!].*", "pass", source, flags=re.MULTILINE))

def in_loop_heads(tree: ast.AST) -> set[int]:
    "Identities of all nodes in the heads of loops."
    heads: list[ast.AST] = [node.test for node in ast.walk(tree) if isinstance(node, ast.While)]
    for node in ast.walk(tree):
        if isinstance(node, ast.For):
            heads.append(node.iter)
        elif isinstance(node, ast.comprehension):
            heads += [node.iter, *node.ifs]
    return {id(inner) for head in heads for inner in ast.walk(head)}

def same_line_bodies(tree: ast.AST) -> Iterator[int]:
    "Lines of blocks whose body stands on the same line and is no guard."
    for node in ast.walk(tree):
        if not isinstance(node, BLOCKS):
            continue
        guard = isinstance(node, ast.If) and isinstance(node.body[0], GUARDS)
        if node.body[0].lineno == node.lineno and not guard:
            yield node.lineno

def definitions(tree: ast.Module) -> list[ast.stmt]:
    "What a cell defines, imports aside."
    return [node for node in tree.body if isinstance(node, DEFINITIONS)]

def names(node: ast.stmt) -> list[str]:
    "The names that a definition binds."
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [inner.id for t in targets if t for inner in ast.walk(t) if isinstance(inner, ast.Name)]

def is_shown(source: str) -> bool:
    "Whether a cell asserts, prints, or ends with a value that is shown."
    tree = parsed(source)
    calls = any(isinstance(node, ast.Assert) or (isinstance(node, ast.Call) and
                getattr(node.func, "id", "") == "print") for node in ast.walk(tree))
    return calls or (bool(tree.body) and isinstance(tree.body[-1], ast.Expr))

def cell_faults(cell: Cell) -> dict[str, list[str]]:
    "Where a cell has faults that can be seen in it alone."
    tree, lines = parsed(cell.source), cell.source.split("\n")
    heads, defined = in_loop_heads(tree), definitions(tree)
    found: dict[str, list[str]] = {
        "long": [f"{cell.place}:{k}" for k, line in enumerate(lines, 1) if len(line) > WIDTH],
        "body": [f"{cell.place}:{line}" for line in same_line_bodies(tree)],
        "walrus": [f"{cell.place}:{node.lineno}" for node in ast.walk(tree)
                   if isinstance(node, ast.NamedExpr) and id(node) not in heads]}
    if cell.exported and defined:
        bodies = [node for node in defined if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        has_class = any(isinstance(node, ast.ClassDef) for node in defined)
        found["several"] = [cell.place]*(len(bodies) > 1)
        found["big"] = [cell.place]*(len(lines) - 1 > LINES and not has_class)
    return found

def exported_cells(found: list[Cell]) -> dict[str, bool]:
    "The exported cells that define something, and whether each is shown before the next."
    shown: dict[str, bool] = {}
    last = None
    for cell in found:
        if cell.exported and definitions(parsed(cell.source)):
            last = cell.place
            shown[last] = False
        elif last and not cell.exported and "nbdev_export" not in cell.source:
            shown[last] |= is_shown(cell.source)
    return shown

def public_names(found: list[Cell]) -> set[str]:
    "The public names that a notebook exports."
    defined = [node for cell in found if cell.exported for node in definitions(parsed(cell.source))]
    return {name for node in defined for name in names(node) if not name.startswith("_")}

def places(paths: list[Path]) -> dict[str, list[str]]:
    "Where each kind of fault is, and `exported`, all exported cells with a definition."
    found: dict[str, list[str]] = {kind: [] for kind in (*KINDS, "exported")}
    homes: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        for cell in cells(path):
            for kind, where in cell_faults(cell).items():
                found[kind] += where
        shown = exported_cells(cells(path))
        found["exported"] += shown
        found["unshown"] += [place for place, is_ in shown.items() if not is_]
        for name in public_names(cells(path)):
            homes[name].append(path.relative_to(ROOT).as_posix())
    found["twice"] = [f"{name}: {', '.join(where)}" for name, where in sorted(homes.items())
                      if len(where) > 1]
    return found

def sources() -> list[Path]:
    "Everything that people write: notebooks, tests, tools."
    tests = [p for folder in ("tests", "tools") for p in sorted((ROOT/folder).rglob("*.py"))]
    return [*sorted((ROOT/"nbs").rglob("*.ipynb")), *tests]

def figures(found: dict[str, list[str]]) -> dict[str, float]:
    "A number for each kind, and the share of exported cells that are shown."
    shown = 1 - len(found["unshown"])/max(1, len(found["exported"]))
    return {**{kind: len(found[kind]) for kind in KINDS}, "shown": round(shown, 3)}

def excesses(of: dict[str, float]) -> list[str]:
    "The figures that are above their limits, and the share of shown cells if it is below its own."
    above = [f"{kind} {of[kind]} is above {limit}" for kind, limit in LIMITS.items()
             if of[kind] > limit]
    return above + [f"shown {of['shown']} is below {SHOWN}"]*(of["shown"] < SHOWN)

def main(argv: list[str] | None = None) -> int:
    "Print the figures, and what is asked for; 1 if limits are asked for and exceeded."
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="*", type=Path, help="everything by default")
    parser.add_argument("--list", choices=KINDS, action="append", default=[],
                        help="name the places of a kind")
    parser.add_argument("--limits", action="store_true", help="fail if a figure is above its limit")
    args = parser.parse_args(argv)
    found = places([p.resolve() for p in args.path] or sources())
    for kind in args.list:
        print(*found[kind], sep="\n")
    figure = figures(found)
    print(", ".join(f"{name} {value}" for name, value in figure.items()))
    if not args.limits: return 0
    wrong = excesses(figure)
    if wrong:
        print("letters:", "; ".join(wrong), "(--list KIND names the places)")
    return bool(wrong)

if __name__ == "__main__":
    sys.exit(main())
