"""What runs have learnt, away from them: scores of texts, pairs, captions and labels."""
import json
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from adaptive_dist.cli import main
from adaptive_dist.config.errors import UsageError
from adaptive_dist.config.settings import change
from adaptive_dist.corpus import run_scorer
from adaptive_dist.corpus.choice import SelectConfig
from adaptive_dist.corpus.plan import ScoringConfig
from adaptive_dist.corpus.select import score_records, select_records
from adaptive_dist.data.vocabulary import VOCABULARY_FILE, Vocabulary, encode
from adaptive_dist.experiments.lm import LM
from adaptive_dist.experiments.mt import MT, pair_weighting, pairs_elsewhere
from adaptive_dist.experiments.vision import VISION, captions_elsewhere, picture_weighting
from adaptive_dist.report.finished import Finished, open_scores, read_run
from adaptive_dist.scorers.exported import load_scorer, write_labels, write_network
from adaptive_dist.train.run import run

PAIRS = [(f"a green house {k}", f"ein grünes Haus {k}") for k in range(20)]
PAIRS += [(f"the old river {k}", f"der alte Fluss {k}") for k in range(20)]


def rows_of(path):
    return pq.read_table(path).to_pylist()


def learnt(weighting, batch):
    "Parameters of a network that scores differ by."
    alpha = weighting.init(jax.random.key(0), batch)
    return {**alpha, "out": jax.random.normal(jax.random.key(1), alpha["out"].shape)}


