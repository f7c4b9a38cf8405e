"Fine-tuning in a run: validation data choose, test data only report, and the result can be loaded."
import jax
import pytest

from adaptive_dist.config.settings import change
from adaptive_dist.data.text import prepare_text
from adaptive_dist.experiments import lm
from adaptive_dist.train.checkpoint import load_state, saved_steps
from adaptive_dist.train.experiment import begin
from adaptive_dist.train.run import run

@pytest.fixture
def asked(monkeypatch):
    "Sizes of the held-out sets whose loss was asked for, in order."
    sizes, original = [], lm.byte_loss
    def watched(model, tokens):
        loss = original(model, tokens=tokens)
        def tell(params, pieces):
            sizes.append(len(pieces))
            return loss(params, pieces)
        return tell
    monkeypatch.setattr(lm, "byte_loss", watched)
    return sizes


def test_validation_chooses_and_test_data_report(tiny, tmp_path, asked):
    config = change(tiny, method="uniform", fine_tune_steps=12, fine_tune_every=4,
                    fine_tune_rates=2, fine_tune_learning_rate=.01)
    result = run("lm", config, lm.LM.build, tmp_path/"out", progress=False)
    during = list(asked)

    # Test sets are read for the two reports, before and after fine-tuning, and never before.
    data = prepare_text(config.data, 32)
    sizes = [len(data.specific_test), len(data.generic_test)]
    valid = min(16, len(data.specific_valid))
    assert len({*sizes, valid}) == 3, "sets of different sizes tell which is which"
    assert during[-2:] == sizes and sorted(during).count(sizes[0]) == 2
    assert set(during[during.index(sizes[0]) + 2:-2]) <= {valid}

    tuned = result["fine_tuning"]
    losses = {(way["learning_rate"], step): loss for way in tuned["tried"]
              for step, loss in zip(way["step"], way["loss"], strict=True)}
    assert len(tuned["tried"]) == 2 and min(losses.values()) == tuned["loss"]
    assert tuned["loss"] == pytest.approx(losses[tuned["learning_rate"], tuned["step"]])
    assert result["fine_tuned_specific_loss"] < result["specific_loss"]

    experiment = lm.LM.build(config)
    like = jax.eval_shape(lambda: begin(0, experiment)[0].params)
    assert saved_steps(tmp_path/"out/fine_tuned") == [tuned["step"]]
    params = load_state(tmp_path/"out/fine_tuned", like)
    assert experiment.validate(params) == pytest.approx(tuned["loss"], abs=1e-6)
    loss = experiment.test(params)["specific_loss"]
    assert loss == pytest.approx(result["fine_tuned_specific_loss"], abs=1e-6)


@pytest.mark.slow
def test_steps_and_batches_smaller_than_asked_for(tiny, tmp_path):
    "Five steps looked at every four are four and one; a small specific batch is taken whole."
    config = change(tiny, method="dds", specific_batch=2, fine_tune_steps=5, fine_tune_every=4,
                    fine_tune_rates=1, fine_tune_patience=9)
    result = run("lm", config, lm.LM.build, tmp_path/"out", progress=False)
    assert result["fine_tuning"]["tried"][0]["step"] == [0, 4, 5]
