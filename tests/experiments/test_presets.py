"The paper's presets, whose data cannot be had here: the same loaders on a few rows of the same schema, and the same step, compiled."
import gzip
import json
import random
from pathlib import Path

import pytest

from adaptive_dist.config.settings import change
from adaptive_dist.data.sources import PILE_SETS
from adaptive_dist.experiments import lm
from adaptive_dist.experiments.lm import LM
from adaptive_dist.train.experiment import step_flops

@pytest.fixture
def copies(tmp_path):
    "Local copies of C4 and of the Pile: 40 documents of either, as the originals have them."
    rng = random.Random(0)
    def text(): return " ".join(rng.choices(["the", "of", "and", "a", "theorem", "proof", "cell", "water", "bank", "river"], k=150))
    (tmp_path/"c4").mkdir()
    with gzip.open(tmp_path/"c4"/"c4-train.00000-of-01024.json.gz", "wt") as file:
        for i in range(40):
            row = {"text": text(), "timestamp": "2019-04-25T12:57:54", "url": f"https://example.org/{i}"}
            file.write(json.dumps(row) + "\n")
    (tmp_path/"pile").mkdir()
    with (tmp_path/"pile"/"00.jsonl").open("w") as file:
        for i in range(80): file.write(json.dumps({"text": text(), "meta": {"pile_set_name": ("ArXiv", "Pile-CC")[i % 2]}}) + "\n")
    (tmp_path/"rcv1").mkdir()
    for i in range(40):
        news = f"<newsitem itemid='{i}'><title>T{i}</title><headline>H{i}</headline><text><p>{text()}</p></text></newsitem>"
        (tmp_path/"rcv1"/f"{i}newsML.xml").write_text(f"<?xml version='1.0' encoding='iso-8859-1' ?>{news}")
    return dict(generic=f"c4:{tmp_path/'c4'}", specific=f"pile:arxiv:{tmp_path/'pile'}", cache=str(tmp_path/"cache"))

@pytest.mark.parametrize("target", lm.PUBLISHED)
def test_each_published_setting_builds_on_rows_of_its_schema(target, copies):
    name = PILE_SETS.get(target)
    pile = Path(copies["cache"]).with_name("pile")/"00.jsonl"
    if name: pile.write_text(pile.read_text().replace("ArXiv", name))
    source = f"pile:{target}:{pile.parent}" if name else f"rcv1:{Path(copies['cache']).with_name('rcv1')}"
    preset = LM.presets[f"paper-{target}"]
    assert source.startswith(preset.data.specific) or target == "reuters"
    assert (preset.steps, preset.batch_size, preset.selection.downsampling, preset.data.specific_size) == (300_000, 128, 128, 10_000)
    experiment = LM.build(change(preset, **{**copies, "specific": source}, batch_size=4, downsampling=4))
    assert experiment.target == target and set(experiment.labels) == {target, "c4"}
    assert experiment.specific.at(0, 2)["tokens"].shape == (2, 4, 256)

@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "paper-large"])
def test_paper_presets_compile_on_rows_of_their_schema(preset, copies):
    experiment = LM.build(config := change(LM.presets[preset], batch_size=4, downsampling=4, **copies))
    assert config.steps == 300_000 and set(experiment.labels) == {"arxiv", "c4"}
    weights = config.model.layers*config.model.width*(4*config.model.width + 2*config.model.mlp_width)
    plain = 6*weights*config.batch_size*config.model.length  # a forward and a backward pass through the layers' matrices
    assert 4*plain < step_flops(experiment) < 8*plain
