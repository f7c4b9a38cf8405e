"""The reference: what the source says of public names, for the pages of the site.

Signatures are those of the source, with the short type names it uses, a parameter on each line
where one line is too short. A NamedTuple shows its fields, a configuration its settings, as tables.
The pages of the reference list every public name of a room with its signature.
"""
import ast
import functools
import html
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

WIDTH = 84
SOURCE = re.compile(r"\[source\]\([^)]*/blob/[^/)]+/(?P<file>[\w/]+\.py)#L(?P<line>\d+)\)")
CODE = re.compile(r"```python\n.*?```", re.DOTALL)
ITEM = re.compile(
    r"^- (?P<heads>`[^`]+`(?:(?:,| and) `[^`]+`)*)(?P<text>[:;,].*(?:\n[ ]+\S.*)*)\n?",
    re.MULTILINE)
NOTEBOOK = re.compile(r"File to edit: (?:\.\./)*nbs/([\w/]+)\.ipynb")
ROOMS = {
    "method": "Weighting networks, filters, rules, selectors, baselines, and what `check` measures",
    "corpus": "Choosing records of a corpus, on one machine or many",
    "scorers": "A number for each generic example, before training",
    "data": "Sources, readers, the split, the cache and its rows",
    "models": "Blocks, and the models of the experiments",
    "train": "Settings, the loop, checkpoints, the methods that `--method` names",
    "report": "Comparisons, tables, curves, pages about a run",
    "experiments": "The tasks",
    "config": "Settings, the command line, errors, files, plug-ins",
    "commands": "What the command line does",
    "cli": "How the command line is read"}

@dataclass(frozen=True)
class Name:
    "A public name: where it is defined, and what the source says of it."
    name: str
    module: str
    page: str
    signature: str
    summary: str

def tidy(source: str) -> str:
    "A piece of source on one line; the leading space of a jaxtyping shape left out."
    return re.sub(r"\s+", " ", re.sub(r'"\s+"', "", source)).strip().replace(', " ', ', "')

@functools.cache
def lines_of(text: str) -> list[bytes]:
    "The lines of a module, in which the positions of nodes count."
    return text.encode().split(b"\n")

def source_of(node: Any, text: str) -> str:
    "The source of a node as it is written; nothing for none."
    if not node: return ""
    if not hasattr(node, "lineno"): return ast.unparse(node)
    lines = lines_of(text)[node.lineno - 1:node.end_lineno]
    lines[-1] = lines[-1][:node.end_col_offset]
    lines[0] = lines[0][node.col_offset:]
    return tidy(b"\n".join(lines).decode())

def parameters(arguments: ast.arguments, text: str) -> list[str]:
    "The parameters of a function as written; `self` and `cls` left out."
    def one(a: ast.arg, default: ast.expr | None = None, stars: str = "") -> str:
        said = f"{stars}{a.arg}" + (f": {source_of(a.annotation, text)}" if a.annotation else "")
        equals = " = " if a.annotation else "="
        return said + (f"{equals}{source_of(default, text)}" if default else "")

    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None]*(len(positional) - len(arguments.defaults)) + [*arguments.defaults]
    pairs = zip(positional, defaults, strict=True)
    found = [one(a, d) for a, d in pairs if a.arg not in ("self", "cls")]
    if arguments.vararg:
        found.append(one(arguments.vararg, stars="*"))
    elif arguments.kwonlyargs:
        found.append("*")
    named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    found += [one(a, d) for a, d in named]
    return found + ([one(arguments.kwarg, stars="**")] if arguments.kwarg else [])

def fields(node: ast.ClassDef) -> dict[str, ast.AnnAssign]:
    "The fields that a class declares, by name."
    return {f.target.id: f for f in node.body
            if isinstance(f, ast.AnnAssign) and isinstance(f.target, ast.Name)}

