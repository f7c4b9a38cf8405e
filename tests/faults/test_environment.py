"Homes that are not there, pipes that end, devices that are not installed, another precision."
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from fault_texts import check_one_line, small_run, texts
from own_texts import SHELL, result

from adaptive_dist import cli
from adaptive_dist.cli import main
from adaptive_dist.config.settings import change
from adaptive_dist.data.cache import cache_root
from adaptive_dist.experiments.lm import LM
from adaptive_dist.train.run import run

pytestmark = pytest.mark.usefixtures("texts")
__all__ = ["texts"]
METHODS = ["uniform", "mixing", "classifier", "importance", "cds", "dds", "anograd", "soba",
           "online_cds"]


def shell(arguments, into="", **environment):
    "Status, output and errors of a process, and what becomes of its output in a shell."
    names = {**os.environ, **{k: v for k, v in environment.items() if v is not None}}
    for name in [k for k, v in environment.items() if v is None]:
        names.pop(name, None)
    done = subprocess.run(["bash", "-c", f'"$@" {into}; exit ${{PIPESTATUS[0]}}', "-",
                           *SHELL, *arguments], capture_output=True, text=True, env=names)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_a_home_is_written_out_in_every_path(monkeypatch):
    "FAULTS 17."
    home = Path("home").absolute()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("ADAPTIVE_DIST_CACHE", "~/cache")
    assert main(small_run("~/out")) == 0
    assert result(home/"out")["steps"] == 4 and list((home/"cache").iterdir())
    assert main(small_run("other", "--cache=~/second")) == 0
    assert list((home/"second").iterdir()) and cache_root("~/x") == home/"x"
    assert not Path("~").exists()


@pytest.mark.slow
def test_a_home_is_written_out_for_the_other_commands(monkeypatch):
    home = Path("home").absolute()
    monkeypatch.setenv("HOME", str(home))
    assert main(small_run("~/out", method="dds")) == 0
    assert main(["score", "~/out", "--out", "~/scores.parquet"]) == 0
    assert main(["report", "~/out", "--out=~/page.html"]) == 0
    stored = ["--method", "dds", "--store-weighting-every", "2"]
    assert main([*small_run("~/stored"), *stored]) == 0
    assert main([*small_run("~/again", method="replay"), "--replay-from=~/stored"]) == 0
    made = {path.name for path in home.iterdir()}
    assert {"out", "scores.parquet", "page.html", "stored", "again"} <= made
    assert not Path("~").exists()


def test_no_home_is_one_line(monkeypatch, capsys):
    "FAULTS 18: a container with a random user."
    def nobody():
        raise RuntimeError("Could not determine home directory.")
    monkeypatch.setattr(Path, "home", staticmethod(nobody))
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    for name in ("HOME", "ADAPTIVE_DIST_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    check_one_line(main(small_run("out")), capsys.readouterr().err, "no home folder", "--cache")
    check_one_line(main(small_run("~/out")), capsys.readouterr().err, "no home folder", "--out")
    assert main(small_run("out", "--cache", "cache")) == 0


@pytest.mark.slow
@pytest.mark.parametrize("most", [20, 63, 64])
def test_too_few_open_files_are_one_line(most):
    "As many as a run needs are enough, and the system is asked for them if it may be."
    few = ["bash", "-c", f'ulimit -n {most}; exec "$@"', "-", *SHELL, *small_run("out")]
    done = subprocess.run(few, capture_output=True, text=True, timeout=400)
    if most < 64:
        check_one_line(done.returncode, done.stderr, f"only {most} files", "ulimit -n 1024")
        assert not Path("out").exists()
        few[2] = f'ulimit -S -n {most}; exec "$@"'
        done = subprocess.run(few, capture_output=True, text=True, timeout=400)
    assert (done.returncode, done.stderr) == (0, "") and result("out")["steps"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", [None, "1"])
def test_an_output_that_ends_takes_nothing_along(unbuffered):
    "FAULTS 19."
    assert main(small_run("out")) == 0
    how = {"PYTHONUNBUFFERED": unbuffered}
    assert shell(small_run("out"), "| true", **how) == (0, "", "")
    assert shell(["--help"], "| head -n 1", **how)[0] == 0
    status, _, err = shell(small_run("out"), "> /dev/full", **how)
    assert status == 0 and err.count("\n") == 1 and "cannot print: No space left" in err
    assert shell(small_run("out"), ">&-", **how)[0] == 0
    status, _, _ = shell(["report", "nowhere"], "2>&-", **how)
    assert status == 2


@pytest.mark.slow
def test_nobody_need_look_at_the_progress():
    loud = [a for a in small_run("out") if a != "--quiet"]
    assert shell(loud, "2>&1 | true")[0] == 0
    assert result("out")["steps"] == 4


def in_double(method, tmp):
    "The loss of a run in a process that computes in double precision."
    settings = dict(
        layers=1, width=16, mlp_width=32, heads=2, length=32, batch_size=4, downsampling=2,
        steps=4, log_every=2, evaluate_every=4, checkpoint_every=2, tensorboard=False,
        weighting_width=8, weighting_embedding=8, evaluate_examples=16, fine_tune_steps=2,
        fine_tune_every=1, generic="g.jsonl", specific="s.txt", generic_test=.1)
    return run("lm", change(LM.presets["reduced"], method=method, **settings), LM.build, tmp,
               progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_double_precision_elsewhere_changes_nothing(method):
    "FAULTS 20."
    single = in_double(method, "single")
    with jax.enable_x64(True):
        double = in_double(method, "double")
    assert single["specific_loss"] == double["specific_loss"]
    assert single["fine_tuned_specific_loss"] == double["fine_tuned_specific_loss"]


@pytest.mark.slow
def test_double_precision_on_the_command_line():
    assert shell(small_run("single", method="soba"))[0] == 0
    status, _, err = shell(small_run("double", method="soba"), JAX_ENABLE_X64="1")
    assert (status, err) == (0, "")
    assert result("single")["specific_loss"] == result("double")["specific_loss"]
    assert shell(["score", "double"], JAX_ENABLE_X64="1")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cuda", "tpu", "nonsense"])
def test_a_device_that_is_not_there_is_one_line(platform):
    status, _, err = shell(small_run("out"), JAX_PLATFORMS=platform)
    check_one_line(status, err, f"JAX_PLATFORMS={platform} finds no device")
    assert not Path("out").exists()


@pytest.mark.slow
def test_a_name_that_the_locale_cannot_write_is_one_line():
    plain = dict(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    status, _, err = shell(small_run("w\u00e4lder"), **plain)
    check_one_line(status, err, "cannot be written in this locale", "LC_ALL=C.UTF-8")
    assert shell(small_run("w\u00e4lder"), LC_ALL="C.UTF-8")[0] == 0


@pytest.mark.slow
def test_a_deleted_working_folder_is_one_line():
    command = 'mkdir gone; cd gone; rmdir ../gone; "$@"'
    done = subprocess.run(["bash", "-c", command, "-", *SHELL, *small_run("/tmp/nowhere/x")],
                          capture_output=True, text=True)
    check_one_line(done.returncode, done.stderr, "working folder has been deleted")


def test_what_is_printed_by_a_process_without_output(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["nonsense"]) == 2
    assert cli.Printed(None).write("nothing") == 7
