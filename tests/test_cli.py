"The command line, as a user has it: what a run leaves behind, and one line with exit status 2 for what cannot be."
import json
import signal
import sys
import time
from pathlib import Path

import pytest
from own_texts import OWN, TINY, finish, folder, result, start

from adaptive_dist.cli import main
from adaptive_dist.config.settings import change, settings
from adaptive_dist.experiments.lm import LM

__all__ = ["folder"]  # the fixture: a working folder with a user's texts
pytestmark = pytest.mark.usefixtures("folder")
RESULT = {"task", "method", "seed", "steps", "specific_loss", "generic_loss", "fine_tuned_specific_loss", "steps_per_second",
          "peak_memory_bytes", "picked_share"}


def run(out, *changes): return ["run", "lm", *TINY, *OWN, "--out", out, *changes]


def check_refusal(status, err, essentials):
    assert status == 2 and err.startswith("adaptive-dist: ") and err.count("\n") == 1 and err.endswith("\n"), err
    for essential in essentials: assert essential in err
    assert not Path("deep").exists()
    assert not Path("cache").exists() or not any(Path("cache").iterdir())


# One of each stage in a process of its own: the command line, the limits, the files, the data, the folder.
REFUSED = {
    "missing file": (["--specific", "nowhere.txt"], ["no such file or folder: nowhere.txt"]),
    "binary file": (["--specific", "binary.txt"], ["binary.txt is not text", "offset 6"]),
    "few examples": (["--specific", "few.txt"], ["the specific training set has 2 examples, fewer than a batch of 4"]),
    "unknown flag": (["--learning-rat", "1"], ["unrecognized arguments: --learning-rat 1; did you mean --learning-rate?", "--help"]),
    "unwritable folder": (["--out", "target.txt/deep"], ["cannot write to --out target.txt/deep: Not a directory"]),
    "negative setting": (["--learning-rate", "-1"], ["--learning-rate -1.0: must be above 0"]),
}
REFUSED_INSIDE = {
    "empty file": (["--specific", "empty.txt"], ["empty.txt is empty"]),
    "not UTF-8": (["--generic", "latin.txt"], ["latin.txt is not UTF-8", "byte 0xf6 at offset 20"]),
    "missing folder": (["--generic", "nowhere/"], ["no such file or folder: nowhere"]),
    "one file for both": (["--generic", "target.txt", "--batch-size", "64"], ["the generic set has", "fewer than a batch of 256"]),
    "unknown method": (["--method", "sgd"], ["--method 'sgd': choose from", "soba"]),
    "unknown embedded domain": (["--specific", "embedded:Cooking"], ["unknown domain embedded:Cooking", "Mathematics"]),
    "unknown domain of the Pile": (["--specific", "pile:usenet"], ["unknown domain pile:usenet", "arxiv"]),
    "hub out of reach": (["--generic", "c4"], ["cannot read allenai/c4 from the hub"]),
    "unknown preset": (["--preset", "huge"], ["--preset: invalid choice: 'huge'"]),
    "not a number": (["--steps", "many"], ["--steps 'many': must be a whole number"]),
    "missing value": (["--seed"], ["--seed: expected one argument"]),
    "nan": (["--learning-rate", "nan"], ["--learning-rate nan: must be a finite number"]),
    "inf": (["--learning-rate", "inf"], ["--learning-rate inf: must be a finite number"]),
    "no steps": (["--steps", "0"], ["--steps 0: must be at least 1"]),
    "huge seed": (["--seed", str(2**32)], ["--seed 4294967296: must be at most 4294967295"]),
    "heads": (["--heads", "3"], ["--heads 3 must divide --width 16"]),
    "judged": (["--generic-rows", "17"], ["--generic-rows 17 exceeds the big batch of 16", "--downsampling"]),
    "rounding": (["--method", "anograd", "--derivative", "finite_difference", "--dtype", "bfloat16"], ["mostly rounding in bfloat16"]),
    "unwritable cache": (["--cache", "target.txt/cache"], ["cannot write the cache to target.txt/cache", "--cache"]),
}


def set_aside_cache():
    "Texts that were good have been cached although the run was refused; a cache that is not whole stays, and fails the test."
    for cache in Path("cache").glob("*/meta.json"): cache.parent.rename("whole")


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_ends_the_process_with_one_line(case):
    changes, essentials = REFUSED[case]
    status, out, err = finish(start(*run("deep/er/out", *changes)))
    if case == "few examples": set_aside_cache()
    check_refusal(status, err, essentials)
    assert out == ""


@pytest.mark.parametrize("case", REFUSED_INSIDE)
def test_bad_input_ends_with_one_line(case, capsys):
    changes, essentials = REFUSED_INSIDE[case]
    status = main(run("deep/er/out", *changes))
    if case == "one file for both": set_aside_cache()
    check_refusal(status, capsys.readouterr().err, essentials)


@pytest.mark.parametrize("argv", [[], ["train"], ["run"], ["run", "sound"], ["run", "lm", "extra"], ["demo", "--steps", "x"]])
def test_bad_commands_end_with_one_line(argv, capsys):
    check_refusal(main(argv), capsys.readouterr().err, [])


