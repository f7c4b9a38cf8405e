"A loss that is no number any more is a state of a run, which it ends in and says."
import json
import math
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fault_texts import check_one_line, small_run, texts
from own_texts import result
from test_changed_data import interrupt

from adaptive_dist.cli import main
from adaptive_dist.commands import losses_in_words
from adaptive_dist.report.compare import comparison_page, write_csv
from adaptive_dist.report.curves import curves, png
from adaptive_dist.report.finished import read_run
from adaptive_dist.report.selection import overview
from adaptive_dist.report.tables import loss_table
from adaptive_dist.train.checkpoint import saved_steps
from adaptive_dist.train.health import DIVERGED, SKIPS
from adaptive_dist.train.metrics import CLOCK, read_metrics

pytestmark = pytest.mark.usefixtures("texts")
__all__ = ["texts"]
WILD = ["--steps", "12", "--learning-rate", "1e30", "--warmup", "1"]
METHODS = ["uniform", "mixing", "classifier", "dds", "anograd", "soba", "online_cds"]


def lines_of(out):
    return [{name: value for name, value in record.items() if name not in CLOCK}
            for record in read_metrics(out)]


@pytest.mark.parametrize("method", ["uniform", *(
    pytest.param(m, marks=pytest.mark.slow) for m in METHODS if m != "uniform")])
def test_a_run_that_diverges_ends_there(method, capsys):
    "FAULTS 6 and 7."
    for _ in range(2):  # the second time at once
        status = main(small_run("out", *WILD, method=method))
        check_one_line(status, capsys.readouterr().err, "has diverged", "at step 2",
                       "no finite checkpoint", "lower --learning-rate")
    assert not Path("out/result.json").exists()
    assert json.loads(Path("out", DIVERGED).read_text())["step"] == 2
    assert [record["step"] for record in read_metrics("out")] == [2]
    for command in (["report", "out"], ["score", "out"], ["score", "out", "g.jsonl"]):
        check_one_line(main(command), capsys.readouterr().err, "out has diverged")
    assert main(small_run("out", *WILD, "--on-divergence", "skip", method=method)) == 2
    assert "has diverged" in capsys.readouterr().err


def poison(monkeypatch, *steps):
    "Make the loss of some steps no number, by their batches."
    from adaptive_dist.train import run as runs

    def step_of(experiment, original=runs.step_of):
        step = original(experiment)
        def poisoned(state, generic, specific):
            import jax.numpy as jnp
            after, info = step(state, generic, specific)
            bad = jnp.isin(state.step, jnp.array(steps))
            def spoil(x):
                return jnp.where(bad, jnp.nan, x) if x.dtype == jnp.float32 else x
            import jax
            return (after._replace(params=jax.tree.map(spoil, after.params)),
                    info._replace(loss=spoil(info.loss)))
        return poisoned
    monkeypatch.setattr(runs, "step_of", step_of)


@pytest.mark.slow
def test_the_last_finite_checkpoint_is_kept_and_skipping_goes_on_from_it(monkeypatch, capsys):
    poison(monkeypatch, 6, 9)
    status = main(small_run("out", "--steps", "12", method="dds"))
    check_one_line(status, capsys.readouterr().err, "at step 7", "checkpoint is of step 6")
    assert saved_steps("out/checkpoints") == [4, 6]
    skip = ["--on-divergence", "skip"]
    assert main(small_run("out", "--steps", "12", *skip, method="dds")) == 0
    assert not Path("out", DIVERGED).exists() and result("out")["skipped_updates"] == 2
    counts = [record.get("skipped_updates", 0) for record in read_metrics("out")]
    assert counts == [0, 0, 0, 1, 1, 0]
    assert main(small_run("whole", "--steps", "12", *skip, method="dds")) == 0
    assert [{**r, "skipped_updates": 0} for r in lines_of("out")[:3]] == lines_of("whole")[:3]
    assert lines_of("out")[3:] == lines_of("whole")[3:]
    assert result("out")["specific_loss"] == result("whole")["specific_loss"]


@pytest.mark.slow
def test_updates_that_never_come_end_a_run_that_skips(monkeypatch, capsys):
    poison(monkeypatch, *range(4, 90))
    skip = ["--on-divergence", "skip", "--steps", "90"]
    status = main(small_run("out", *skip, method="dds"))
    check_one_line(status, capsys.readouterr().err, f"last {SKIPS} steps", "is of step 22")
    assert saved_steps("out/checkpoints")[-1] == 22  # as of step 4: nothing was learned since


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_watching_changes_no_number_of_a_healthy_run(method):
    assert main(small_run("stop", method=method)) == 0
    assert main(small_run("skip", "--on-divergence", "skip", method=method)) == 0
    skipped = lines_of("skip")
    assert all(record.pop("skipped_updates") == 0 for record in skipped)
    assert lines_of("stop") == skipped
    assert result("stop")["specific_loss"] == result("skip")["specific_loss"]


