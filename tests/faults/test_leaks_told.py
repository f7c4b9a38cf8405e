"Test documents that occur in the training data in other words are told beside the test losses."
import json
from pathlib import Path

import numpy as np
import pytest
from fault_texts import small_run, texts
from own_texts import result
from PIL import Image

from adaptive_dist.cli import main
from adaptive_dist.report.compare import leak_notes

pytestmark = pytest.mark.usefixtures("texts")
__all__ = ["texts"]
LONG = ["--length", "64"]


def plant_copies():
    "Put every specific document into the generic text, with its last letters changed."
    rows = [{"text": text[:-8] + "as it is", "label": "copies"}
            for text in Path("s.txt").read_text().split("\n\n")]
    with Path("g.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_a_run_tells_of_near_copies_in_training(capsys):
    assert main(small_run("before", *LONG)) == 0
    assert result("before")["leaks"]["specific_test"]["rate"] == 0
    assert "in training data" not in capsys.readouterr().out
    plant_copies()
    assert main(small_run("out", *LONG, method="dds")) == 0
    leaks = result("out")["leaks"]
    assert leaks["specific_test"]["rate"] == 1 and leaks["specific_test"]["looked_at"] == 1
    said = "100.0% of 6 specific test documents"
    assert said in capsys.readouterr().out
    assert main(["report", "out"]) == 0
    assert said in Path("out/selection.html").read_text()


@pytest.mark.slow
def test_near_copies_can_be_left_out_of_the_test(capsys):
    "The same training, and losses on the other test documents alone."
    with Path("g.jsonl").open("a") as file:  # half of them stand in it, too
        for text in Path("s.txt").read_text().split("\n\n")[::2]:
            file.write(json.dumps({"text": text[:-8] + "as it is", "label": "copies"}) + "\n")
    told, dropped = small_run("told", *LONG), small_run("out", *LONG, "--near-duplicates", "drop")
    assert main(told) == 0 and main(dropped) == 0
    leaks, before = result("out")["leaks"]["specific_test"], result("told")["leaks"]
    assert {**before["specific_test"], "left_out": True} == leaks and leaks["rate"] > 0
    assert "and were left out of the test" in capsys.readouterr().out
    assert result("out")["specific_loss"] != result("told")["specific_loss"]
    assert (result("out")["validation_specific_loss"]
            == result("told")["validation_specific_loss"])


def test_a_test_of_near_copies_alone_is_refused(capsys):
    plant_copies()
    assert main(small_run("out", *LONG, "--near-duplicates", "drop")) == 2
    assert "all specific test documents occur in the training data" in capsys.readouterr().err


@pytest.mark.slow
def test_a_comparison_tells_of_near_copies_in_training():
    plant_copies()
    own = [a for a in small_run("out", *LONG)[2:] if a not in ("--method", "uniform")]
    assert main(["compare", "lm", *own, "--methods", "uniform", "--targets", "", "--seeds", "1",
                 "--preset", "reduced"]) == 0
    said = leak_notes([{"target": "s.txt", "leak_rate/specific_test": 1.}])[0]
    assert said in Path("out/report.html").read_text()
    assert "leak_rate/specific_test" in Path("out/results.csv").read_text()


@pytest.mark.slow
def test_pictures_that_look_alike_are_told_and_left_out(capsys):
    "Half of a class are in the generic folder, too, a little darker."
    for k in range(72):
        folder = Path("world" if k < 48 else f"classes/{k % 2}")
        folder.mkdir(parents=True, exist_ok=True)
        squares = np.random.default_rng(k).integers(0, 256, (4, 4, 3), np.uint8)
        picture = squares.repeat(4, 0).repeat(4, 1)
        Image.fromarray(picture).save(folder/f"{k}.png")
        if k in range(48, 60):
            Image.fromarray(picture - picture//8).save(f"world/{k}.png")
            Path(f"world/{k}.txt").write_text("darker")
        (folder/f"{k}.txt").write_text(f"picture {k}")
    options = """run vision --method uniform --generic world --specific classes --image-size 16
        --patch 8 --weighting-patch 8 --batch-size 4 --downsampling 2 --generic-test .2 --steps 2
        --log-every 2 --evaluate-every 2 --fine-tune-steps 0 --no-tensorboard
        --quiet""".split()  # noqa: SIM905
    assert main([*options, "--out", "told"]) == 0
    leaks = result("told")["leaks"]["specific_test"]
    assert leaks["kind"] == "pictures" and 0 < leaks["rate"] < 1
    said = f"{leaks['rate']:.1%} of {leaks['documents']} specific test pictures"
    assert said in capsys.readouterr().out
    assert main([*options, "--near-duplicates", "drop", "--out", "out"]) == 0
    assert result("out")["leaks"]["specific_test"] == {**leaks, "left_out": True}
    assert "look like one in training data, and were left out" in capsys.readouterr().out
    assert (result("out")["validation_specific_loss"]
            == result("told")["validation_specific_loss"])
