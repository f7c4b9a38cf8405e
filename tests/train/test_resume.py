"Runs that are killed, or lose their disk, and go on as if nothing had been."
import json
import resource
import signal
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from own_texts import OWN, TINY, finish, folder, result, start, without_clock

from adaptive_dist.cli import main
from adaptive_dist.config.settings import from_nested
from adaptive_dist.experiments.lm import LM, LMConfig
from adaptive_dist.train.checkpoint import saved_steps
from adaptive_dist.train.metrics import read_metrics
from adaptive_dist.train.run import restore

pytestmark = pytest.mark.usefixtures("folder")
__all__ = ["folder"]  # the fixture: a working folder with a user's texts
LONG = ["run", "lm", *TINY, *OWN, "--method", "soba", "--steps", "200", "--log-every", "10",
        "--evaluate-every", "50", "--checkpoint-every", "20", "--fine-tune-steps", "4",
        "--fine-tune-every", "2"]


def lines_of(out):
    "What a run wrote, without what a clock measured."
    return [without_clock(record) for record in read_metrics(out)]


def count_lines(out):
    path = Path(out, "metrics.jsonl")
    return path.read_bytes().count(b"\n") if path.exists() else 0


def state_of(out):
    "The arrays of a run's last checkpoint, as they are on the disk."
    config = from_nested(LMConfig(), json.loads(Path(out, "config.json").read_text()))
    state = restore(out, LM.build(config))
    state = state._replace(key=jax.random.key_data(state.key))
    return [np.asarray(x) for x in jax.tree.leaves(state)]


def check_same(out, whole):
    """Two runs wrote the same lines, result and state, bit for bit.

    And the first kept no more checkpoints than it may.
    """
    assert lines_of(out) == lines_of(whole)
    assert without_clock(result(out)) == without_clock(result(whole))
    mine, other, steps = state_of(out), state_of(whole), result(whole)["steps"]
    assert len(mine) == len(other) > 20
    for a, b in zip(mine, other, strict=True):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
    for run in (out, whole):
        assert saved_steps(Path(run, "checkpoints")) == [steps - 20, steps]


def killed(arguments, moment):
    "Whether a run with `arguments` was still going at `moment(process)`, when it was killed."
    process = start(*arguments)
    moment(process)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    status, _, err = finish(process)
    assert alive or status == 0, err
    return alive


def after_line(count, out, process):
    "Wait until a run has written `count` lines, or has ended."
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if count_lines(out) >= count: return
        time.sleep(.005)


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit():
    assert finish(start(*LONG, "--out", "whole"))[0] == 0
    again = [*LONG, "--out", "again"]
    assert killed(again, partial(after_line, 8, "again"))
    assert saved_steps(Path("again/checkpoints")) and not Path("again/result.json").exists()
    assert main([*again, "--seed", "1"]) == 2
    # In a process with the same compiler flags:
    assert finish(start(*again, "--keep-checkpoints", "2"))[0] == 0
    check_same("again", "whole")


def start_with_small_files(size, *arguments):
    """A process that cannot write files of more than `size` bytes.

    That is what a disk without room looks like to it: some writes fail, some do half.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        return start(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
def test_a_disk_that_fails_ends_the_run_with_one_line_and_a_checkpoint():
    options = [*LONG, "--method", "uniform", "--steps", "600", "--log-every", "1"]
    assert finish(start(*options, "--out", "whole"))[0] == 0
    others = [p for p in Path("whole").rglob("*") if p.name != "metrics.jsonl"]
    largest = max(p.stat().st_size for p in others)
    # So that the limit stops the metrics, and only them:
    assert largest < Path("whole/metrics.jsonl").stat().st_size/1.5
    process = start_with_small_files(int(largest*1.2), *options, "--out", "again")
    status, out, err = finish(process)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert err.startswith("adaptive-dist: cannot write to --out again: File too large; "
                          "mended, the same command goes on")
    kept = saved_steps(Path("again/checkpoints"))
    assert kept and not Path("again/result.json").exists()
    assert finish(start(*options, "--out", "again"))[0] == 0
    assert lines_of("again") == lines_of("whole")
