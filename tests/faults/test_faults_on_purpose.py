"""Disks that are full or read-only, two writers, clocks that jump, comparisons that are killed.

After each the same command gives the same result, bit for bit, or one clear line; nothing is lost,
and no litter stays.
"""
import gc
import os
import random
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_texts import check_one_line, small_run, texts
from own_texts import finish, litter, result, start
from test_divergence import lines_of

from adaptive_dist.cli import main

pytestmark = [pytest.mark.usefixtures("texts"), pytest.mark.slow]
__all__ = ["texts"]


@contextmanager
def disk(folder, size):
    "A disk of so many bytes; the test is skipped where it cannot be had."
    Path(folder).mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
                          capture_output=True)
    if made.returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def same(out, whole):
    assert lines_of(out) == lines_of(whole)
    assert result(out)["specific_loss"] == result(whole)["specific_loss"]
    assert not litter(out)


def test_a_full_disk():
    "Whatever it is that does not fit any more: one line, and enough room mends it."
    options = ["--steps", "40", "--keep-checkpoints", "9"]
    assert main(small_run("whole", *options)) == 0
    for size in ("16k", "64k", "200k", "500k"):
        with disk("disk", size):
            status, _, err = finish(start(*small_run("disk/out", *options)))
            check_one_line(status, err, "cannot write to --out disk/out: No space left on device")
            subprocess.run(["mount", "-o", "remount,size=100m", "disk"], check=True)
            assert main(small_run("disk/out", *options)) == 0
            same("disk/out", "whole")
        Path("disk").rmdir()


def test_a_full_disk_under_the_cache():
    with disk("disk", "16k"):
        status, _, err = finish(start(*small_run("out", "--cache", "disk/cache")))
        check_one_line(status, err, "cannot write the cache to disk/cache", "No space left")
        assert not Path("out").exists() and not litter("disk")


def test_a_read_only_disk():
    assert main(small_run("whole")) == 0
    with disk("disk", "50m"):
        assert main(small_run("disk/done", "--cache", "disk/cache")) == 0
        subprocess.run(["mount", "-o", "remount,ro", "disk"], check=True)
        status, _, err = finish(start(*small_run("disk/out")))
        check_one_line(status, err, "cannot write to --out disk/out: Read-only file system")
        status, _, err = finish(start(*small_run("out", "--cache", "disk/other")))
        check_one_line(status, err, "cannot write the cache to disk/other: Read-only")
        # what is there can be read: a cache, and a finished run
        assert main(small_run("out", "--cache", "disk/cache")) == 0
        same("out", "whole")
        assert main(["report", "disk/done", "--out", "page.html"]) == 0


def test_two_writers():
    options = ["--steps", "400", "--log-every", "10", "--checkpoint-every", "50"]
    assert main(small_run("whole", *options)) == 0
    both = [start(*small_run("out", *options)) for _ in range(2)]
    ended = sorted(finish(process)[::2] for process in both)
    assert ended[0] == (0, "")
    if ended[1][0]:  # else it came when the first had finished
        check_one_line(*ended[1], "another process writes to --out out")
    same("out", "whole")


# Orbax drops what it has not begun when its patience ends.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_a_clock_that_jumps(monkeypatch, capsys):
    options = ["--steps", "40"]
    assert main(small_run("whole", *options)) == 0
    rng, now = random.Random(0), time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now() + rng.choice([-1e8, -3_600, 0., 3_600, 1e8]))
        status = main(small_run("out", *options))
    gc.collect()  # what was dropped is told of here, and not in another test
    if status:  # what waits for a disk may think that it has waited for years
        check_one_line(status, capsys.readouterr().err, "the clock was set")
        assert main(small_run("out", *options)) == 0
    for folder in ("out", "cache", "."):  # written in another year
        for path in Path(folder).rglob("*"):
            os.utime(path, (now() + rng.choice([-1e8, 1e8]),)*2)
    same("out", "whole")
    Path("out/result.json").unlink()
    assert main(small_run("out", *options)) == 0
    same("out", "whole")
