"The check before a run, on problems with a known answer and on the command line; what comes after."
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pyarrow.parquet as pq
import pytest

from adaptive_dist.cli import main
from adaptive_dist.config.errors import UsageError
from adaptive_dist.data.table import Rows
from adaptive_dist.data.vocabulary import decode
from adaptive_dist.experiments.lm import LM
from adaptive_dist.experiments.registry import TASKS, load_task
from adaptive_dist.method.problem import same_loss
from adaptive_dist.report import check, selection
from adaptive_dist.report.check import CheckConfig, checkup
from adaptive_dist.report.export import scored_blocks, write_scores
from adaptive_dist.report.finished import finished_experiment, open_scores, read_run
from adaptive_dist.train.experiment import begin, flops_of, step_flops
from adaptive_dist.train.run import restore

@pytest.mark.parametrize(("kind", "size", "answers", "reason"), [
    ("helps", 256, ("yes",), "the network can find them"),
    pytest.param("generic", 256, ("no", "perhaps"), "", marks=pytest.mark.slow),
    ("blind", 256, ("no",), ""),
    pytest.param("noise", 256, ("no",), "", marks=pytest.mark.slow),
    pytest.param("helps", 16, ("no", "perhaps"), "too small", marks=pytest.mark.slow),
])
def test_known_answers(kind, size, answers, reason, tmp_path):
    data, components = problems.regression(kind, size, seed=1)
    found = checkup("regression", problems.with_seed(1), problems.build(data, components), tmp_path,
                    progress=False)
    assert found["answer"] in answers and reason in found["reason"]
    kept = json.loads((tmp_path/"check.json").read_text())
    assert kept["answer"] == found["answer"]
    assert kept["agreement"]["full"]["value"] == pytest.approx(found["agreement"].full.value)
    page = (tmp_path/"check.html").read_text()
    assert found["advice"] in page and "data:image/png" in page
    if kind == "blind":
        assert found["learnability"].low < 0 < found["learnability"].high
    if kind == "helps" and size == 256:
        share = found["labels"]["a"]  # the target's own domain
        assert share["wanted"] > 2*share["pool"] and share["wanted"] > .5


def test_the_price_is_that_of_its_parts():
    "Of linear regression, counted by hand from one step and one pass, times how often they run."
    data, components = problems.regression("helps")
    config = problems.CONFIG
    build = problems.build(data, components)
    brief = check.short_run(config, CheckConfig(check_steps=50))
    short, full = build(brief), build(config)
    rows = check.sample(data, config.batch_size, 64, 0)
    price = check.cost(full, config, short, brief, rows)
    weights, batch = np.zeros(problems.WIDTH, np.float32), rows.pool[:16].columns
    forward = flops_of(jax.jit(components.task.generic).lower(weights, batch).compile())
    uniform, total = 100*step_flops(short), config.steps*step_flops(full)
    assert price.uniform_share == pytest.approx(uniform/total)
    assert price.forward_passes > 16*(uniform + 19*64*2*forward)/forward
    assert price.share == pytest.approx(price.forward_passes*forward/16/total)


def with_frozen(components):
    "The same regression, whose parameters are those added to others that have no gradient."
    def of_added(loss): return lambda p, *more: loss(p["added"] + p["frozen"], *more)
    def init(key):
        return {"frozen": jnp.zeros(problems.WIDTH, int), "added": jnp.zeros(problems.WIDTH)}
    return components._replace(
        task=same_loss(of_added(components.task.generic)), init_params=init,
        **{name: of_added(getattr(components, name))
           for name in ("example_loss", "generic_loss", "specific_loss")})


@pytest.mark.slow
def test_what_has_no_gradient_is_looked_past():
    "Alignments, fine-tuning, trials and prices of adapters are those of the adapters alone."
    data, components = problems.regression("helps", 64)
    rows, config = check.sample(data, 16, 16, 0), problems.CONFIG
    found = []
    for some in (components, with_frozen(components)):
        experiment = problems.build(data, some)(config)
        state, rng = begin(0, experiment)[0], np.random.default_rng(0)
        looks = check.look(experiment, rows, state.params, state.params, config, rng)
        train = check.pool_trainer(experiment, rows.pool, state, 16)
        params = train(np.arange(check.STEPS*16))
        counted = check.operations(experiment, rows, 16)
        found.append((*looks.now, *looks.tuned, looks.update, params, counted))
    (*plain, moved, counted), (*frozen, params, again) = found
    jax.tree.map(np.testing.assert_array_equal, plain, frozen)
    np.testing.assert_array_equal(params["added"], moved)
    assert not params["frozen"].any()
    assert again.gradient == counted.gradient + 2*problems.WIDTH  # they are added


