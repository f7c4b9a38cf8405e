"""Every command of README, CONTRIBUTING and the pages: run where that takes seconds, else read by the parser that would run it.

Commands are the lines of fenced blocks, and code in sentences that begins with `adaptive-dist`, `make` or a flag.
"""
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from own_texts import TINY, write_texts

from adaptive_dist import cli
from adaptive_dist.report.compare import configured, variants
from adaptive_dist.train.methods import METHODS

ROOT = Path(__file__).resolve().parent.parent
SMALL = [*TINY, "--generic", "texts", "--generic-test", ".2", "--method", "dds"]
OTHERS = {  # commands that are neither ours nor the Makefile's, by their first words, and why they are not run
    "pins/bin/pip install": "builds an environment of 2 GB from a package index",
    "pins/bin/pip freeze": "lists that environment",
    "pins/bin/pip check": "checks that environment",
    "python3 -m venv pins": "makes that environment",
    "git clone": "needs the published repository",
}
OTHER_FLAGS = {"--model.layers": "said to be how flags are not written", "--xla_force_host_platform_device_count": "is XLA's"}

class Command(NamedTuple):
    "A command, and the page that has it."
    page: str
    text: str

def markdown(path: Path) -> str:
    "The prose of a notebook or a Markdown file."
    if path.suffix == ".md": return path.read_text(encoding="utf-8")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")

def of_block(text: str) -> Iterator[str]:
    "The commands of a fenced block: shell lines, or what the containers of a Kubernetes job run."
    if text.startswith("apiVersion:"):
        for container in yaml.safe_load(text)["spec"]["template"]["spec"]["containers"]: yield shlex.join(container["command"])
        return
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|", re.sub(r"(^|\s)#.*", "", line)):
            if part.strip(): yield re.sub(r"\s[<>]\s*\S+", "", part).strip()

FILES = [p for p in [*ROOT.glob("*.md"), *sorted((ROOT/"nbs").rglob("*.ipynb"))] if p.name != "LOG.md" and ".ipynb_" not in str(p)]
PAGES = {str(p.relative_to(ROOT)): markdown(p) for p in FILES}
BLOCK = re.compile(r"^```(?:console|sh|bash|shell)\n(.*?)^```", re.MULTILINE | re.DOTALL)
IN_BLOCKS = [Command(page, text) for page, prose in PAGES.items() for block in BLOCK.findall(prose) for text in of_block(block)]
SPANS = [Command(page, text) for page, prose in PAGES.items()
         for text in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", prose, flags=re.MULTILINE | re.DOTALL))]
OURS = list(dict.fromkeys(c for c in IN_BLOCKS + SPANS if re.match(r"(\S*/|srun .*)?adaptive-dist \S", c.text)))
MADE = list(dict.fromkeys(c for c in IN_BLOCKS + SPANS if c.text.startswith("make ")))
LEFT = [c for c in IN_BLOCKS if c not in OURS and c not in MADE]

def test_commands_are_found() -> None:
    "Of each kind, in its place: a change of form does not leave this file with nothing to check."
    assert Command("README.md", "make demo") in MADE and Command("README.md", ".venv/bin/adaptive-dist demo --out runs/demo") in OURS
    assert any(c.page == "nbs/scaling_out.ipynb" and "JOB_COMPLETION_INDEX" in c.text for c in OURS)
    assert any(c.text.startswith("srun") for c in OURS) and len(OURS) > 40

class ReadError(Exception): "Raised where a command would have begun its work."

@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    "Replaces the work of every command; what they would have been given is appended here."
    given: list[Any] = []
    def stop(*arguments: Any, **more: Any) -> None:
        given.append(arguments)
        raise ReadError
    for name in ("run", "checkup", "compare", "bench", "write_selection_report", "export_scores"): monkeypatch.setattr(cli, name, stop)
    for task, name in (("lm", "demo"), ("mt", "translator")): monkeypatch.setattr(cli.load_task(task), name, stop)
    return given

def arguments(text: str) -> list[str]:
    "What our command is given; names that stand for others are filled in."
    words = shlex.split(text.partition("adaptive-dist ")[2].replace("$(JOB_COMPLETION_INDEX)", "0"))
    names = {"TASK": "lm", "RUN_FOLDER...": "run", "RUN_FOLDER": "run", "RUN...": "run", "RUN": "run", "[DATA]": "text.txt"}
    words = [names.get(word, word) for word in words]
    return words[:-1] if words[-1] == "..." and not words[-2].startswith("--") else words

@pytest.mark.parametrize("command", OURS, ids=lambda c: f"{c.page}: {c.text}")
def test_our_command_is_understood(command: Command, read: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    words = arguments(command.text)
    if words[0] in ("run", "check", "compare") and len(words) == 1: words.append("lm")      # named, not given
    if words[0] in ("report", "score", "translate") and len(words) == 1: words.append("run")
    try: status = cli.main(words)
    except ReadError: status = 0
    except SystemExit as e: status = e.code or 0  # --help, --version
    assert status == 0, capsys.readouterr().err
    if not read: return
    given = read[-1]
    if words[0] in ("run", "check"): assert given[1].method in METHODS
    if words[0] == "compare":
        choices = [[re.sub(r"{\d+}", "x", flag) for flag in choice] for variant in variants(given[4]) for choice in variant.choices]
        assert choices and all(configured(given[2], choice).method in METHODS for choice in choices)

@pytest.mark.parametrize(("wrong", "said"), [
    ("adaptive-dist run lm --stepps 3", "unrecognized arguments"), ("adaptive-dist rum lm", "invalid choice"),
    ("adaptive-dist run lm --steps 0", "must be at least 1"), ("adaptive-dist compare lm --targets Cooking", "unknown target")])
def test_a_wrong_command_is_not_understood(wrong: str, said: str, read: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments(wrong)) == 2 and said in capsys.readouterr().err and not read

def test_flags_in_sentences_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with_task = [[command, task] for command in ("run", "check", "compare") for task in cli.TASKS]
    known = set(OTHER_FLAGS)
    for words in [["bench"], ["demo"], ["report"], ["score"], ["translate"], *with_task]:
        with pytest.raises(SystemExit): cli.main([*words, "--help"])
        known |= set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out))
    assert {"--steps", "--image-size", "--beam", "--rounds", "--study"} <= known
    used = {(flag, c.page) for c in SPANS if c.text.startswith("--") for flag in re.findall(r"--[a-z][\w.-]*", c.text)}
    assert len(used) > 30 and not {(flag, page) for flag, page in used if flag not in known}

