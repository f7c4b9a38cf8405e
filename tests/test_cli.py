"""The command line, as a user has it.

What a run leaves behind, and one line with exit status 2 for what cannot be.
"""
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
RESULT = {"task", "method", "seed", "steps", "specific_loss", "generic_loss",
          "fine_tuned_specific_loss", "steps_per_second", "peak_memory_bytes", "picked_share"}


def run(out, *changes):
    "The arguments of a run on own texts."
    return ["run", "lm", *TINY, *OWN, "--out", out, *changes]


def check_refusal(status, err, essentials):
    "One line that names what is wrong, and nothing half-written."
    assert status == 2 and err.startswith("adaptive-dist: "), err
    assert err.count("\n") == 1 and err.endswith("\n"), err
    for essential in essentials:
        assert essential in err
    assert not Path("deep").exists()
    assert not any(Path("cache").glob("[!.]*"))


# In a process of its own, one of each stage: command line, limits, files, data, folder.
REFUSED = {
    "missing file": (["--specific", "nowhere.txt"], ["no such file or folder: nowhere.txt"]),
    "binary file": (["--specific", "binary.txt"], ["binary.txt is not text", "offset 6"]),
    "few examples": (["--specific", "few.txt"],
                     ["the specific training set has 2 examples, fewer than a batch of 4"]),
    "unknown flag": (["--learning-rat", "1"],
                     ["unrecognized arguments: --learning-rat 1; did you mean --learning-rate?",
                      "--help"]),
    "unwritable folder": (["--out", "empty.txt/deep"],
                          ["cannot write to --out empty.txt/deep: Not a directory"]),
    "negative setting": (["--learning-rate", "-1"], ["--learning-rate -1.0: must be above 0"]),
}
REFUSED_INSIDE = {
    "empty file": (["--specific", "empty.txt"], ["empty.txt is empty"]),
    "not UTF-8": (["--generic", "latin.txt"],
                  ["latin.txt is not UTF-8", "byte 0xf6 at offset 20"]),
    "missing folder": (["--generic", "nowhere/"], ["no such file or folder: nowhere"]),
    "one file for both": (["--generic", "target.txt", "--batch-size", "64"],
                          ["the generic set has", "fewer than a batch of 256"]),
    "unknown method": (["--method", "sgd"], ["--method 'sgd': choose from", "soba"]),
    "unknown embedded domain": (["--specific", "embedded:Cooking"],
                                ["unknown domain embedded:Cooking", "Mathematics"]),
    "unknown domain of the Pile": (["--specific", "pile:usenet"],
                                   ["unknown domain pile:usenet", "arxiv"]),
    "hub out of reach": (["--generic", "c4"], ["cannot read allenai/c4 from the hub"]),
    "unknown preset": (["--preset", "huge"], ["--preset: invalid choice: 'huge'"]),
    "not a number": (["--steps", "many"], ["--steps 'many': must be a whole number"]),
    "missing value": (["--seed"], ["--seed: expected one argument"]),
    "nan": (["--learning-rate", "nan"], ["--learning-rate nan: must be a finite number"]),
    "inf": (["--learning-rate", "inf"], ["--learning-rate inf: must be a finite number"]),
    "no steps": (["--steps", "0"], ["--steps 0: must be at least 1"]),
    "huge seed": (["--seed", str(2**32)], ["--seed 4294967296: must be at most 4294967295"]),
    "heads": (["--heads", "3"], ["--heads 3 must divide --width 16"]),
    "judged": (["--generic-rows", "17"],
               ["--generic-rows 17 exceeds the big batch of 16", "--downsampling"]),
    "rounding": (["--method", "anograd", "--derivative", "finite_difference",
                  "--dtype", "bfloat16"], ["mostly rounding in bfloat16"]),
    "unwritable cache": (["--cache", "empty.txt/cache"],
                         ["cannot write the cache to empty.txt/cache", "--cache"]),
}


def set_aside_cache():
    """Move away what has been cached of good texts although the run was refused.

    A cache that is not whole stays, and fails the test.
    """
    for cache in Path("cache").glob("*/meta.json"):
        cache.parent.rename("whole")


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_ends_the_process_with_one_line(case):
    changes, essentials = REFUSED[case]
    status, out, err = finish(start(*run("deep/er/out", *changes)))
    if case == "few examples":
        set_aside_cache()
    check_refusal(status, err, essentials)
    assert out == ""


@pytest.mark.parametrize("case", REFUSED_INSIDE)
def test_bad_input_ends_with_one_line(case, capsys):
    changes, essentials = REFUSED_INSIDE[case]
    status = main(run("deep/er/out", *changes))
    if case == "one file for both":
        set_aside_cache()
    check_refusal(status, capsys.readouterr().err, essentials)


@pytest.mark.parametrize("argv", [
    [], ["train"], ["run"], ["run", "sound"], ["run", "lm", "extra"], ["demo", "--steps", "x"]])
def test_bad_commands_end_with_one_line(argv, capsys):
    check_refusal(main(argv), capsys.readouterr().err, [])