def test_both_looks_are_where_chunks_end():
    for task in TASKS:
        for preset in load_task(task).presets.values():
            for steps in (None, 75):
                short = check.short_run(preset, CheckConfig(check_steps=steps))
                assert short.steps == 2*short.checkpoint_every
                assert short.checkpoint_every % short.log_every == 0


def test_rows_that_the_check_looks_at_are_different_ones():
    data, _ = problems.regression("helps", 100)
    rows = check.sample(data, 16, 64, 0)
    parts = [rows.pool["document"], *(part["document"] for part in rows.others)]
    numbers = np.concatenate(parts)
    assert len(rows.pool) == 1024 and len(set(numbers.tolist())) == len(numbers) == 2048
    ours = np.concatenate([group["document"] for group in rows.specific])
    assert len(set(ours.tolist())) == len(ours) == 96 and {len(g) for g in rows.specific} == {12}


def test_too_few_rows_are_refused():
    data, _ = problems.regression("helps", 12)
    few = "the specific training set has 12 examples, and the check needs 16"
    with pytest.raises(UsageError, match=few):
        check.sample(data, 16, 64, 0)
    many = "8192 examples, and the check looks at 20480: lower --check-batches"
    with pytest.raises(UsageError, match=many):
        check.sample(data, 16, 640, 0)


TINY = """--layers 1 --width 16 --mlp-width 32 --heads 2 --length 32 --batch-size 4 --downsampling 4
    --weighting-width 8 --weighting-embedding 8 --steps 20 --log-every 10 --evaluate-every 20
    --evaluate-examples 16 --fine-tune-steps 0 --no-tensorboard --quiet
    --generic-test .2""".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A user's own texts, their cache, and finished runs of SOBA and of uniform sampling."
    folder, rng = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    def write(name, words, count):
        texts = [" ".join(rng.choice(words.split(), 40)) for _ in range(count)]
        (folder/name).write_text("\n\n".join(texts))
    write("sea.txt", "the cloud rain wind rises falls salt wave tide", 60)
    write("law.txt", "a court held that law is", 40)
    write("other.txt", "bread salt oven flour", 12)
    own = ["--generic", str(folder/"sea.txt"), "--specific", str(folder/"law.txt"),
           "--cache", str(folder/"cache")]
    for method in ("soba", "uniform"):
        out = str(folder/method)
        assert main(["run", "lm", *TINY, *own, "--method", method, "--out", out]) == 0
    return folder, own


def refused(arguments, *essentials, capsys):
    "A command ends with status 2 and one line that says what is essential."
    capsys.readouterr()
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("adaptive-dist: ") and err.count("\n") == 1, err
    for essential in essentials:
        assert essential in err, err