@pytest.mark.slow
def test_a_comparison_shows_what_diverged_and_goes_on(capsys):
    own = [a for a in small_run("out")[2:] if a not in ("--method", "uniform")]
    wild = "+learning_rate=1e30+warmup=1"
    command = ["compare", "lm", *own, "--methods", f"uniform,dds{wild},soba,uniform{wild}",
               "--targets", "", "--seeds", "2", "--preset", "reduced"]
    for _ in range(2):
        assert main(command) == 0
        said = capsys.readouterr().out
        rows = {line.split(" | ")[0].strip("| "): line for line in said.splitlines() if "|" in line}
        assert "diverged" in rows[f"dds{wild}"] and "diverged" in rows[f"uniform{wild}"]
        assert "diverged" not in rows["soba"] and "diverged" not in rows["uniform"]
    assert "diverged" in Path("out/report.html").read_text()
    assert Path("out/curves.png").stat().st_size > 0


def record_of(method, seed, **more):
    return {"target": "sea", "method": method, "seed": seed, "run": f"{method}-{seed}",
            "specific_loss": None, "fine_tuned_specific_loss": None, "generic_loss": None,
            "steps_per_second": None, "target_picked": None, "target_base": None, **more}


def test_no_number_that_is_missing_ends_a_table():
    "All diverged, some diverged, all numbers null: words, not a traceback."
    lost = [record_of("uniform", 0, diverged=1), record_of("soba", 0, diverged=1)]
    null = [record_of("uniform", 0), record_of("soba", 0)]
    good = [record_of("uniform", 0, specific_loss=2., generic_loss=2., steps_per_second=1.)]
    for records in (lost, null, good + lost[1:], [*good, record_of("uniform", 1, diverged=1)]):
        _, rows = loss_table(records, "sea")
        page = comparison_page("title", "command", "nats", records, png(curves([])))
        assert ("diverged" in str(rows)) == any("diverged" in r for r in records)
        assert "<html" in page[:200]
        write_csv(Path("results.csv"), records)
    nothing = {"specific_loss": None, "generic_loss": None, "fine_tuned_specific_loss": None}
    assert losses_in_words(nothing).startswith("specific loss nan, generic loss nan")


@pytest.mark.slow
def test_a_folder_with_nulls_from_before_is_refused_or_shown(capsys):
    assert main(small_run("out", method="dds")) == 0
    path = Path("out/result.json")
    old = json.loads(path.read_text())
    numbers = {k: None if isinstance(v, float) else v for k, v in old.items()}
    path.write_text(json.dumps(numbers))
    capsys.readouterr()
    assert main(small_run("out", method="dds")) == 0
    assert "specific loss nan" in capsys.readouterr().out
    check_one_line(main(["report", "out"]), capsys.readouterr().err, "out has diverged")
    path.write_text(json.dumps(old))
    lines = Path("out/metrics.jsonl").read_text().splitlines()
    blank = {k: None if isinstance(v, float) else v for k, v in json.loads(lines[-1]).items()}
    Path("out/metrics.jsonl").write_text("\n".join([*lines[:-1], json.dumps(blank)]) + "\n")
    _, rows = overview([read_run("out")], {})
    assert "nan" in rows[0]


@pytest.mark.slow
def test_events_are_the_same_after_an_interruption(monkeypatch):
    "Jumps of the loss join the metrics, whether the run was interrupted or not."
    from adaptive_dist.train import health
    monkeypatch.setattr(health, "Spike", partial(health.Spike, 20, 2, 0., 0.))
    options = ["--steps", "16"]
    assert main(small_run("whole", *options)) == 0
    events = [r["events"] for r in read_metrics("whole") if "events" in r]
    assert events and events[0][0]["kind"] == "spike" and "has jumped" in events[0][0]["says"]
    shutil.copytree("whole", "again")
    interrupt("again", 14)
    assert main(small_run("again", *options)) == 0
    assert lines_of("again") == lines_of("whole")
    assert not any(math.isnan(x) for r in read_metrics("again") for x in [r["loss"]])
    assert np.isfinite(result("again")["specific_loss"])
