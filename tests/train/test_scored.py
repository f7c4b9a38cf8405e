"Training with scores computed before it: any scorer, or a file; in each big batch, or chosen once."
from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adaptive_dist.config.arguments import Parser, parse_settings
from adaptive_dist.config.errors import UsageError
from adaptive_dist.config.settings import change
from adaptive_dist.data.text import prepare_text
from adaptive_dist.experiments.lm import LM
from adaptive_dist.report.grid import configured, flags_of
from adaptive_dist.scorers.scorer import pool_of
from adaptive_dist.train import scored
from adaptive_dist.train.run import run
from adaptive_dist.train.settings import TaskConfig

LAW = {"a", "court", "held", "that", "law", "is"}


@pytest.fixture
def planted(tiny):
    "Generic text with documents of the target among others."
    sea, rng = Path(tiny.data.generic), np.random.default_rng(5)
    some = [" ".join(rng.choice(sorted(LAW), 40)) for _ in range(12)]
    mixed = sea.with_name("mixed.txt")
    mixed.write_text("\n\n".join([sea.read_text(), *some]))
    return change(tiny, generic=str(mixed), method="scored")


def experiment_of(config):
    experiment = LM.build(config)
    return experiment, experiment.prepare(False)


def document_scores(config):
    "The scores of all documents in the cache, and which of them are of the target."
    data = prepare_text(config.data, 32)
    first = np.flatnonzero(np.diff(data.generic["document"], prepend=-1))
    texts = [bytes(row).decode() for row in data.generic["tokens"][first]]
    return data, first, np.array([bool(LAW & {*text.split()}) for text in texts])


def test_rows_have_their_document_s_score_and_the_best_are_picked(planted):
    experiment, prepared = experiment_of(planted)
    data, first, of_target = document_scores(planted)
    scores = prepared.reader.columns["score"]
    document = data.generic["document"]
    assert all(np.ptp(scores[document == d]) == 0 for d in range(len(first)))
    assert scores[first][of_target].min() > scores[first][~of_target].max()
    batch = jax.tree.map(lambda x: x[0], prepared.reader.at(0, 1))
    picked = experiment.selector.select((), jax.random.key(0), jax.device_put(batch)).picked
    assert np.allclose(np.sort(batch["score"])[-4:], np.sort(batch["score"][picked]))
    assert prepared.seconds > 0 and prepared.flops > 0


def test_scores_are_stored_once_and_shared(planted, monkeypatch):
    first = experiment_of(planted)[1]
    def forbidden(*args): raise AssertionError("computed again")
    monkeypatch.setattr(scored, "fitted_scorer", forbidden)
    second = experiment_of(change(planted, downsampling=8, keep=.2))[1]
    assert (second.seconds, second.flops) == (first.seconds, first.flops)
    with pytest.raises(AssertionError, match="computed again"):
        experiment_of(change(planted, level="row"))


def test_an_interrupted_pass_goes_on_to_the_same_scores(planted):
    config = change(planted, scorer="dsir")
    whole = np.array(experiment_of(config)[1].reader.columns["score"])
    (folder,) = Path(planted.data.cache).glob("scores-*")
    raw = (folder/"scores").read_bytes()
    (folder/"scores").unlink()
    (folder/"scores.part").write_bytes(raw[:44])
    again = np.array(experiment_of(config)[1].reader.columns["score"])
    assert np.array_equal(whole, again)


def test_keep_trains_on_the_best_share_of_all_rows(planted):
    prepared = experiment_of(change(planted, keep=.1))[1]
    data, _, of_target = document_scores(planted)
    wanted = set(np.flatnonzero(of_target[data.generic["document"]]).tolist())
    seen = set(np.concatenate([prepared.reader.rows(step) for step in range(40)]).tolist())
    assert len(seen) == round(.1*len(data.generic)) and seen <= wanted
    assert prepared.reader.at(0, 2)["tokens"].shape[:2] == (2, 4)


def test_gumbel_keep_draws_documents_by_their_weights():
    counts = np.zeros(3)
    pool = pool_of(["a", "b", "c"])
    for seed in range(2_000):
        counts[scored.kept_rows(np.log([6., 3., 1.]), pool, 1/3, True, seed)] += 1
    assert np.allclose(counts/2_000, [.6, .3, .1], atol=.04)