def settings(node: ast.ClassDef) -> dict[str, ast.Call]:
    "What says of its fields that they are settings, which the command line knows."
    return {name: f.value for name, f in fields(node).items() if isinstance(f.value, ast.Call)
            and ast.unparse(f.value.func) in ("setting", "settings.setting")}

def is_record(node: Any) -> TypeGuard[ast.ClassDef]:
    "Whether a class is a NamedTuple or a dataclass, so that its fields are its parameters."
    return isinstance(node, ast.ClassDef) and bool(fields(node)) and (
        any(ast.unparse(b) == "NamedTuple" for b in node.bases)
        or any("dataclass" in ast.unparse(d) for d in node.decorator_list))

def laid_out(start: str, given: list[str], end: str, width: float) -> str:
    "A call on one line, or with a parameter on each where it would be wider."
    line = f"{start}({', '.join(given)}){end}"
    if len(line) <= width: return line
    return f"{start}(\n" + "".join(f"    {p},\n" for p in given) + f"){end}"

def signature(node: Any, text: str, width: float = WIDTH) -> str:
    "What to write to use a name, with types and defaults."
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        returns = f" -> {source_of(node.returns, text)}" if node.returns else ""
        return laid_out(node.name, parameters(node.args, text), returns, width)
    if isinstance(node, ast.ClassDef):
        begin = next((f for f in node.body
                      if isinstance(f, ast.FunctionDef) and f.name == "__init__"), None)
        if begin: return laid_out(f"class {node.name}", parameters(begin.args, text), "", width)
        bases = [source_of(b, text) for b in node.bases]
        return f"class {node.name}({', '.join(bases)})" if bases else f"class {node.name}"
    value = source_of(getattr(node, "value", None), text)
    target = source_of(node.targets[0] if isinstance(node, ast.Assign) else node.target, text)
    return f"{target} = {value if len(value) <= 60 else value[:57] + '...'}"

def in_index(node: Any, text: str) -> str:
    "The signature that the index shows: of a record, its fields."
    if not is_record(node) or settings(node): return signature(node, text, width=math.inf)
    return f"{node.name}({', '.join(fields(node))})"

def summary(node: ast.AST) -> str:
    "The first line of its docstring, without links."
    if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef): return ""
    first = tidy((ast.get_docstring(node) or "").split("\n\n")[0])
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", first)

def table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    "A table in Markdown."
    cells = [[c.replace("|", "\\|").replace("\n", " ") for c in row] for row in rows]
    lines = [head, ["---"]*len(head), *cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines) + "\n"

def code(text: str) -> str:
    return f"`{text}`" if text else ""

def meanings(doc: str) -> tuple[dict[str, str], str]:
    "What the list in a docstring says of each field, and the docstring without those items."
    found: dict[str, str] = {}
    for item in ITEM.finditer(doc):
        text = tidy(item["text"]).removeprefix(":").strip()
        for head in re.findall(r"`([^`]+)`", item["heads"]):
            name = re.match(r"\w+", head)
            if not name: continue
            called = f"`{head}`" if head != name[0] else ""
            found[name[0]] = f"{called}{'' if text[:1] in ';,' else ' '}{text}".strip(" ,;")
    return found, doc

def field_table(node: ast.ClassDef, text: str) -> tuple[str, set[str]]:
    "The fields of a NamedTuple or dataclass, and which of them its docstring explains."
    said, _ = meanings(ast.get_docstring(node) or "")
    rows = []
    for name, f in fields(node).items():
        default = source_of(f.value, text)
        rows.append([code(name), code(source_of(f.annotation, text)), code(default),
                     said.get(name, "")])
    shown = [k for k in range(4) if k != 2 or any(row[2] for row in rows)]
    shown = [k for k in shown if k != 3 or any(row[3] for row in rows)]
    head = ("field", "type", "default", "what it is")
    picked = [[row[k] for k in shown] for row in rows]
    return table(tuple(head[k] for k in shown), picked), set(said)

LIMITS = {"at_least": "at least", "at_most": "at most", "above": "above"}