def test_a_run_on_own_files(monkeypatch, capsys):
    plain = start(*run("deep/out"))
    monkeypatch.setenv("JAX_LOG_COMPILES", "1")
    telling = start(*run("again"))
    status, printed, err = finish(plain)
    assert (status, err) == (0, "") and printed.startswith("soba: specific loss ") and printed.count("\n") == 1
    out = Path("deep/out")
    assert sorted(p.name for p in out.iterdir()) == ["checkpoints", "config.json", "metrics.jsonl", "result.json"]
    config, records = json.loads((out/"config.json").read_text()), list(map(json.loads, (out/"metrics.jsonl").read_text().splitlines()))
    assert config["task"] == "lm" and config["model"]["width"] == 16 and config["data"]["generic"] == "texts"
    assert [r["step"] for r in records] == [2, 4, 5] and "specific_loss" in records[1] and "specific_loss" in records[2]
    first = result(out)
    assert first.keys() >= RESULT and (first["task"], first["method"], first["seed"], first["steps"]) == ("lm", "soba", 0, 5)
    assert first["picked_share"].keys() == {"target", "sea", "sky"} and sum(first["picked_share"].values()) == pytest.approx(1)
    assert 0 < first["specific_loss"] < 10 and first["steps_per_second"] > 0 and first["peak_memory_bytes"] > 10**7

    # The same seed gives the same numbers, and three chunks, the last of them shorter, are one compilation.
    status, _, err = finish(telling)
    assert status == 0 and err.count("Finished XLA compilation of jit(chunk)") == 1
    for name in ("specific_loss", "generic_loss", "picked_share"): assert result("again")[name] == first[name]

    # The same command does not repeat a finished run, and another one does not overwrite it.
    def stamps(): return {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    before = stamps()
    assert main(run("deep/out")) == 0 and capsys.readouterr().out == printed
    assert main(run("deep/out", "--seed", "1")) == 2
    assert "--out deep/out holds a run with --seed 0, not 1: choose another folder" in capsys.readouterr().err
    assert {p: t for p, t in stamps().items() if p != out} == {p: t for p, t in before.items() if p != out}


def test_the_demonstration_prints_losses_and_shares_and_draws_curves(monkeypatch, capsys):
    arguments = iter([*TINY[:-2], *OWN])
    tiny = {name[2:].replace("-", "_"): value for name, value in zip(arguments, arguments, strict=True)}
    tiny = {name: type(old)(tiny[name]) for f, old in settings(LM.presets["reduced"]) if (name := f.name) in tiny}
    monkeypatch.setitem(LM.presets, "reduced", change(LM.presets["reduced"], **tiny))
    assert main(["demo", "--out", "demo", "--steps", "5"]) == 0
    said = capsys.readouterr().out
    for method in ("uniform", "soba"): assert method in said and f"{result(f'demo/{method}')['specific_loss']:.4f}" in said
    for label in ("sea", "sky"): assert f"  {label} (" in said
    assert Path("demo/curves.png").read_bytes().startswith(b"\x89PNG")
    assert main(["demo", "--out", "demo", "--steps", "5"]) == 0 and capsys.readouterr().out == said  # finished runs are read, not repeated


def test_the_benchmark_writes_ratios_to_the_first_method(capsys):
    small = [flag for flag in TINY if flag != "--quiet"]
    assert main(["bench", *small, "--methods", "uniform,dds", "--rounds", "2", "--out", "made/costs.json"]) == 0
    found = json.loads(Path("made/costs.json").read_text())
    assert found["methods"]["uniform"]["time_ratio"] == found["methods"]["uniform"]["flops_ratio"] == 1
    assert found["methods"]["dds"]["flops_ratio"] > 2 and found["methods"]["dds"]["memory_ratio"] >= 1
    assert found["config"]["batch_size"] == 4
    assert "time ratio" in capsys.readouterr().out
    assert main(["bench", *small, "--methods", "uniform,sgd"]) == 2 and "--method 'sgd'" in capsys.readouterr().err


def test_a_run_can_be_profiled_and_needs_wandb_only_if_asked_for(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main(run("out", "--wandb", "project")) == 2 and "needs the package wandb" in capsys.readouterr().err
    assert not Path("out").exists()
    assert main(run("out", "--method", "uniform", "--profile")) == 0
    assert list(Path("out/profile").rglob("*.xplane.pb"))


def test_a_run_with_shapes_and_types_checked():
    assert main(run("out", "--method", "uniform", "--seed", "3")) == 0
    assert result("out")["seed"] == 3


def test_an_interrupted_run_leaves_whole_lines_and_no_result():
    process = start(*run("out", "--steps", "1000000", "--log-every", "5", "--method", "uniform"))
    until = time.monotonic() + 120
    while not (metrics := Path("out/metrics.jsonl")).exists() or metrics.read_text().count("\n") < 2:
        if process.poll() is not None or time.monotonic() > until: break
        time.sleep(.02)
    process.send_signal(signal.SIGINT)
    status, out, err = finish(process)
    assert (status, out) == (130, "") and err.startswith("adaptive-dist: interrupted") and err.count("\n") == 1
    text = metrics.read_text()
    assert text.endswith("\n") and [json.loads(line)["step"] for line in text.splitlines()] == [5*(i + 1) for i in range(text.count("\n"))]
    assert sorted(p.name for p in Path("out").iterdir()) == ["config.json", "metrics.jsonl"]
    assert main(run("out", "--method", "uniform")) == 2  # another number of steps