@pytest.mark.slow
def test_check_on_ones_own_texts(place, tmp_path, capsys):
    own, out = place[1], tmp_path/"check"
    assert main(["check", "lm", *TINY, *own, "--check-batches", "16", "--check-steps", "5",
                 "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    found = json.loads((out/"check.json").read_text())
    assert printed.startswith(f"Will it help? {found['answer'].upper()}: ")
    assert "of the full run" in printed
    assert found["steps"] == [5, 10] and len(found["labels"]) == 2
    assert "Best aligned" in (out/"check.html").read_text()


def test_check_refuses_in_one_line(place, tmp_path, capsys):
    own = place[1]
    common = ["check", "lm", *TINY, *own, "--check-batches", "16",
              "--out", str(tmp_path/"deep"/"check")]
    def refuses(*arguments, because):
        refused([*common, *arguments], because, capsys=capsys)
    refuses("--check-batches", "1000", because="lower --check-batches")
    refuses("--check-batches", "2", because="--check-batches 2: must be at least 16")
    refuses("--specific", "nowhere.txt", because="nowhere.txt")
    refuses("--specific-size", "8",
            because="the specific training set has 8 examples, and the check needs 16")
    assert not (tmp_path/"deep").exists()


def test_scores_are_those_of_the_runs_network(place, tmp_path):
    folder, _ = place
    out = tmp_path/"scores.parquet"
    assert main(["score", str(folder/"soba"), "--out", str(out), "--text"]) == 0
    table = pq.read_table(out)
    assert table.column_names == ["id", "part", "document", "label", "score", "text"]
    experiment = finished_experiment(read_run(folder/"soba"), LM)
    data, state = experiment.data, restore(folder/"soba", experiment)
    for part, rows in (("generic", data.generic[:]), ("generic_test", data.generic_test)):
        mine = [row for row in table.to_pylist() if row["part"] == part]
        tokens = jnp.asarray(rows["tokens"])
        scores = experiment.selector.score(state.selector, {"tokens": tokens})
        assert np.allclose([r["score"] for r in mine], scores, rtol=1e-5, atol=1e-6)
        assert [r["document"] for r in mine] == rows["document"].tolist()
        assert [r["id"] for r in mine] == data.ids(part, slice(None))
        assert [r["text"] for r in mine] == [decode(t) for t in rows["tokens"]]
    assert len({r["score"] for r in table.to_pylist()}) > 10  # the network has learnt something


def test_other_data_can_be_scored_and_an_interrupted_file_is_not_left(place, tmp_path):
    folder, _ = place
    out = tmp_path/"scores.parquet"
    other = str(folder/"other.txt")
    assert main(["score", str(folder/"soba"), other, "--out", str(out), "--text"]) == 0
    texts = pq.read_table(out)["text"].to_pylist()
    assert all("bread" in t or "flour" in t or "oven" in t for t in texts)
    before = out.read_bytes()
    def broken():
        yield {"part": ["generic"], "document": [0], "label": ["a"], "score": [1.]}
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        write_scores(out, broken())
    assert out.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["scores.parquet"]


def test_scoring_reads_a_block_at_a_time(place):
    "However many rows there are, no more than one block of them is in memory."
    seen = []
    class Watched(Rows):
        def __getitem__(self, at):
            seen.append(len(at))
            return super().__getitem__(at)
    folder, _ = place
    found = open_scores(read_run(folder/"soba"), LM)
    found = found._replace(score=lambda rows: rows["document"].astype(np.float32))
    numbers = np.arange(1_000, dtype=np.int32)
    parts = {"generic": Watched(label=0*numbers, document=numbers)}
    data = found.experiment.data._replace(generic=parts["generic"], folder=None)
    found = found._replace(experiment=found.experiment._replace(data=data))
    blocks = list(scored_blocks(found, parts, block=64))
    assert max(seen) == 64
    assert np.concatenate([block["score"] for block in blocks]).tolist() == list(range(1_000))


def test_score_and_report_refuse_in_one_line(place, tmp_path, capsys):
    folder, _ = place
    out, soba = ["--out", str(tmp_path/"deep"/"file")], str(folder/"soba")
    def refuses(*arguments, because):
        refused([*arguments], because, capsys=capsys)
    refuses("score", str(folder), *out, because="is no run folder")
    refuses("score", str(folder/"uniform"), *out, because="--method uniform gives no scores")
    refuses("score", soba, "nowhere.txt", *out, because="nowhere.txt")
    refuses("score", soba, "--out", str(tmp_path), because="it is a folder")
    refuses("report", str(tmp_path), "--out", f"{out[1]}.html", because="is no run folder")
    refuses("report", soba, "--out", str(folder/"sea.txt"/"page.html"),
            because="cannot write to --out")
    assert not (tmp_path/"deep").exists()


def test_report_of_runs_with_and_without_a_network(place, tmp_path, capsys):
    folder, _ = place
    out = tmp_path/"page.html"
    assert main(["report", str(folder/"soba"), str(folder/"uniform"), "--out", str(out)]) == 0
    page = out.read_text()
    assert "soba-0: examples" in page and "most wanted" in page
    assert "uniform-0" in page and "uniform-0: examples" not in page
    assert "1 without scores" in capsys.readouterr().out


def test_repeats_against_a_simulation():
    rng = np.random.default_rng(0)
    chances = rng.beta(.5, 2, 200)
    drawn = rng.random((2_000, 7, 200)) < chances
    times = drawn.sum(1)
    found = selection.repeats(chances, 7.)
    assert found.distinct == pytest.approx((times > 0).mean(), rel=.01)
    assert found.times == pytest.approx(times.sum()/(times > 0).sum(), rel=.01)


def test_agreement_between_runs_is_a_rank_correlation():
    a = np.arange(10.)
    head, lines = selection.agreement_table({"one": a, "two": np.exp(a), "three": -a})
    assert head == ("run", "one", "two", "three")
    assert lines[0] == ["one", "1.00", "1.00", "-1.00"]


def test_committed_metrics_alone_give_a_report(tmp_path):
    results = Path(__file__).parents[2]/"nbs/experiments/results/lm_reduced"
    folders = [results/name for name in ("soba-0", "uniform-0")]
    assert selection.write_selection_report(folders, load_task, tmp_path/"page.html") == []
    head, (line, _) = selection.overview([read_run(folder) for folder in folders], {})
    result = json.loads((folders[0]/"result.json").read_text())
    share = result["picked_share"]["Biology and health sciences"]
    assert dict(zip(head, line, strict=True))["target's share of picked"] == f"{share:.1%}"