def settings_table(node: ast.ClassDef, text: str) -> str:
    "The settings of a configuration: flag, default, unit, meaning and limits."
    rows = []
    for name, call in settings(node).items():
        named = {k.arg: k.value for k in call.keywords}
        default, said = [*call.args, named.get("help")][:2]
        words = str(getattr(said, "value", None) or source_of(said, text))
        unit = re.search(r"\s*\(([^()]*)\)", words)
        meaning = words.replace(unit[0], "", 1) if unit else words
        limits = [f"{LIMITS[k]} {source_of(v, text)}" for k, v in named.items() if k in LIMITS]
        meaning += f" ({', '.join(limits)})" if limits else ""
        rows.append([code(name), code(source_of(default, text)), unit[1] if unit else "", meaning])
    return table(("setting", "default", "unit", "meaning"), rows)

def assigned(node: ast.Assign) -> Iterator[tuple[ast.Name, ast.expr]]:
    "The names that a statement assigns, each with its own value."
    for target in node.targets:
        if isinstance(target, ast.Name):
            yield target, node.value
        elif isinstance(target, ast.Tuple):
            values = node.value.elts if isinstance(node.value, ast.Tuple) else []
            for k, name in enumerate(target.elts):
                if isinstance(name, ast.Name):
                    yield name, values[k] if values else node.value

class Package:
    "The modules of the package, parsed once."
    def __init__(self, folder: Path):
        self.folder = folder
        self.texts = {p.relative_to(folder.parent).as_posix(): p.read_text(encoding="utf-8")
                      for p in sorted(folder.rglob("*.py"))}
        self.trees = {name: ast.parse(text) for name, text in self.texts.items()}

    def defined(self, file: str) -> dict[str, Any]:
        "What a module defines, by name: a node of its syntax tree."
        found: dict[str, Any] = {}
        for node in self.trees[file].body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                found.setdefault(node.name, node)
            elif isinstance(node, ast.AnnAssign):
                found[ast.unparse(node.target)] = node
            elif isinstance(node, ast.Assign):
                found |= {name.id: ast.Assign([name], value) for name, value in assigned(node)}
        return found

    def at(self, file: str, line: int) -> ast.AST | None:
        "The function or class that begins at a line; its decorators belong to it."
        for node in ast.walk(self.trees.get(file, ast.Module([], []))):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef): continue
            if line in (node.lineno, *(d.lineno for d in node.decorator_list)): return node
        return None

    def public(self) -> Iterator[Name]:
        "Every public name where it is defined."
        for file, text in self.texts.items():
            defined, notebook = self.defined(file), NOTEBOOK.search(text)
            listed = defined.get("__all__")
            if not listed or not notebook: continue
            for name in ast.literal_eval(listed.value):
                if name not in defined: continue
                module = file.removesuffix(".py").replace("/", ".").partition(".")[2]
                yield Name(name, module, notebook[1], in_index(defined[name], text),
                           summary(defined[name]))

    def top(self) -> list[str]:
        "The names of the package itself."
        return ast.literal_eval(self.defined(f"{self.folder.name}/__init__.py")["__all__"].value)

def documented(markdown: str, package: Package) -> str:
    "What show_doc wrote, with the source's signature, and a table of the fields or settings."
    where = SOURCE.search(markdown)
    node = package.at(where["file"], int(where["line"])) if where else None
    if where is None or node is None or not CODE.search(markdown): return markdown
    text = package.texts[where["file"]]
    shown = f"```python\n{signature(node, text)}\n```"
    markdown = CODE.sub(lambda _: shown, markdown, count=1)
    if not is_record(node): return markdown
    if settings(node): return f"{markdown.rstrip()}\n\n{settings_table(node, text)}"
    rows, explained = field_table(node, text)
    if explained:
        names = {*fields(node)}
        markdown = ITEM.sub(
            lambda m: "" if set(re.findall(r"`(\w+)", m["heads"])) <= names else m[0], markdown)
    return f"{markdown.rstrip()}\n\n{rows}"

