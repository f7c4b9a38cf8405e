"`adaptive-dist compare`: a grid of runs that can be interrupted, and what is made of it."
import csv
import json
import signal
import time
from pathlib import Path

import pytest
from own_texts import OWN, TINY, finish, folder, start

from adaptive_dist.cli import main
from adaptive_dist.train.checkpoint import saved_steps
from adaptive_dist.train.metrics import CLOCK

pytestmark = pytest.mark.usefixtures("folder")
__all__ = ["folder"]  # the fixture: a working folder with a user's texts
SHORT = [flag for flag in TINY if flag != "--quiet"]
METHODS = "uniform+downsampling=2", "mixing+generic_proportion=.5/.9"
GRID = ["compare", "lm", "--preset", "small-target", *SHORT, *OWN, "--fine-tune-steps", "2",
        "--fine-tune-every", "1", "--targets", "", "--methods", ",".join(METHODS), "--seed", "1",
        "--seeds", "2", "--quiet"]


def rows(out):
    "The rows of a comparison's results, without what a clock measured."
    timed = *CLOCK, "seconds_to_uniform"
    with Path(out, "results.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in timed}
                for row in csv.DictReader(file)]


def losses(out):
    "The table without its times and the command above it."
    table = [line.split(" | ") for line in Path(out, "table.md").read_text().splitlines()[1:]]
    return [cells[:3] + cells[4:9] + cells[10:] for cells in table]


@pytest.mark.slow
def test_an_interrupted_comparison_ends_with_the_same_table():
    whole = start(*GRID, "--out", "whole")
    status, printed, err = finish(whole)
    assert (status, err) == (0, ""), err
    found = rows("whole")
    assert [(r["method"], r["seed"]) for r in found] == [
        (m, s) for m in METHODS for s in ("1", "2")]
    assert all(float(r["fine_tuned_specific_loss"]) > 0 for r in found)
    assert float(found[2]["picked_share/target"]) > 0
    assert float(found[0]["flops_per_step"]) > 0 == float(found[2]["preparation_flops"])
    assert not found[2]["steps_to_uniform"]  # no uniform run has the settings of mixing
    tried = [f"mixing+generic_proportion={value}-1" for value in (".5", ".9")]
    ran = {name: json.loads(Path("whole/target.txt", name, "result.json").read_text())
           for name in tried}
    best = min(ran, key=lambda name: ran[name]["validation_specific_loss"])
    assert found[2]["run"] == f"target.txt/{best}"
    kept_steps = saved_steps(Path("whole/target.txt/uniform+downsampling=2-1/fine_tuned"))
    assert kept_steps == [int(found[0]["fine_tuning_step"])]
    assert all(f"| {method} |" in printed for method in METHODS)
    assert Path("whole/curves.png").read_bytes().startswith(b"\x89PNG")
    page = Path("whole/report.html").read_text()
    assert "<table>" in page and "data:image/png;base64" in page and "http" not in page

    # Interrupted after its first result by the signal that Ctrl-C sends, after more by that of
    # `kill`; then left alone.
    for enough, number in ((1, signal.SIGINT), (3, signal.SIGTERM)):
        process, until = start(*GRID, "--out", "again"), time.monotonic() + 120
        while len(list(Path("again").glob("*/*/result.json"))) < enough and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(.02)
        process.send_signal(number)
        status, out, err = finish(process)
        assert (status, out) == (130, "") and err.startswith("adaptive-dist: interrupted")
        assert not Path("again/table.md").exists()
    kept = {p: p.stat().st_mtime_ns for p in Path("again").glob("*/*/result.json")}
    assert finish(start(*GRID, "--out", "again"))[0] == 0
    assert all(p.stat().st_mtime_ns == t for p, t in kept.items())
    assert rows("again") == found and losses("again") == losses("whole")


@pytest.mark.parametrize("changes, essentials", [
    (["--methods", "uniform,sgd"], ["--method 'sgd': choose from"]),
    (["--methods", "soba+depth=3"], ["--depth"]),
    (["--methods", "soba+downsampling=0"], ["--downsampling 0: must be at least 1"]),
    (["--damping", "1"], ["--damping is a setting of soba", "soba+damping=VALUE"]),
    (["--seeds", "0"], ["--seeds 0: must be at least 1"]),
    (["--targets", "Cooking"], ["unknown target 'Cooking'", "Mathematics"]),
    (["--study", "all"], ["--study: invalid choice: 'all'"]),
    (["--methods", "uniform", "--specific", "nowhere.txt"],
     ["no such file or folder: nowhere.txt"])])
def test_bad_comparisons_end_with_one_line(changes, essentials, capsys):
    assert main([*GRID, "--out", "out", *changes]) == 2
    err = capsys.readouterr().err
    assert err.startswith("adaptive-dist: ") and err.count("\n") == 1
    assert all(essential in err for essential in essentials)
    assert not Path("out/results.csv").exists()


def test_help_lists_studies_and_targets(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "lm", "--help"])
    said = capsys.readouterr().out
    words = ("downsampling", "Security weakness", "--jobs", "--fine-tune-steps", "--seeds")
    assert all(word in said for word in words)
