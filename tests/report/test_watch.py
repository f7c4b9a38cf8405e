"What `watch` shows of a run that goes on: the examples that it picks, found from its checkpoint."
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from adaptive_dist.config.settings import change
from adaptive_dist.experiments.lm import LM
from adaptive_dist.report.finished import finished_experiment, read_run
from adaptive_dist.report.selection import latest_picks, next_picks
from adaptive_dist.train.checkpoint import saved_steps
from adaptive_dist.train.metrics import read_metrics
from adaptive_dist.train.run import run

KINDS = [f"kind-{k}" for k in range(12)]

@pytest.fixture
def folder(workplace: Path) -> Path:
    "A run of four steps with the checkpoint of the third only, as when it was stopped there."
    rng = random.Random(0)
    def text(*words: str) -> str:
        return " ".join(rng.choices(words, k=30))
    for kind in KINDS:
        Path("texts", kind).mkdir(parents=True)
        for i in range(20):
            Path(f"texts/{kind}/{i}.txt").write_text(text("cloud", "rain", "salt", "tide"))
    Path("target.txt").write_text("\n\n".join(text("a", "court", "held") for _ in range(40)))
    config = change(
        LM.presets["reduced"], generic="texts", specific="target.txt", generic_test=.2,
        method="dds", steps=4, log_every=1, layers=1, width=16, mlp_width=32, heads=2, length=32,
        batch_size=8, downsampling=4, weighting_width=8, weighting_embedding=8, evaluate_every=4,
        evaluate_examples=16, checkpoint_every=3, fine_tune_steps=0, tensorboard=False)
    run("lm", config, LM.build, workplace/"run", progress=False)
    assert saved_steps(workplace/"run/checkpoints") == [3, 4]
    shutil.rmtree(workplace/"run/checkpoints/4")
    return workplace/"run"

@pytest.mark.slow
def test_the_run_has_picked_what_is_shown(folder: Path) -> None:
    step, rows = next_picks(folder, finished_experiment(read_run(folder), LM))
    fourth = read_metrics(folder)[3]
    assert step == 3 and fourth["step"] == 4 and len(rows) == 8
    labels = [str(label) for label in fourth["picked_share"]]
    shares = np.bincount(rows["label"], minlength=len(labels))/len(rows)
    assert dict(zip(labels, shares.tolist(), strict=True)) == fourth["picked_share"]
    assert len(set(rows["label"].tolist())) > 3

def test_picks_are_shown_as_lines(folder: Path) -> None:
    _, rows = next_picks(folder, finished_experiment(read_run(folder), LM))
    labels = [str(label) for label in read_metrics(folder)[3]["picked_share"]]
    head, *lines = latest_picks(LM, count=8, width=40)(folder).splitlines()
    assert head == "picked after step 3:" and len(lines) == 8 and max(map(len, lines)) <= 40
    assert [line.split(":")[0].strip() for line in lines] == [labels[k] for k in rows["label"]]
    shutil.rmtree(folder/"checkpoints")
    assert latest_picks(LM)(folder) == "no checkpoint yet"
