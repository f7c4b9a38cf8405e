"The paper's presets, whose data cannot be had here: the same loaders on a few rows of the same schema, and the same step, compiled."
import gzip
import json
import random

import pytest

from adaptive_dist.engine.config import change
from adaptive_dist.engine.run import step_flops
from adaptive_dist.experiments import lm

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
    return dict(generic=f"c4:{tmp_path/'c4'}", specific=f"pile:arxiv:{tmp_path/'pile'}", cache=str(tmp_path/"cache"))

@pytest.mark.parametrize("preset", ["paper", pytest.param("paper-large", marks=pytest.mark.slow)])
def test_paper_presets_compile_on_rows_of_their_schema(preset, copies):
    experiment = lm.build(config := change(lm.PRESETS[preset], batch_size=4, downsampling=4, **copies))
    assert config.steps == 300_000 and set(experiment.labels) == {"arxiv", "c4"}
    weights = config.model.layers*config.model.width*(4*config.model.width + 2*config.model.mlp_width)
    plain = 6*weights*config.batch_size*config.model.length  # a forward and a backward pass through the layers' matrices
    assert 4*plain < step_flops(experiment) < 8*plain