def test_make_targets_exist() -> None:
    command = ["make", "--dry-run", "--always-make", *sorted({c.text.split()[1] for c in MADE})]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

def test_other_commands_are_those_of_make_or_listed() -> None:
    "What a reader may type in place of make is what make does, but for flags that only keep it quiet or quicker."
    def plain(text: str) -> str:
        return re.sub(r" --(clear|disable-pip-version-check|quiet|do_print|n_workers \d)\b", "", text).replace("python -m pip", "pip")
    done = subprocess.run(["make", "--dry-run", "--always-make", "demo", "test"], cwd=ROOT, capture_output=True, text=True, check=True)
    made = {plain(line) for line in done.stdout.replace("JAX_PLATFORMS=cpu HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 ", "").splitlines()}
    unknown = [c for c in LEFT if plain(c.text) not in made and not c.text.startswith(tuple(OTHERS))]
    assert not unknown, "say in OTHERS why they are not run"
    assert {".venv/bin/pip install -r requirements/demo.txt", "python3 -m venv .venv"} <= {c.text for c in LEFT}

def test_own_text_report_and_scores(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    "README's run on a text of one's own, made tiny; then, on copies of it, the commands of the page about reports, word for word."
    write_texts("notes.txt")
    def command(page: str, begin: str) -> list[str]: return arguments(next(c.text for c in IN_BLOCKS if c.page == page and begin in c.text))
    assert cli.main([*command("README.md", "--specific notes.txt"), *SMALL]) == 0
    assert json.loads(Path("runs/notes/result.json").read_text())["steps"] == 5
    for method in ("soba", "dds"): shutil.copytree("runs/notes", f"runs/lm-reduced-{method}-0")
    assert cli.main(command("nbs/reading_a_report.ipynb", "report")) == 0 and "report.html" in capsys.readouterr().out
    assert cli.main(command("nbs/reading_a_report.ipynb", "score")) == 0 and Path("scores.parquet").stat().st_size > 0
    assert "<html" in Path("report.html").read_text()[:200]