def test_scores_from_a_file_train_as_the_scorer_does(planted, tmp_path):
    own = experiment_of(planted)[1].reader.columns["score"]
    data, first, _ = document_scores(planted)
    table = pa.table({"document": np.arange(len(first)), "score": own[first]})
    pq.write_table(table, tmp_path/"scores.parquet")
    config = change(planted, scores=str(tmp_path/"scores.parquet"))
    assert np.array_equal(experiment_of(config)[1].reader.columns["score"], own)
    by_id = pa.table({"id": data.generic.ids(first)[::-1], "score": own[first][::-1]})
    pq.write_table(by_id, tmp_path/"ids.parquet")
    by_id = change(planted, scores=str(tmp_path/"ids.parquet"))
    assert np.array_equal(experiment_of(by_id)[1].reader.columns["score"], own)
    pq.write_table(table.slice(0, 3), tmp_path/"scores.parquet")
    with pytest.raises(UsageError, match="of the generic rows have a score"):
        experiment_of(config)


def test_settings_of_scorers_go_through_flags_and_back():
    config = configured(TaskConfig(), ["--method", "scored", "--scorer", "dsir", "--smoothing", "1",
                                       "--keep", ".05"])
    assert config.method_settings.scorer_settings.smoothing == 1
    assert configured(TaskConfig(), flags_of(config, TaskConfig())) == config
    with pytest.raises(UsageError, match="did you mean dsir"):
        parse_settings(Parser("x"), TaskConfig(), ["--method", "scored", "--scorer", "dsri"])
    with pytest.raises(UsageError, match="unrecognized arguments: --smoothing"):
        parse_settings(Parser("x"), TaskConfig(), ["--method", "scored", "--smoothing", "1"])


@pytest.mark.parametrize("changes, said", [
    (dict(filter="gumbel_top_k"), "--scorer ngram gives ranks"),
    (dict(scores="x.parquet", filter="with_replacement"), "say --scores-kind log_weight"),
    (dict(scorer="dsir", keep=.1, filter="with_replacement"), "leave out --keep")])
def test_draws_that_mean_nothing_are_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        change(TaskConfig(method="scored"), **changes).check_settings("float32")


@pytest.mark.slow
def test_a_run_ends_with_its_costs_and_its_scores_can_be_asked_for(planted, tmp_path):
    from adaptive_dist.report.export import export_scores
    result = run("lm", change(planted, scorer="hashed"), LM.build, tmp_path/"run", progress=False)
    assert result["preparation_seconds"] > 0 and result["preparation_flops"] > 0
    count = export_scores(tmp_path/"run", lambda name: LM, tmp_path/"out.parquet")
    table = pq.read_table(tmp_path/"out.parquet")
    assert count == len(table) and np.isfinite(table["score"].to_numpy()).all()
    again = change(planted, scores=str(tmp_path/"out.parquet"), seed=1)
    assert run("lm", again, LM.build, tmp_path/"again", progress=False)["steps"] == 6


ASKING = [("rds", dict(embedding="model")),
          ("mona", dict(code_features=16, code_steps=5, judge_width=8)),
          ("logra", dict(influence_rank=2, influence_rows=16, judge_width=8)),
          ("contrast", dict(copy_steps=8, judge_width=8)),
          ("blend", dict(blend="shortest;random", trials=3, trial_steps=4)),
          ("preselect", dict(strength_models=3, strength_steps=4, embedding_size=4, extremes=.3,
                             judge_width=8))]


@pytest.mark.slow
@pytest.mark.parametrize("scorer, own", ASKING)
def test_a_run_with_a_scorer_that_asks_a_model_is_charged_for_it(planted, tmp_path, scorer, own):
    config = change(planted, scorer=scorer, judge_steps=6, **own)
    result = run("lm", config, LM.build, tmp_path/"run", progress=False)
    again = run("lm", change(config, downsampling=2), LM.build, tmp_path/"again", progress=False)
    costs = ("preparation_seconds", "preparation_flops")
    assert all(result[cost] > 0 and result[cost] == again[cost] for cost in costs)


@pytest.mark.slow
def test_labels_are_needed_to_mix_them(planted):
    for scorer in ("admire", "projektor"):
        with pytest.raises(UsageError, match="mixes labels"):
            experiment_of(change(planted, scorer=scorer))

