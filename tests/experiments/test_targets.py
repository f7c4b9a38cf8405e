"""Several targets, and a guard of the generic loss: what is read, measured and told."""
import json
import shlex
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from adaptive_dist.cli import main
from adaptive_dist.config.errors import UsageError
from adaptive_dist.config.settings import change
from adaptive_dist.data.split import Target
from adaptive_dist.data.targets import in_proportion, most_in_proportion, named_weights, rows_of
from adaptive_dist.experiments.lm import LM
from adaptive_dist.report.check import sample
from adaptive_dist.train.observe import probe_rows
from adaptive_dist.train.run import run
from adaptive_dist.train.scored import wanted_pool

@pytest.fixture
def two(tiny: Any, tmp_path: Path) -> Any:
    "Two targets, of which the first counts three times."
    (tmp_path/"ice.txt").write_text("\n\n".join(f"ice {k} melts in {k + 7} days, and freezes"
                                                for k in range(40)))
    return change(tiny, specific=f"{tmp_path}/law.txt=3,{tmp_path}/ice.txt=1")


def test_names_and_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert named_weights("a.txt=2, b.txt=.5,c.txt") == {"a.txt": 2, "b.txt": .5, "c.txt": 1}
    assert named_weights("a.txt,b.txt") == {"a.txt,b.txt": 1}
    Path("year=2").mkdir()
    assert named_weights("year=2") == {"year=2": 1}
    for text, said in (("a=0,b=1", "has no weight"), ("a=1,a=2", "names a twice")):
        with pytest.raises(UsageError, match=said):
            named_weights(text)


@pytest.mark.slow
def test_batches_and_losses_follow_the_weights(two: Any, tmp_path: Path) -> None:
    experiment = LM.build(change(two, specific_size=9))
    data = experiment.data
    law, ice = data.targets
    assert (law.weight, law.label, ice.label) == (3, "law", "ice")
    assert np.bincount(data.specific_train["target"]).tolist() == [9, 9]
    read = experiment.specific.at(0, 40)["target"]
    assert read.shape == (40, 4) and (read.sum(1) == 1).all()
    assert np.array_equal(experiment.specific.at(7, 1)["target"][0], read[7])
    params = experiment.init_params(jax.random.key(0))
    found = experiment.test(params)
    each = found["target_loss"]
    assert found["specific_loss"] == pytest.approx(.75*each[law.name] + .25*each[ice.name])
    one = LM.build(change(two, specific=str(tmp_path/"law.txt")))
    assert one.test(params)["specific_loss"] == pytest.approx(each[law.name], rel=1e-5)
    documents = {tuple(row) for row in rows_of(data.specific_test, 0)["tokens"]}
    assert documents == {tuple(row) for row in one.data.specific_test["tokens"]}


def test_what_is_in_two_targets_belongs_to_the_first(tiny: Any, tmp_path: Path) -> None:
    twice = (tmp_path/"law.txt").read_text()
    (tmp_path/"both.txt").write_text(twice + "\n\n" + "\n\n".join(f"snow {k}" for k in range(9)))
    data = LM.build(change(tiny, specific=f"{tmp_path}/law.txt=1,{tmp_path}/both.txt=1")).data
    assert data.report["left out"]["specific"]["in another target"]["count"] == 20
    assert len(rows_of(data.specific_train, 1)) == 4


def test_rows_that_are_looked_at_stand_in_proportion() -> None:
    of = np.repeat([0, 1], [40, 12])
    targets = Target("a", 3., None), Target("b", 1., None)
    assert most_in_proportion(of, targets) == 48
    for count in (4, 47, 48, 80):
        numbers = in_proportion(of, count, targets)
        found = np.bincount(of[numbers])
        assert found.sum() == count and abs(found[1] - count/4) <= .5
        assert count > 48 or len(set(numbers.tolist())) == count
    equal = targets[0], targets[0]._replace(name="b")
    assert most_in_proportion(of, equal) == 24
    assert most_in_proportion(of, ()) == 52 and len(in_proportion(of, 9, ())) == 9


@pytest.mark.slow
def test_probes_the_check_and_scorers_weigh_targets(two: Any) -> None:
    config = change(two, method="scored", batch_size=8)
    experiment = LM.build(config)
    data = experiment.data
    specific = probe_rows(config, data)[2]["target"]
    assert specific.mean() == pytest.approx(.25, abs=1/len(specific))
    groups = np.concatenate([group["target"] for group in sample(data, 8, 4, 0).specific])
    assert groups.mean() == pytest.approx(.25, abs=.1)
    pool = wanted_pool(config, data, lambda rows: "")
    of = pool.part["target"][pool.starts]
    assert of.mean() == pytest.approx(.25, abs=1/len(of))


