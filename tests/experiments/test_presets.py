"""The paper's presets, whose data cannot be had here.

The same loaders read a few rows of the same schema, and the same step is compiled.
"""
import gzip
import json
import random
from pathlib import Path

import pytest

from adaptive_dist.config.settings import change
from adaptive_dist.data.corpora import PILE_SETS
from adaptive_dist.experiments import lm
from adaptive_dist.experiments.lm import LM
from adaptive_dist.train.experiment import step_flops

WORDS = ["the", "of", "and", "a", "theorem", "proof", "cell", "water", "bank", "river"]
NEWS = """<?xml version='1.0' encoding='iso-8859-1' ?><newsitem itemid='{i}'><title>T{i}</title>\
<headline>H{i}</headline><text><p>{text}</p></text></newsitem>"""


@pytest.fixture
def copies(tmp_path):
    "Local copies of C4, the Pile and Reuters: 40 documents of each, as the originals have them."
    rng = random.Random(0)

    def text():
        return " ".join(rng.choices(WORDS, k=150))

    for name in ("c4", "pile", "rcv1"):
        (tmp_path/name).mkdir()
    with gzip.open(tmp_path/"c4"/"c4-train.00000-of-01024.json.gz", "wt") as file:
        for i in range(40):
            row = {"text": text(), "timestamp": "2019-04-25T12:57:54",
                   "url": f"https://example.org/{i}"}
            file.write(json.dumps(row) + "\n")
    with (tmp_path/"pile"/"00.jsonl").open("w") as file:
        for i in range(80):
            row = {"text": text(), "meta": {"pile_set_name": ("ArXiv", "Pile-CC")[i % 2]}}
            file.write(json.dumps(row) + "\n")
    for i in range(40):
        (tmp_path/"rcv1"/f"{i}newsML.xml").write_text(NEWS.format(i=i, text=text()))
    return dict(generic=f"c4:{tmp_path/'c4'}", specific=f"pile:arxiv:{tmp_path/'pile'}",
                cache=str(tmp_path/"cache"))


def local_source(target, folder):
    "The source of a published target among the copies in a folder."
    if target == "reuters":
        return f"rcv1:{folder/'rcv1'}"
    pile = folder/"pile"/"00.jsonl"
    pile.write_text(pile.read_text().replace("ArXiv", PILE_SETS[target]))
    return f"pile:{target}:{pile.parent}"


@pytest.mark.parametrize("target", lm.PUBLISHED)
def test_each_published_setting_builds_on_rows_of_its_schema(target, copies):
    source = local_source(target, Path(copies["cache"]).parent)
    preset = LM.presets[f"paper-{target}"]
    assert source.startswith(preset.data.specific) or target == "reuters"
    assert (preset.steps, preset.batch_size) == (300_000, 128)
    assert (preset.selection.downsampling, preset.data.specific_size) == (128, 10_000)
    changes = {**copies, "specific": source}
    experiment = LM.build(change(preset, **changes, batch_size=4, downsampling=4))
    assert experiment.target == target and set(experiment.labels) == {target, "c4"}
    assert experiment.specific.at(0, 2)["tokens"].shape == (2, 4, 256)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "paper-large"])
def test_paper_presets_compile_on_rows_of_their_schema(preset, copies):
    config = change(LM.presets[preset], batch_size=4, downsampling=4, **copies)
    experiment = LM.build(config)
    assert config.steps == 300_000 and set(experiment.labels) == {"arxiv", "c4"}
    model = config.model
    weights = model.layers*model.width*(4*model.width + 2*model.mlp_width)
    # A forward and a backward pass through the layers' matrices.
    plain = 6*weights*config.batch_size*model.length
    assert 4*plain < step_flops(experiment) < 8*plain
