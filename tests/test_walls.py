"""The rooms of the package, the directions of imports between them, and how big they are.

`python tests/test_walls.py` prints them: the lines of each room, and the rooms it imports from.
"""
import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parent.parent/"adaptive_dist"
ALLOWED: dict[str, set[str]] = {  # the rooms that each room may import from, beside itself
    "config": set(),
    "method": set(),
    "data": {"config", "method"},
    "models": {"config", "method", "data.places", "data.vocabulary"},
    "scorers": {"config", "method", "data", "models.byte_convolution"},
    "train": {"config", "method", "data", "scorers"},
    "report": {"config", "method", "data", "train"},
    "experiments": {"config", "method", "data", "models", "scorers", "train", "report"},
    "corpus": {"config", "method", "data", "scorers", "train", "report", "experiments"},
    "commands": {
        "config", "method", "data", "models", "train", "report", "experiments", "corpus"},
    "cli": {"config", "experiments", "commands"},
}
FRONT = ""  # adaptive_dist/__init__.py, which shows the method; only the command line looks at it

class Arrow(NamedTuple):
    """An import of one module of the package by another.

    - `source`, `target`: their names within the package, as in `train.loop`
    - `lazy`: whether it happens inside a function
    """
    source: str
    target: str
    lazy: bool

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}" + (" (inside a function)" if self.lazy else "")

def sources() -> dict[str, Path]:
    "The modules of the package by their names within it."
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return {name: path for name, path in found.items() if name != "_modidx"}

def imported(node: ast.Import | ast.ImportFrom, module: str, is_package: bool) -> Iterator[str]:
    "The full names that an import statement asks for, those of a `from` import with what it takes."
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    here = ["adaptive_dist", *module.split(".")] if module else ["adaptive_dist"]
    base = here[:len(here) - node.level + is_package] if node.level else []
    start = [*base, *([node.module] if node.module else [])]
    yield from (".".join([*start, alias.name]) for alias in node.names)

def targets(name: str, modules: dict[str, Path]) -> Iterator[str]:
    "The module of the package that a full name is, or is in."
    if name.partition(".")[0] != "adaptive_dist": return
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in modules:
        parts = parts[:-1]
    yield ".".join(parts)

def lazy_imports(tree: ast.Module) -> set[ast.AST]:
    "The statements of a module that stand inside a function."
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {inner for function in functions for inner in ast.walk(function)}

def arrows(modules: dict[str, Path]) -> list[Arrow]:
    "Every import within the package."
    found = set()
    for module, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        lazy = lazy_imports(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name in imported(node, module, path.name == "__init__.py"):
                    found |= {Arrow(module, t, node in lazy) for t in targets(name, modules)}
    return sorted(arrow for arrow in found if arrow.source != arrow.target)

def room(module: str) -> str:
    "The room of a module."
    return module.partition(".")[0]

def is_allowed(arrow: Arrow) -> bool:
    "Whether an import goes in one of the directions above."
    source, target = room(arrow.source), room(arrow.target)
    if source == FRONT: return target == "method"
    if target == FRONT: return source == "cli"
    return target == source or bool({target, arrow.target} & ALLOWED.get(source, set()))

def cycle(found: list[Arrow]) -> list[str]:
    "A round of modules that import each other, or none."
    graph: dict[str, set[str]] = defaultdict(set)
    for arrow in found:
        graph[arrow.source].add(arrow.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []

def lines_of_rooms() -> Counter[str]:
    "Lines of code of each room, without those that are empty or only a comment."
    count: Counter[str] = Counter()
    for module, path in sources().items():
        lines = map(str.strip, path.read_text(encoding="utf-8").splitlines())
        count[room(module)] += sum(bool(line) and not line.startswith("#") for line in lines)
    return count

def picture() -> str:
    "The rooms, in words."
    count, found = lines_of_rooms(), arrows(sources())
    lines = []
    for name in ALLOWED:
        others = {room(a.target) for a in found if room(a.source) == name} - {name, FRONT}
        share = f"{count[name]:5} lines, {count[name]/count.total():4.0%}"
        lines.append(f"{name:12} {share}, imports from {', '.join(sorted(others)) or 'no other'}")
    return "\n".join(lines)

def test_every_module_stands_in_a_room() -> None:
    assert {room(module) for module in sources()} == {*ALLOWED, FRONT}

def test_imports_go_one_way() -> None:
    wrong = [str(arrow) for arrow in arrows(sources()) if not is_allowed(arrow)]
    assert not wrong, "these imports run against the walls: " + "; ".join(wrong)

def test_no_module_imports_itself_in_a_round() -> None:
    found = arrows(sources())
    at_import = cycle([arrow for arrow in found if not arrow.lazy])
    assert not at_import, " -> ".join(at_import)
    at_any_time = cycle(found)
    assert not at_any_time, "with imports inside functions: " + " -> ".join(at_any_time)

def test_no_room_is_the_house() -> None:
    count = lines_of_rooms()
    assert max(count.values()) <= count.total()/3, picture()

def test_a_wrong_arrow_would_be_seen(tmp_path: Path) -> None:
    texts = {
        "train.loop": "def f():\n    from ..report import page\nfrom .run import run\n",
        "train.run": "import adaptive_dist.train.loop\nfrom ..data.split import Split\n",
        "report.page": "", "data.split": "",
    }
    modules = {name: tmp_path/f"{name}.py" for name in texts}
    for name, path in modules.items():
        path.write_text(texts[name])
    found = arrows(modules)
    assert list(map(str, found)) == [
        "train.loop -> report.page (inside a function)", "train.loop -> train.run",
        "train.run -> data.split", "train.run -> train.loop"]
    assert [a.target for a in found if not is_allowed(a)] == ["report.page"]
    assert set(cycle(found)) == {"train.loop", "train.run"}

if __name__ == "__main__":
    print(picture())