@pytest.fixture
def pairs(workplace):
    "A scorer of pairs, the scores that its network gives to some, and a file of these."
    vocabulary = Vocabulary.train([side for pair in PAIRS for side in pair], 320)
    config = change(MT.presets["reduced"], vocabulary=320, length=12, weighting_width=8)
    weighting = pair_weighting(config.weighting, 320)
    source, target = (vocabulary.encode(list(side), 12)[0] for side in zip(*PAIRS, strict=True))
    batch = {"source": source, "target": target}
    alpha = learnt(weighting, batch)
    text = vocabulary.tokenizer.to_str()
    write_network(Path("scorer"), pairs_elsewhere(config), alpha, {"task": "mt"}, text)
    Path("pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS))
    return np.array(weighting.score(alpha, batch))


def test_a_network_of_pairs_scores_pairs(pairs):
    texts = [f"{a}\t{b}" for a, b in PAIRS]
    assert load_scorer("scorer")(texts) == pytest.approx(pairs, abs=1e-5)
    assert Path("scorer", VOCABULARY_FILE).exists()


def test_pairs_are_selected_by_what_reads_them(pairs, capsys):
    config = SelectConfig(scored_by="scorer", top=5)
    found = select_records("pairs.tsv", config, Path("picked.parquet"), progress=False)
    assert found.tally.there["label"] == {"pairs": 40}
    best = {PAIRS[k] for k in np.argsort(pairs)[-5:]}
    assert {(row["en"], row["de"]) for row in rows_of("picked.parquet")} == best
    words = "select pairs.tsv --method scorer --top 5 --kind text --out other.parquet --quiet"
    assert main(words.split()) == 2
    assert "scorer reads pairs; leave --kind out" in capsys.readouterr().err


def test_scorers_of_text_score_pairs_too(pairs):
    Path("target.tsv").write_text("a green house\tein grünes Haus\n"*2)
    config = ScoringConfig(scorer="ngram", specific="target.tsv", kind="pairs")
    assert score_records("pairs.tsv", config, Path("s.parquet"), progress=False) == 40
    scores = [row["score"] for row in rows_of("s.parquet")]
    assert min(scores[:20]) > max(scores[20:])
    about = json.loads(Path("s.parquet.work/scorer/scorer.json").read_text())
    assert about["reads"] == "pairs"


def test_a_network_of_captions_scores_captions(workplace):
    config = change(VISION.presets["reduced"], weighting_network="caption", caption_length=16)
    weighting = picture_weighting(config.weighting)
    captions = [f"a boat at sea, number {k}" for k in range(9)]
    tokens = np.concatenate([encode(text, 16)[:1] for text in captions])
    batch = {"tokens": jax.device_put(tokens)}
    alpha = learnt(weighting, batch)
    write_network(Path("scorer"), captions_elsewhere(config), alpha, {})
    expected = np.array(weighting.score(alpha, batch))
    rows = [{"image": f"{k}.png", "caption": text} for k, text in enumerate(captions)]
    rows.append({"image": "9.png", "caption": ""})
    Path("boats.jsonl").write_text("\n".join(map(json.dumps, rows)))
    scored = ScoringConfig(scored_by="scorer")
    assert score_records("boats.jsonl", scored, Path("s.parquet"), progress=False) == 9
    scores = [row["score"] for row in rows_of("s.parquet")]
    assert scores == pytest.approx(expected, abs=1e-5)


def test_labels_score_and_unknown_ones_have_no_score(workplace):
    write_labels(Path("scorer"), {"sea": 1., "law": -1.}, {})
    rows = [{"text": "a text", "label": label} for label in ("law", "sea", "hills")]
    Path("some.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = ScoringConfig(scored_by="scorer")
    assert score_records("some.jsonl", config, Path("s.parquet"), progress=False) == 2
    assert [row["score"] for row in rows_of("s.parquet")] == [-1., 1.]


def test_what_stays_says_why_and_what_to_do(workplace, monkeypatch):
    settings = {"task": "vision", "method": "soba", "seed": 0}
    seen = Finished(Path("runs/a"), "soba-0", settings, [], {}, None)
    states = {"looks at pictures": {"alpha": {}}, "copies of the whole model": {"pair": {}},
              "no network of its own": ()}
    monkeypatch.setattr(run_scorer, "finished_config", lambda run, task: task.preset()[1])
    for why, state in states.items():
        monkeypatch.setattr(run_scorer, "stored_shapes", lambda *where, state=state: state)
        with pytest.raises(UsageError, match=f"{why}.*score runs/a DATA.*select --method") as said:
            run_scorer.travelling(seen)
        assert "\n" not in str(said.value)
    many = seen._replace(records=[{"picked_share": {str(k): 0. for k in range(101)}}])
    with pytest.raises(UsageError, match="more than the 100"):
        run_scorer.label_logits_of(many, {"logits": np.zeros(4096)})


@pytest.mark.slow
@pytest.mark.parametrize("way", [
    dict(method="online_cds", judge_width=8, tune_steps=2, renew_every=4, vocabulary=280),
    dict(method="dds", weighting_network="label")])
def test_judges_and_labels_of_a_run_travel(tiny, tmp_path, way):
    "An exported scorer gives each document of one piece what the run gives its row."
    config = change(tiny, length=256, steps=8, **way)
    run("lm", config, LM.build, tmp_path/"out", progress=False)
    run_scorer.export_network(tmp_path/"out", tmp_path/"scorer")
    scored = open_scores(read_run(tmp_path/"out"), LM)
    data = scored.experiment.data
    first = np.flatnonzero(np.bincount(data.generic[:]["document"]) == 1)[:6]
    rows = data.generic[np.flatnonzero(np.isin(data.generic[:]["document"], first))]
    texts = [scored.experiment.show({"tokens": row}) for row in rows["tokens"]]
    labels = [data.labels[k] for k in rows["label"]]
    found = load_scorer(tmp_path/"scorer")(texts, labels)
    assert len(found) and found == pytest.approx(scored.score(rows), abs=1e-4)


@pytest.mark.slow
def test_a_run_on_pairs_selects_pairs(workplace):
    Path("pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in 5*PAIRS))
    Path("special.tsv").write_text("".join(f"{a} now\t{b} jetzt\n" for a, b in PAIRS))
    config = change(
        MT.presets["reduced"], layers=1, width=16, mlp_width=32, heads=2, length=16, batch_size=4,
        downsampling=2, weighting_width=8, vocabulary=320, steps=6, log_every=2, evaluate_every=6,
        evaluate_examples=8, fine_tune_steps=0, translated=0, held_out=5, generic="pairs.tsv",
        specific="special.tsv", drop_duplicates=False, tensorboard=False, method="dds",
        generic_test=.2, cache="cache")
    run("mt", config, MT.build, Path("run"), progress=False)
    assert run_scorer.reads_of("run") == "pairs"
    words = "select pairs.tsv --method run --share .1 --quiet"
    assert main(words.split()) == 0 and len(rows_of("picked.parquet")) == 20
    scored = open_scores(read_run("run"), MT)
    rows = scored.experiment.data.generic[:8]
    texts = [scored.experiment.show({name: rows[name][k] for name in ("source", "target")})
             for k in range(8)]
    found = load_scorer("picked.parquet.work/scorer")([text.replace(" → ", "\t") for text in texts])
    assert found == pytest.approx(scored.score(rows), abs=1e-4)