def check_files(out):
    "What a run of five steps leaves in its folder."
    assert sorted(p.name for p in out.iterdir()) == [
        "checkpoints", "config.json", "data.json", "metrics.jsonl", "probes", "result.json"]
    config = json.loads((out/"config.json").read_text())
    assert config["task"] == "lm" and config["model"]["width"] == 16
    assert config["data"]["generic"] == "texts"
    records = [json.loads(line) for line in (out/"metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == [2, 4, 5]
    assert "specific_loss" in records[1] and "specific_loss" in records[2]


def check_result(found):
    "What stands in `result.json`."
    assert found.keys() >= RESULT
    assert [found[name] for name in ("task", "method", "seed", "steps")] == [
        "lm", "classifier", 0, 5]
    assert found["picked_share"].keys() == {"target", "sea", "sky"}
    assert sum(found["picked_share"].values()) == pytest.approx(1)
    assert 0 < found["specific_loss"] < 10 and found["steps_per_second"] > 0
    assert found["peak_memory_bytes"] > 10**7


def check_repeated(printed, capsys):
    "The same command does not repeat a finished run, and another one does not overwrite it."
    def stamps():
        return {p: p.stat().st_mtime_ns for p in Path("deep/out").rglob("*")}

    before = stamps()
    assert main(run("deep/out")) == 0
    same, _, told = capsys.readouterr().out.partition("\nnothing to do: result of ")
    assert same == printed.strip() and told.startswith("20")
    assert main(run("deep/out", "--seed", "1")) == 2
    said = "--out deep/out holds a run with --seed 0, not 1: choose another folder"
    assert said in capsys.readouterr().err
    assert stamps() == before


def test_a_run_on_own_files(monkeypatch, capsys):
    plain = start(*run("deep/out"))
    monkeypatch.setenv("JAX_LOG_COMPILES", "1")
    telling = start(*run("again"))
    status, printed, err = finish(plain)
    assert (status, err) == (0, "")
    assert printed.startswith("classifier: specific loss ") and printed.count("\n") == 1
    check_files(Path("deep/out"))
    first = result("deep/out")
    check_result(first)

    # The same seed gives the same numbers; three chunks, the last one shorter, compile once.
    status, _, err = finish(telling)
    assert status == 0 and err.count("Finished XLA compilation of jit(chunk)") == 1
    for name in ("specific_loss", "generic_loss", "picked_share"):
        assert result("again")[name] == first[name]
    check_repeated(printed, capsys)


def tiny_settings():
    "The settings of `TINY` and `OWN` by name, as values of their types; switches are left out."
    arguments = iter([*TINY[:-2], *OWN])
    given = {name[2:].replace("-", "_"): value
             for name, value in zip(arguments, arguments, strict=True)}
    return {f.name: type(old)(given[f.name]) for f, old in settings(LM.presets["reduced"])
            if f.name in given}


@pytest.mark.slow
def test_the_demonstration_prints_losses_and_shares_and_draws_curves(monkeypatch, capsys):
    small = change(LM.presets["reduced"], **tiny_settings())
    monkeypatch.setitem(LM.presets, "reduced", small)
    assert main(["demo", "--out", "demo", "--steps", "5"]) == 0
    said = capsys.readouterr().out
    for name in ("uniform", "classifier", "cascade"):
        assert name in said and f"{result(f'demo/{name}')['specific_loss']:.4f}" in said
    assert result("demo/cascade")["method"] == "online_cds"
    assert "work of a step" in said and "times less work" in said
    for label in ("sea", "sky"):
        assert f"  {label} (" in said
    assert Path("demo/curves.png").read_bytes().startswith(b"\x89PNG")

    # Finished runs are read, not repeated.
    assert main(["demo", "--out", "demo", "--steps", "5"]) == 0
    assert capsys.readouterr().out == said


@pytest.mark.slow
def test_the_benchmark_writes_ratios_to_the_first_method(capsys):
    small = ["bench", *(flag for flag in TINY if flag != "--quiet")]
    grid = ["--methods", "uniform,dds", "--rounds", "2"]
    assert main([*small, *grid, "--out", "made/costs.json"]) == 0
    found = json.loads(Path("made/costs.json").read_text())
    uniform, dds = (found["methods"][name] for name in ("uniform", "dds"))
    assert uniform["time_ratio"] == uniform["flops_ratio"] == 1
    assert dds["flops_ratio"] > 2 and dds["memory_ratio"] >= 1
    assert found["config"]["batch_size"] == 4
    assert "time ratio" in capsys.readouterr().out
    assert main([*small, "--methods", "uniform,sgd"]) == 2
    assert "--method 'sgd'" in capsys.readouterr().err


def test_a_run_can_be_profiled_and_needs_wandb_only_if_asked_for(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main(run("out", "--wandb", "project")) == 2
    assert "needs the package wandb" in capsys.readouterr().err
    assert not Path("out").exists()
    assert main(run("out", "--method", "uniform", "--profile")) == 0
    assert list(Path("out/profile").rglob("*.xplane.pb"))


def test_a_run_with_shapes_and_types_checked():
    assert main(run("out", "--method", "uniform", "--seed", "3")) == 0
    assert result("out")["seed"] == 3


def wait_for_lines(path, count, process, seconds=120):
    "Until a file has so many lines, the process has ended, or the time is over."
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        if path.exists() and path.read_text().count("\n") >= count: return
        time.sleep(.02)


def test_an_interrupted_run_leaves_whole_lines_and_no_result():
    metrics = Path("out/metrics.jsonl")
    process = start(*run("out", "--steps", "1000000", "--log-every", "5", "--method", "uniform"))
    wait_for_lines(metrics, 2, process)
    process.send_signal(signal.SIGINT)
    status, out, err = finish(process)
    assert (status, out) == (130, "")
    assert err.startswith("adaptive-dist: interrupted") and err.count("\n") == 1
    text = metrics.read_text()
    steps = [json.loads(line)["step"] for line in text.splitlines()]
    assert text.endswith("\n") and steps == [5*(i + 1) for i in range(len(steps))]
    assert sorted(p.name for p in Path("out").iterdir()) == [
        "config.json", "data.json", "metrics.jsonl"]
    assert main(run("out", "--method", "uniform")) == 2  # another number of steps
