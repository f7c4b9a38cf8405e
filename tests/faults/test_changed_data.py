"A folder holds one run, on the data that it began with; what has changed is said, not done."
import json
import shutil
from pathlib import Path

import pytest
from fault_texts import check_one_line, small_run, texts, write_rows
from own_texts import result

from adaptive_dist.cli import main
from adaptive_dist.config.settings import nested_settings, settings
from adaptive_dist.experiments.lm import LM, LMConfig
from adaptive_dist.train.checkpoint import saved_steps
from adaptive_dist.train.folder import differences

pytestmark = pytest.mark.usefixtures("texts")
__all__ = ["texts"]


def interrupt(out, step):
    "Leave of a finished run what one interrupted after the checkpoint of a step leaves."
    Path(out, "result.json").unlink()
    for later in saved_steps(Path(out, "checkpoints")):
        if later > step:
            shutil.rmtree(Path(out, "checkpoints", str(later)))


def test_an_interrupted_run_does_not_go_on_with_other_data(capsys):
    "FAULTS 1: other rows, of two labels only, under the same name."
    assert main(small_run("out")) == 0
    interrupt("out", 2)
    before = Path("out/metrics.jsonl").read_bytes()
    shutil.copy("g.jsonl", "old.jsonl")
    write_rows("g.jsonl", 400, ("wx", "code"), seed=5)
    capsys.readouterr()
    for _ in range(2):
        status = main(small_run("out"))
        check_one_line(status, capsys.readouterr().err, "--generic g.jsonl has changed",
                       "since step 2", "--out out", "another folder", "put it back")
    assert Path("out/metrics.jsonl").read_bytes() == before
    shutil.copy("old.jsonl", "g.jsonl")
    assert main(small_run("out")) == 0
    assert main(small_run("whole")) == 0
    assert result("out")["specific_loss"] == result("whole")["specific_loss"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["g.jsonl", "s.txt"])
def test_an_old_result_is_not_shown_for_new_data(name, capsys):
    "FAULTS 2: a finished run, a mended file, the same command."
    assert main(small_run("out")) == 0
    text = Path(name).read_text()
    Path(name).write_text(text[:len(text)//2].rpartition("\n")[0] + "\n")
    capsys.readouterr()
    status = main(small_run("out"))
    flag = "--generic" if name == "g.jsonl" else "--specific"
    check_one_line(status, capsys.readouterr().err, f"{flag} {name} has changed", "since step 4")


@pytest.mark.slow
def test_a_finished_run_says_so_and_outlives_its_data(capsys):
    assert main(small_run("out")) == 0
    said = capsys.readouterr().out
    for gone in (False, True):
        if gone:
            Path("g.jsonl").unlink()
        assert main(small_run("out")) == 0
        again = capsys.readouterr().out
        assert again.startswith(said.strip()) and "nothing to do: result of 20" in again


@pytest.mark.slow
def test_an_old_folder_without_fingerprints_goes_on():
    assert main(small_run("out")) == 0
    config = Path("out/config.json")
    old = json.loads(config.read_text())
    assert old.pop("fingerprints").keys() == {"--generic", "--specific"}
    config.write_text(json.dumps(old))
    interrupt("out", 2)
    assert main(small_run("out")) == 0
    assert "fingerprints" in json.loads(config.read_text())


def test_settings_newer_than_a_folder_have_their_defaults_there():
    config = LMConfig()
    for f, _ in settings(config):
        old = json.loads(json.dumps(nested_settings(config)))
        for group in (old, *(g for g in old.values() if isinstance(g, dict))):
            if f.name != "method":
                group.pop(f.name, None)
        assert differences(config, old) == [], f.name
    reduced = LM.presets["reduced"]
    old = nested_settings(reduced)
    del old["steps"]
    assert differences(reduced, old) == [("--steps", 2_500, 300_000)]


@pytest.mark.slow
def test_a_run_keeps_its_length(capsys):
    assert main(small_run("out")) == 0
    capsys.readouterr()
    status = main(small_run("out", "--steps", "8"))
    check_one_line(status, capsys.readouterr().err, "--steps 4, not 8", "keeps its length",
                   "another folder")


def test_a_broken_state_file_is_one_line(capsys):
    "FAULTS 21: emptied by a power cut, cut off, or never ours."
    assert main(small_run("out")) == 0
    whole = {name: Path("out", name).read_text() for name in ("result.json", "config.json")}
    for name, old in whole.items():
        for text in ("", "[]", '{"specific_loss": 2', "null", "3"):
            Path("out", name).write_text(text)
            for command in (small_run("out"), ["report", "out"], ["score", "out"]):
                capsys.readouterr()
                check_one_line(main(command), capsys.readouterr().err, "out")
        assert main(small_run("out")) == 2
        said = f"out/{name} holds no JSON object: " if old else ""
        assert said in capsys.readouterr().err
        Path("out", name).write_text(old)
    Path("out/result.json").unlink()  # as the line advises
    assert main(small_run("out")) == 0 and result("out")["steps"] == 4


@pytest.mark.slow
def test_a_damaged_checkpoint_or_line_of_metrics_is_one_line(capsys):
    assert main(small_run("out")) == 0
    assert main(small_run("whole")) == 0
    interrupt("out", 4)
    for file in Path("out/checkpoints/4/state").rglob("d/*"):
        file.write_bytes(b"")
    capsys.readouterr()
    status = main(small_run("out"))
    check_one_line(status, capsys.readouterr().err, "checkpoint of step 4", "cannot be read",
                   "delete", "goes on from an earlier one")
    shutil.rmtree("out/checkpoints/4")  # as it says
    whole = Path("out/metrics.jsonl").read_text()
    for wrong in ('{"step": 1', "[]", '{"loss": 2}', "\0\0"):
        Path("out/metrics.jsonl").write_text(f"{wrong}\n{whole}")
        check_one_line(main(small_run("out")), capsys.readouterr().err, "damaged in line 1")
    Path("out/metrics.jsonl").write_text(whole)
    assert main(small_run("out")) == 0
    assert result("out")["specific_loss"] == result("whole")["specific_loss"]


@pytest.mark.slow
def test_a_target_that_is_not_named_is_said(capsys):
    "FAULTS 24: own generic text, and nothing about the target."
    arguments = small_run("out")
    at = arguments.index("--specific")
    assert main([*arguments[:at], *arguments[at + 2:]]) == 0
    said = capsys.readouterr()
    target = "embedded:Biology and health sciences"
    assert f"--specific is not given: the target is the preset's, {target}" in said.err
    assert f"target: {target}\n" in said.out


@pytest.mark.slow
def test_a_comparison_does_not_show_old_results_for_new_data(capsys):
    arguments = small_run("out")
    own = [a for a in arguments[2:] if a not in ("--method", "uniform")]
    command = ["compare", "lm", *own, "--methods", "uniform", "--targets", "", "--seeds", "1",
               "--preset", "reduced"]
    folder = Path("out/s.txt/uniform-0")
    assert main(small_run(str(folder))) == 0
    assert main(command) == 0 and "uniform" in capsys.readouterr().out
    write_rows("g.jsonl", 200)
    check_one_line(main(command), capsys.readouterr().err, "--generic g.jsonl has changed")
