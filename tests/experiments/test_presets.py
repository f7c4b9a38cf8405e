"""The paper's presets, whose data cannot be had here.

The same loaders read a few rows of the same schema, and the same step is compiled.
"""
import csv
import gzip
import json
import random
from pathlib import Path

import pytest

from adaptive_dist.config.settings import change
from adaptive_dist.data.corpora import PILE_SETS
from adaptive_dist.experiments import lm
from adaptive_dist.experiments.lm import LM
from adaptive_dist.report.grid import configured, variants
from adaptive_dist.train.experiment import step_flops

WORDS = ["the", "of", "and", "a", "theorem", "proof", "cell", "water", "bank", "river"]
NEWS = """<?xml version='1.0' encoding='iso-8859-1' ?><newsitem itemid='{i}'><title>T{i}</title>\
<headline>H{i}</headline><text><p>{text}</p></text></newsitem>"""


# The authors' released configurations: big batch divided by batch, learning rate, steps.
FAST, SLOW, SHORT, LONG = 2e-3, 2e-4, 300_000, 500_000
CLASSIFIER = {"classifier": (256, FAST, SHORT)}
AUTHORS = {
    "reuters": {"uniform": (128, FAST, LONG), "dds": (128, FAST, LONG), "anograd": (64, FAST, LONG),
                "cds": (32, FAST, LONG), "classifier": (256, SLOW, LONG)},
    "arxiv": {"anograd": (64, FAST, SHORT), "cds": (64, FAST, SHORT),
              "classifier": (256, SLOW, SHORT)},
    "europarl": {"dds": (32, FAST, SHORT), "cds": (32, FAST, SHORT), **CLASSIFIER},
    "freelaw": {"anograd": (32, FAST, SHORT), "cds": (64, SLOW, SHORT), **CLASSIFIER},
    "gutenberg": {"dds": (32, FAST, SHORT), "anograd": (64, FAST, SHORT),
                  "cds": (64, FAST, SHORT), **CLASSIFIER},
    "opensubtitles": {"dds": (128, SLOW, SHORT), "anograd": (64, FAST, SHORT), **CLASSIFIER},
    "openwebtext2": {"soba": (32, FAST, SHORT), "dds": (128, SLOW, SHORT),
                     "anograd": (64, FAST, SHORT), "cds": (32, FAST, SHORT),
                     "classifier": (64, FAST, SHORT)},
    "pubmed_abstracts": {"cds": (32, FAST, SHORT), **CLASSIFIER},
    "stackexchange": {"cds": (64, FAST, SHORT), **CLASSIFIER},
    "wikipedia_en": {"anograd": (64, FAST, SHORT), "cds": (32, FAST, SHORT), **CLASSIFIER},
}
EVERYWHERE = dict.fromkeys(("uniform", "mixing", "soba", "dds", "anograd"), (128, FAST, SHORT))
CDS_STEPS = {"reuters": 280_000, "arxiv": 160_000, "gutenberg": 160_000}


def authors_configurations(target):
    "The configurations of the study of a target, as `compare` makes them."
    study = LM.studies[f"published-{target}"]
    flags = [choice for variant in variants(study.methods) for choice in variant.choices]
    of_target = LM.targets[target]
    assert study.targets == (target,)
    return [configured(LM.presets[study.preset], [*choice, *of_target]) for choice in flags]


@pytest.mark.parametrize("target", lm.PUBLISHED)
def test_the_authors_runs_have_the_authors_settings(target):
    expected = EVERYWHERE | AUTHORS[target]
    found = authors_configurations(target)
    if target == "opensubtitles":
        again = found.pop()
        assert again.method == "anograd" and again.selection.downsampling == 32
        assert again.optimizer.learning_rate == SLOW
    assert {c.method for c in found} == expected.keys() and len(found) == len(expected)
    for c in found:
        own = (c.selection.downsampling, c.optimizer.learning_rate, c.steps)
        assert own == expected[c.method]
        assert (c.batch_size, c.data.specific) == (128, lm.PUBLISHED[target])
        shape = c.model.positions, c.model.activation, c.model.dropout, c.model.attention_dropout
        assert shape == ("sinusoidal", "relu", .1, .1) and c.model.dtype == "bfloat16"


@pytest.mark.parametrize("target", lm.PUBLISHED)
def test_the_authors_runs_have_the_authors_method_settings(target):
    found = {c.method: c for c in authors_configurations(target)}
    mixing, classifier = (found[name].method_settings for name in ("mixing", "classifier"))
    proportion = .95 if target == "europarl" else .9
    assert (mixing.mixing, mixing.generic_proportion) == ("two_gradients", proportion)
    assert classifier.generic_rows == 128*found["classifier"].selection.downsampling
    assert found["soba"].method_settings.hvp == "exact"
    if "cds" in found:
        cds = found["cds"].method_settings
        steps = cds.cds_steps, cds.cds_fine_tune_steps, cds.cds_examples
        assert steps == (CDS_STEPS.get(target, 100_000), 100_000, None)


@pytest.mark.parametrize("target", lm.PUBLISHED)
def test_reuters_alone_is_fine_tuned(target):
    for c in authors_configurations(target):
        tuning = c.fine_tuning
        assert tuning.fine_tune_steps == (220_000 if target == "reuters" else 0)
        assert (tuning.fine_tune_every, tuning.fine_tune_rates) == (500, 1)
        fast = target == "reuters" and c.method == "uniform"
        assert tuning.fine_tune_learning_rate == (FAST if fast else SLOW)


@pytest.mark.slow
def test_the_authors_table_lists_runs_of_the_studies():
    path = Path(__file__).parents[2]/"nbs/experiments/results/published_lm.csv"
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        found = {(c.method, c.selection.downsampling, c.steps)
                 for c in authors_configurations(row["target"]) if c.method == row["method"]}
        if row["stage"] == "trained":
            size = int(row["downsampling"] or next(iter(found))[1])
            assert (row["method"], size, int(row["steps"])) in found


def test_every_variant_of_every_study_is_a_configuration():
    for study in LM.studies.values():
        for variant in variants(study.methods):
            for choice in variant.choices:
                config = configured(LM.preset(study.preset)[1], choice)
                config.check_settings(config.model.dtype)


def test_the_printed_algorithm_has_a_preset_of_its_own():
    model = LM.presets["paper"].model
    assert (model.positions, model.attention_dropout, model.activation) == ("learned", 0., "gelu")
    assert LM.presets["paper"].data == LM.presets["paper-arxiv"].data


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