@pytest.mark.slow
def test_each_target_has_a_network(two: Any, tmp_path: Path, capsys: Any) -> None:
    for method in ("dds", "soba"):
        config = change(two, method=method, network_per_target=True)
        result = run("lm", config, LM.build, tmp_path/method, progress=False)
        assert np.isfinite(result["specific_loss"]) and len(result["target_loss"]) == 2
        record = json.loads((tmp_path/method/"metrics.jsonl").read_text().splitlines()[-1])
        assert np.isfinite(record["correlation"]) and record["probe"]["gradient_correlation"]
    assert main(shlex.split(f"score '{tmp_path}/dds' --out '{tmp_path}/scores.parquet'")) == 0
    capsys.readouterr()
    assert main(shlex.split(f"export '{tmp_path}/dds' --out '{tmp_path}/scorer'")) == 2
    assert "each target has a network of its own" in capsys.readouterr().err
    with pytest.raises(UsageError, match="needs several targets"):
        LM.build(change(config, specific=str(tmp_path/"law.txt")))


@pytest.mark.slow
def test_guarding_rows_are_not_tested_on(tiny: Any) -> None:
    experiment = LM.build(change(tiny, method="dds", keep_general=.25, batch_size=8))
    data = experiment.data
    held = {tuple(row): k for row, k in zip(
        data.generic_test["tokens"], data.generic_test["document"], strict=True)}
    batch = experiment.looked_at.at(0, 30)["tokens"]
    assert batch.shape == (30, 8, 32)
    guarding = {held[tuple(row)] % 2 for step in batch[:, 6:] for row in step}
    assert guarding == {1} and not any(tuple(row) in held for row in batch[:, :6].reshape(-1, 32))
    params = experiment.init_params(jax.random.key(0))
    even = data.generic_test[np.flatnonzero(data.generic_test["document"] % 2 == 0)]
    alone = LM.build(change(tiny, batch_size=8)).data._replace(generic_test=even)
    assert len(alone.generic_test) < len(data.generic_test)
    none = LM.build(change(tiny, method="uniform", keep_general=0., batch_size=8))
    assert none.guarded is None
    assert none.test(params)["generic_loss"] == experiment.test(params)["generic_loss"]
    assert experiment.specific.at(0, 1)["tokens"].shape == (1, 8, 32)


@pytest.mark.parametrize("changes, said", [
    (dict(keep_general=.01), "--keep-general 0.01 of 4 specific rows is 0"),
    (dict(keep_general=.95), "--keep-general 0.95 of 4 specific rows is 4"),
    (dict(uniform_share=.05), "share=0.05 of 4 rows is 0"),
    (dict(method="mixing", uniform_share=.5), "--method mixing says itself")])
def test_what_cannot_be_guarded_is_one_line(tiny: Any, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LM.build(change(change(tiny, method="dds"), **changes))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["anograd", "classifier", "mixing", "scored", "online_cds"])
def test_runs_on_two_targets(two: Any, tmp_path: Path, method: str) -> None:
    further = dict(keep_general=.25) if method == "mixing" else dict(
        keep_general=.25, uniform_share=.25)
    own = dict(judge_width=8, tune_steps=2, renew_every=4) if method == "online_cds" else {}
    config = change(two, method=method, fine_tune_steps=2, fine_tune_every=2, **further, **own)
    result = run("lm", config, LM.build, tmp_path/"out", progress=False)
    losses = list(result["target_loss"].values())
    assert result["specific_loss"] == pytest.approx(.75*losses[0] + .25*losses[1])
    assert result["fine_tuned_target_loss"].keys() == result["target_loss"].keys()
    told = result["targets"][f"{tmp_path}/law.txt"]
    assert told["weight"] == 3 and told["label"] == "law"
    again = change(config, specific=config.data.specific.replace("=3", "=2"))
    with pytest.raises(UsageError, match="holds a run with --specific"):
        run("lm", again, LM.build, tmp_path/"out", progress=False)


@pytest.mark.slow
def test_commands_take_several_targets(two: Any, tmp_path: Path, workplace: Path) -> None:
    words = shlex.split(
        "compare lm --layers 1 --width 16 --mlp-width 32 --heads 2 --length 32 --batch-size 4 "
        "--downsampling 4 --weighting-width 8 --weighting-embedding 8 --no-tensorboard "
        "--evaluate-examples 16 --generic sea.txt --specific law.txt=3,ice.txt=1 "
        "--generic-test .2 --log-every 2 --evaluate-every 4 --steps 4 --fine-tune-steps 2 "
        "--fine-tune-every 2 --methods uniform,dds+keep_general=.25+uniform_share=.5 "
        "--seeds 1 --targets= --out compared --quiet")
    assert main(words) == 0
    assert "target_loss/law.txt" in Path("compared/results.csv").read_text()
    folder = next(path.parent for path in Path("compared").glob("*/dds*/result.json"))
    assert json.loads((folder/"result.json").read_text())["picked_share"]
    assert main(["report", str(folder)]) == 0
    assert main(["score", str(folder), "--text"]) == 0
