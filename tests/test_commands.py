"""Every command of README, CONTRIBUTING and the pages is understood.

It is run where that takes seconds, else read by the parser that would run it. Commands are the
lines of fenced blocks, and code in sentences that begins with `adaptive-dist`, `make` or a flag.
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

from adaptive_dist import cli, commands
from adaptive_dist.config.settings import RENAMED, flag
from adaptive_dist.corpus import run_scorer, select, tokenise
from adaptive_dist.experiments import lm, mt
from adaptive_dist.experiments.registry import task_names
from adaptive_dist.report.compare import Comparison
from adaptive_dist.report.grid import configured
from adaptive_dist.scorers.scorer import scorer_names
from adaptive_dist.train.methods import method_names

ROOT = Path(__file__).resolve().parent.parent
SMALL = [*TINY, "--generic", "texts", "--generic-test", ".2", "--method", "dds"]
# Commands that are neither ours nor the Makefile's, by their first words, and why they are not run:
OTHERS = {
    "pins/bin/pip install": "builds an environment of 2 GB from a package index",
    "pins/bin/pip freeze": "lists that environment",
    "pins/bin/pip check": "checks that environment",
    "python3 -m venv pins": "makes that environment",
    ".venv/bin/pip install -U \"jax[": "installs JAX for an accelerator",
    ".venv/bin/python -c \"import jax": "lists an accelerator",
    "git clone": "needs the published repository",
}
# Pages whose commands are tested elsewhere, and where:
ELSEWHERE = {"nbs/guides/your_own_parts.ipynb": "test_outside, which installs that page's package"}
OTHER_FLAGS = {
    "--model.layers": "said to be how flags are not written",
    "--xla_force_host_platform_device_count": "is XLA's",
}

class Command(NamedTuple):
    "A command, and the page that has it."
    page: str
    text: str

def markdown(path: Path) -> str:
    "The prose of a notebook or a Markdown file."
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md": return text
    cells = json.loads(text)["cells"]
    prose = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    return "\n\n".join(prose)

def of_block(text: str) -> Iterator[str]:
    "The commands of a fenced block: shell lines, or those of the containers of a Kubernetes job."
    if text.startswith("apiVersion:"):
        for container in yaml.safe_load(text)["spec"]["template"]["spec"]["containers"]:
            yield shlex.join(container["command"])
        return
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|", re.sub(r"(^|\s)#.*", "", line)):
            if part.strip():
                yield re.sub(r"\s[<>]\s*\S+", "", part).strip()

FILES = [*ROOT.glob("*.md"), *sorted((ROOT/"nbs").rglob("*.ipynb"))]
PAGES = {str(p.relative_to(ROOT)): markdown(p) for p in FILES
         if p.name != "LOG.md" and ".ipynb_" not in str(p)
         and p.relative_to(ROOT).as_posix() not in ELSEWHERE}
SHELL = re.compile(r"^```(?:console|sh|bash|shell)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ANY_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
IN_BLOCKS = [Command(page, text) for page, prose in PAGES.items()
             for block in SHELL.findall(prose) for text in of_block(block)]
SPANS = [Command(page, text) for page, prose in PAGES.items()
         for text in re.findall(r"`([^`\n]+)`", ANY_BLOCK.sub("", prose))]
ALL = dict.fromkeys(IN_BLOCKS + SPANS)
OURS = [c for c in ALL if re.match(r"(\S*/|srun .*)?adaptive-dist \S", c.text)]
MADE = [c for c in ALL if c.text.startswith("make ")]
LEFT = [c for c in IN_BLOCKS if c not in OURS and c not in MADE]

def test_commands_are_found() -> None:
    "Of each kind, in its place: a change of form does not leave this file with nothing to check."
    assert Command("README.md", "make demo") in MADE
    assert Command("README.md", ".venv/bin/adaptive-dist demo --out runs/demo") in OURS
    on_scaling = [c for c in OURS if c.page == "nbs/guides/scaling_out.ipynb"]
    assert any("JOB_COMPLETION_INDEX" in c.text for c in on_scaling)
    assert any(c.text.startswith("srun") for c in OURS) and len(OURS) > 40

class ReadError(Exception): "Raised where a command would have begun its work."

@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    "Replaces the work of every command; what it would have been given is appended here."
    given: list[Any] = []
    def stop(*arguments: Any, **more: Any) -> None:
        given.append(arguments)
        raise ReadError
    for name in ("run", "checkup", "compare", "bench", "write_selection_report", "export_scores",
                 "read_run"):
        monkeypatch.setattr(commands, name, stop)
    monkeypatch.setattr(lm, "demo", stop)
    monkeypatch.setattr(mt, "translator", stop)
    for name in ("select_records", "score_records"):
        monkeypatch.setattr(select, name, stop)
    monkeypatch.setattr(tokenise, "tokenise", stop)
    monkeypatch.setattr(run_scorer, "export_network", stop)
    monkeypatch.setattr(run_scorer, "is_run", lambda method: method.startswith("run"))
    monkeypatch.setattr(run_scorer, "travels", lambda method: False)
    return given

def arguments(text: str) -> list[str]:
    "What our command is given; names that stand for others are filled in."
    command = re.sub(r"\$(\(JOB_COMPLETION_INDEX\)|SLURM_ARRAY_TASK_ID)", "0",
                     text.partition("adaptive-dist ")[2])
    names = {"TASK": "lm", "[DATA]": "text.txt",
             **dict.fromkeys(("RUN_FOLDER...", "RUN_FOLDER", "RUN...", "RUN"), "run")}
    words = [names.get(word, word) for word in shlex.split(command)]
    return words[:-1] if words[-1] == "..." and not words[-2].startswith("--") else words

def understood(words: list[str]) -> int | str:
    "The status that a command ends with, its work left out."
    try:
        return cli.main(words)
    except ReadError:
        return 0
    except SystemExit as e:  # --help, --version
        return e.code or 0

def methods_of(compared: Comparison) -> list[str]:
    "The methods of a comparison; `UsageError` for settings that they do not have."
    choices = [choice for variant in compared.variants for choice in variant.choices]
    flags = [[re.sub(r"{\d+}", "x", flag) for flag in choice] for choice in choices]
    return [configured(compared.config, choice).method for choice in flags]

@pytest.mark.parametrize("command", OURS, ids=lambda c: f"{c.page}: {c.text}")
def test_our_command_is_understood(
    command: Command, read: list[Any], capsys: pytest.CaptureFixture[str],
) -> None:
    words = arguments(command.text)
    if len(words) == 1 and words[0] in ("run", "check", "compare"):  # named, not given
        words.append("lm")
    if len(words) == 1 and words[0] in ("report", "score", "translate", "export", "select",
                                        "tokenise"):
        words.append("run")
    assert understood(words) == 0, capsys.readouterr().err
    if not read: return
    given = read[-1]
    if words[0] in ("run", "check"):
        assert given[1].method in method_names()
    if words[0] == "compare":
        methods = methods_of(given[0])
        assert methods and set(methods) <= set(method_names())

@pytest.mark.parametrize(("wrong", "said"), [
    ("adaptive-dist run lm --stepps 3", "did you mean --steps?"),
    ("adaptive-dist rum lm", "invalid choice"),
    ("adaptive-dist run lm --steps 0", "must be at least 1"),
    ("adaptive-dist compare lm --targets Cooking", "unknown target")])
def test_a_wrong_command_is_not_understood(
    wrong: str, said: str, read: list[Any], capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(arguments(wrong)) == 2 and said in capsys.readouterr().err and not read

def test_flags_in_sentences_exist(capsys: pytest.CaptureFixture[str]) -> None:
    known = set(OTHER_FLAGS)
    of_tasks = [[command, task] for command in cli.TASK_COMMANDS for task in task_names()]
    of_methods = [["run", task, "--method", m] for task in task_names() for m in method_names()]
    scored = ["run", "lm", "--method", "scored", "--scorer"]
    of_methods += [[*scored, scorer] for scorer in scorer_names()]
    for words in [[], *([command] for command in cli.COMMANDS), *of_tasks, *of_methods]:
        with pytest.raises(SystemExit):
            cli.main([*words, "--help"])
        known |= set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out))
    assert {"--steps", "--image-size", "--beam", "--rounds", "--study"} <= known
    used = {(f, c.page) for c in SPANS if c.text.startswith("--")
            for f in re.findall(r"--[a-z][\w.-]*", c.text)}
    renamed = {(flag(name), "CHANGELOG.md") for name in RENAMED}
    assert len(used) > 30 and not {(f, page) for f, page in used - renamed if f not in known}

def done_by_make(*targets: str) -> str:
    "What make would do for its targets, were none of it done."
    command = ["make", "--dry-run", "--always-make", *targets]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout

def test_make_targets_exist() -> None:
    assert done_by_make(*sorted({c.text.split()[1] for c in MADE}))

def test_other_commands_are_those_of_make_or_listed() -> None:
    """What a reader may type in place of make is what make does.

    But for flags that only keep it quiet or quicker.
    """
    flags = r" --(clear|disable-pip-version-check|quiet|do_print|n_workers \d)\b"
    def plain(text: str) -> str: return re.sub(flags, "", text).replace("python -m pip", "pip")
    settings = r'JAX_PLATFORMS=cpu HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 (XLA_FLAGS="[^"]*" )?'
    made = {plain(re.sub(settings, "", line)) for line in done_by_make("demo", "test").splitlines()}
    left = [c for c in LEFT if plain(c.text) not in made]
    unknown = [c for c in left if not c.text.startswith(tuple(OTHERS))]
    assert not unknown, "say in OTHERS why they are not run"
    expected = {".venv/bin/pip install -r requirements/demo.txt", "python3 -m venv .venv"}
    assert expected <= {c.text for c in LEFT}

def command_with(page: str, begin: str) -> list[str]:
    "The arguments of the first command of a page that has some text in it."
    return arguments(next(c.text for c in IN_BLOCKS if c.page == page and begin in c.text))

def test_own_text_report_and_scores(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """README's run on a text of one's own, made tiny.

    Then, on copies of it, the commands of the page about reports, word for word.
    """
    write_texts("notes.txt")
    assert cli.main([*command_with("README.md", "--specific notes.txt"), *SMALL]) == 0
    assert json.loads(Path("runs/notes/result.json").read_text())["steps"] == 5
    for method in ("soba", "dds"):
        shutil.copytree("runs/notes", f"runs/lm-reduced-{method}-0")
    page = "nbs/guides/reading_a_report.ipynb"
    assert cli.main(command_with(page, "report")) == 0
    assert "report.html" in capsys.readouterr().out
    assert "<html" in Path("report.html").read_text()[:200]
    assert cli.main(command_with(page, "score")) == 0
    assert Path("scores.parquet").stat().st_size > 0
