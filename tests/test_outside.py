"A task, a method and a file format of somebody else's package go through every command."
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

OUTSIDE = Path(__file__).parent/"support/outside"
LEVELS = {"INFO": "started the service and listens on the port",
          "DEBUG": "cache entry read again by key",
          "ERROR": "no space left on the disk so the write failed"}


def write_logs(path: Path, levels: list[str], count: int) -> None:
    "A log of `count` different lines for each level."
    path.write_text("".join(f"{level} {LEVELS[level]} {k*k} times {'and again '*(k % 7)}\n"
                            for k in range(count) for level in levels))


@pytest.fixture
def shell(workplace, monkeypatch):
    "A shell in a folder with logs, for which the outside package is installed."
    packages = workplace/"packages"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
               "--no-deps", "--no-build-isolation", "--no-index", "--target", str(packages)]
    source = workplace/"source"
    subprocess.run(["cp", "-r", OUTSIDE, source], check=True)  # building leaves files behind
    subprocess.run([*install, str(source)], check=True)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.environ["PYTHONPATH"], str(packages)]))
    write_logs(Path("everything.log"), list(LEVELS), 60)
    write_logs(Path("errors.log"), ["ERROR"], 90)

    def call(*arguments: str) -> subprocess.CompletedProcess:
        program = "import sys; from adaptive_dist.cli import main; sys.exit(main())"
        return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True,
                              text=True)

    return call


DATA = ["--generic", "everything.log", "--specific", "errors.log", "--generic-test", ".2"]
SHORT = ["--steps", "20", "--log-every", "5", "--evaluate-every", "10", "--batch-size", "4",
         "--downsampling", "4", "--fine-tune-steps", "0", "--no-tensorboard"]


def succeed(found: subprocess.CompletedProcess) -> str:
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.mark.slow
def test_an_outside_package_goes_through_every_command(shell):
    # run: the task, the method with a setting of its own, and the file format, by their names
    common = ["run", "bigrams", "--method", "shortest", *DATA, *SHORT, "--quiet"]
    succeed(shell(*common, "--out", "short"))
    succeed(shell(*common, "--longest", "--out", "long"))
    results = [json.loads(Path(out, "result.json").read_text()) for out in ("short", "long")]
    assert {(r["task"], r["method"]) for r in results} == {("bigrams", "shortest")}
    assert set(results[0]["picked_share"]) == set(LEVELS)
    assert results[0]["specific_loss"] != results[1]["specific_loss"]

    # a scorer, for the method that takes any of them
    succeed(shell("run", "bigrams", "--method", "scored", "--scorer", "shared_words", *DATA, *SHORT,
                  "--quiet", "--out", "scored"))
    assert json.loads(Path("scored/result.json").read_text())["preparation_seconds"] > 0

    # report and score: a method without a weighting network has scores all the same
    assert "selection.html" in succeed(shell("report", "short", "long"))
    assert "most wanted" in Path("short/selection.html").read_text()
    succeed(shell("score", "short", "--text", "--out", "scores.parquet"))
    rows = pq.read_table("scores.parquet").to_pylist()
    assert all(row["score"] == -len(row["text"].encode()) for row in rows) and len(rows) > 50

    # compare: its processes find the package, too; check and bench
    printed = succeed(shell(
        "compare", "bigrams", "--methods", "uniform,shortest,dds+ema_decay=.5", *DATA, *SHORT,
        "--seeds", "1", "--jobs", "1", "--quiet", "--out", "grid"))
    assert "| shortest |" in printed and "nats per byte" in Path("grid/report.html").read_text()
    said = succeed(shell("check", "bigrams", *DATA, *SHORT, "--check-steps", "5", "--check-batches",
                         "16", "--batch-size", "2", "--quiet", "--out", "check"))
    assert "Will it help?" in said and Path("check/check.html").exists()
    costs = succeed(shell("bench", "bigrams", "--methods", "uniform,shortest", "--rounds", "0",
                          "--out", "bench.json"))
    assert "shortest" in costs


def test_what_an_outside_package_brings_is_named_in_errors(shell):
    found = shell("run", "bigrams", "--method", "uniform", "--longest", *DATA)
    assert found.returncode == 2
    assert "--longest is a setting of shortest, not of uniform" in found.stderr
    assert "shortest" in shell("run", "lm", "--method", "sgd").stderr
    assert "bigrams" in shell("run", "speech").stderr


def test_a_broken_outside_package_is_named(shell):
    module = Path("packages/adaptive_dist_outside/task.py")
    module.write_text("import no_such_module")
    found = shell("run", "bigrams")
    assert found.returncode == 2 and found.stderr.count("\n") == 1
    assert "adaptive_dist_outside" in found.stderr and "no_such_module" in found.stderr