def entry(name: Name, anchors: dict[str, set[str]], up: str = "../") -> str:
    "A line of the index: the name with a link, its signature, its summary."
    to = f"#{name.name.lower()}" if name.name in anchors.get(name.page, ()) else ""
    link = f"[**{name.name}**]({up}{name.page}.ipynb{to})"
    shown = name.signature.removeprefix("class ")
    shown = shown.removeprefix(name.name).strip() or name.name
    said = f"<br>{name.summary}" if name.summary else ""
    return f"- {link} `` {shown} ``{said}\n"

def fold(line: str, markdown: str) -> str:
    "Markdown that a line opens."
    shown = html.escape(line.replace("`", ""), quote=False)
    head = f'<details class="entry"><summary><span>{shown}</span></summary>'
    return f"{head}\n\n{markdown}\n\n</details>\n\n"

def front(title: str, description: str) -> str:
    return f"---\ntitle: \"{title}\"\ndescription: \"{description}\"\n---\n\n"

def pages(package: Package, anchors: dict[str, set[str]]) -> dict[str, str]:
    "The pages of the reference, by file name: the index, one for each room, and the settings."
    names = [*package.public()]
    by_room: dict[str, list[Name]] = {}
    for name in names:
        by_room.setdefault(name.module.split(".")[0], []).append(name)
    order = sorted(by_room, key=lambda room: [*ROOMS, room].index(room))
    found = {f"{room}.md": room_page(room, by_room[room], anchors) for room in order}
    top, text = package.top(), "`import adaptive_dist as ad` gives these.\n\n"
    by_name = {n.name: n for n in names}
    text += "".join(entry(by_name[n], anchors) for n in top if n in by_name)
    modules = [n for n in top if n not in by_name]
    text += "\nand the modules " + ", ".join(f"`ad.{m}`" for m in modules) + ".\n\n## By room\n\n"
    rows = [[f"[{room}]({room}.md)", ROOMS.get(room, ""), str(len(by_room[room]))]
            for room in order]
    text += table(("room", "what is there", "public names"), rows)
    text += "\n[Every setting](settings.md) that a run, a method or a scorer has, in tables.\n"
    index = front("Public names", "Every public name with its signature, by room")
    return {**found, "index.md": index + text, "settings.md": settings_page(package)}

def room_page(room: str, names: list[Name], anchors: dict[str, set[str]]) -> str:
    "Every public name of a room, by module."
    text = front(f"{room}: public names", ROOMS.get(room, "Public names of a room"))
    modules = dict.fromkeys(n.module for n in names)
    for module in modules:
        own = [n for n in names if n.module == module]
        text += f"## {module}\n\n"
        text += fold(", ".join(n.name for n in own), "".join(entry(n, anchors) for n in own))
    return text

GROUPS = {
    "Common to every run": ("train", "Config"), "Of a method": ("train", "Settings"),
    "Of a scorer": ("scorers", ""), "Of data": ("data", ""), "Of a model": ("models", ""),
    "Of a task": ("experiments", ""), "Of a check": ("report", "")}

def settings_page(package: Package) -> str:
    "All settings: those common to every run, then those of a method, a scorer, data, a model."
    text = front("Every setting", "Name, default, unit and meaning of every flag of a run")
    text += ("A setting `batch_size` is the flag `--batch-size` of `adaptive-dist run` and "
             "`compare`, and a field of the configuration in Python.\n\n")
    for title, (room, ending) in GROUPS.items():
        text += f"## {title}\n\n"
        for file, tree in package.trees.items():
            if file.split("/")[1] != room: continue
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and settings(node) and node.name.endswith(ending):
                    text += f"### {node.name}\n\n"
                    bases = [b.id for b in node.bases if isinstance(b, ast.Name)]
                    more = f"Besides those of `{bases[0]}`:\n\n" if bases else ""
                    text += fold(summary(node), more + settings_table(node, package.texts[file]))
    return text
