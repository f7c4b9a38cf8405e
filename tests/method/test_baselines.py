"Mixing, classifier, contrastive selection and replay, each against what is known without it."
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from adaptive_dist.config.errors import UsageError
from adaptive_dist.config.settings import change
from adaptive_dist.data.readers import evenly_spaced
from adaptive_dist.data.text import prepare_text
from adaptive_dist.experiments.lm import LM
from adaptive_dist.method import filtering, weighting
from adaptive_dist.method.baselines import append_specific, cds, classifier, mixing, replay
from adaptive_dist.method.problem import rows
from adaptive_dist.method.selector import uniform
from adaptive_dist.models.byte_transformer import ByteTransformer
from adaptive_dist.train import contrastive
from adaptive_dist.train.checkpoint import load_state
from adaptive_dist.train.experiment import begin, planned_flops, planned_step
from adaptive_dist.train.run import restore, run

def end(config, out):
    "The result of a run and the parameters it ended with."
    result = run("lm", config, LM.build, out, progress=False)
    return result, restore(out, LM.build(config)).params


@pytest.mark.slow
def test_mixing_with_g_1_is_uniform_bit_for_bit(tiny, tmp_path):
    plain, plain_params = end(replace(tiny, method="uniform"), tmp_path/"uniform")
    all_generic = change(tiny, method="mixing", generic_proportion=1.)
    mixed, mixed_params = end(all_generic, tmp_path/"mixing")
    assert jax.tree.all(jax.tree.map(np.array_equal, plain_params, mixed_params))
    for name in ("specific_loss", "generic_loss", "picked_share"):
        assert plain[name] == mixed[name]
    other, other_params = end(change(tiny, method="mixing", generic_proportion=.5), tmp_path/"half")
    assert not jax.tree.all(jax.tree.map(np.array_equal, plain_params, other_params))
    assert other["picked_share"]["law"] > .2


@pytest.mark.parametrize("generic_proportion, batch_size", [(.9, 8), (.5, 8), (.95, 4), (0., 8)])
def test_mixing_has_the_right_proportion_and_draws_each_kind_evenly(generic_proportion, batch_size):
    large, small, draws = 24, batch_size, 4000
    chooser = mixing(generic_proportion=generic_proportion, batch_size=batch_size,
                     specific_rows=small)
    big = append_specific({"x": jnp.zeros(large)}, {"x": jnp.ones(small)})
    keys = jax.random.split(jax.random.key(0), draws)
    picked = np.asarray(jax.vmap(lambda key: chooser.select((), key, big).picked)(keys))
    assert all(len(set(row)) == batch_size for row in picked[:200].tolist())  # without replacement
    counts = np.bincount(picked.ravel(), minlength=large + small)
    of_generic = generic_proportion*batch_size
    of_specific = (1 - generic_proportion)*batch_size
    expected = draws*np.repeat([of_generic/large, of_specific/small], [large, small])
    assert np.all(np.abs(counts - expected) <= 5*np.sqrt(np.maximum(expected, 1)))
    in_batch = (picked >= large).sum(1)
    assert set(in_batch) <= {int(np.floor(of_specific + 1e-6)), int(np.ceil(of_specific - 1e-6))}


def test_two_gradients_weighs_both_means():
    chooser = mixing(generic_proportion=.7, batch_size=4, specific_rows=4, form="two_gradients")
    big = {"x": jnp.arange(12.)}
    picked, weights = chooser.select((), jax.random.key(1), big)
    generic, specific = picked[:4], picked[4:]
    assert set(specific.tolist()) == {8, 9, 10, 11} and max(generic.tolist()) < 8
    want = .7*big["x"][generic].mean() + .3*big["x"][specific].mean()
    assert float(weights @ rows(big, picked)["x"]) == pytest.approx(float(want))


@pytest.mark.parametrize(("wrong", "message"), [
    (dict(generic_proportion=1.1), "generic_proportion=1.1"),
    (dict(generic_proportion=-.1), "generic_proportion=-0.1"),
    (dict(generic_proportion=.5, specific_rows=2), "specific_rows=2 is fewer than the 5"),
    (dict(form="two_gradients", specific_rows=7), "specific_rows=7 is fewer than the 8"),
    (dict(batch_size=0), "batch_size=0")])
def test_mixing_refuses(wrong, message):
    with pytest.raises(ValueError, match=message):
        mixing(**{"generic_proportion": .9, "batch_size": 8, "specific_rows": 8, **wrong})


def test_only_examples_with_the_same_fields_can_be_joined():
    with pytest.raises(ValueError, match="same fields"):
        append_specific({"x": jnp.zeros(3)}, {"y": jnp.zeros(3)})


# of five kinds of examples
GENERIC, SPECIFIC = np.array([.4, .3, .2, .06, .04]), np.array([.02, .08, .2, .3, .4])


@pytest.fixture(scope="module")
def learnt():
    "A classifier of five kinds, one parameter each, after it has seen many."
    def score(alpha, batch): return alpha[batch["kind"]]
    table = weighting.Weighting(lambda key, batch: jnp.zeros(5), score)
    def draw(key, p, n): return {"kind": jax.random.choice(key, 5, (n,), p=jnp.asarray(p))}
    def make(filter, batch_size):
        return classifier(table, batch_size=batch_size, generic_rows=256, optimizer=optax.adam(.02),
                          filter=filter)
    chooser = make(filtering.top_k, 4)
    def step(state, key):
        k = jax.random.split(key, 3)
        generic, specific = draw(k[1], GENERIC, 512), draw(k[2], SPECIFIC, 256)
        return chooser.update(state, k[0], None, generic, specific)
    start = chooser.init(jax.random.key(0), None, draw(jax.random.key(0), GENERIC, 512))
    state, info = jax.lax.scan(step, start, jax.random.split(jax.random.key(1), 1500))
    return make, draw, state, info


def test_the_classifier_reaches_the_bayes_error(learnt):
    _, _, state, info = learnt
    bayes = np.minimum(GENERIC, SPECIFIC).sum()/2
    says_specific = np.asarray(state.alpha) > 0
    sure = GENERIC != SPECIFIC
    assert (says_specific == (SPECIFIC > GENERIC))[sure].all()
    error = (GENERIC[says_specific].sum() + SPECIFIC[~says_specific].sum())/2
    assert error == pytest.approx(bayes)
    assert float(1 - info.accuracy[-500:].mean()) == pytest.approx(bayes, abs=.01)
    assert np.abs(np.asarray(state.alpha) - np.log(SPECIFIC/GENERIC)).max() < .25


def test_importance_sampling_picks_as_the_target_is_spread(learnt):
    make, draw, state, _ = learnt
    odds = state._replace(alpha=jnp.log(SPECIFIC/GENERIC))
    chooser = make(filtering.gumbel_top_k, 2)
    def one(key):
        big = draw(key, GENERIC, 512)
        return big["kind"][chooser.select(odds, jax.random.fold_in(key, 1), big).picked]
    kinds = np.asarray(jax.vmap(one)(jax.random.split(jax.random.key(2), 4000)))
    share = np.bincount(kinds.ravel(), minlength=5)/kinds.size
    assert np.abs(share - SPECIFIC).max() < 4*np.sqrt(.25/kinds.size) + .01


def numpy_loss(params, model, tokens):
    "Nats per byte of each text, from logits and NumPy alone."
    logits = np.asarray(model.apply(params, jnp.asarray(tokens)), np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    right = np.take_along_axis(log_p, tokens[..., None].astype(int), -1)[..., 0]
    return -np.array([p[t != 0].mean() for p, t in zip(right, tokens, strict=True)])


@pytest.mark.slow
def test_cds_scores_meet_brute_force_and_are_stored_once(tiny, tmp_path, monkeypatch):
    config = change(tiny, method="cds", cds_steps=4, cds_fine_tune_steps=4, fine_tune_every=2,
                    cds_examples=90)
    first, _ = end(config, tmp_path/"cds")
    assert first["preparation_seconds"] > 0
    folder, = (tmp_path/"cache").glob("cds-*")
    model, scoring = ByteTransformer(config.model), LM.build(contrastive.scoring_run(config))
    like = jax.eval_shape(lambda: begin(0, scoring)[0].params)
    pieces = evenly_spaced(prepare_text(config.data, 32).generic, 90)["tokens"]
    tuned = numpy_loss(load_state(folder/"models/fine_tuned", like), model, pieces)
    brute = numpy_loss(restore(folder/"models", scoring).params, model, pieces) - tuned
    scores = np.fromfile(folder/"scores-90", "<f4")
    assert scores.shape == (90,) and scores.std() > 1e-4 and np.allclose(scores, brute, atol=1e-5)
    experiment = LM.build(config)
    assert first["flops_per_step"] == planned_step(experiment)
    # Four steps of training, up to four with either rate of fine-tuning, one block of 256.
    low, high = 4*planned_step(scoring), 12*planned_step(scoring)
    forward = planned_flops(model.apply, load_state(folder/"models/fine_tuned", like),
                            jnp.zeros((256, 32), pieces.dtype))
    assert low + 2*forward < first["preparation_flops"] < 1.1*(high + 2*forward)
    reader = experiment.prepare(False).reader
    batch = jax.tree.map(lambda x: x[0], reader.at(0, 1))
    picked = experiment.selector.select((), jax.random.key(0), jax.device_put(batch)).picked
    assert set(picked.tolist()) == set(np.argsort(-batch["score"])[:4].tolist())

    def forbidden(*args): raise AssertionError("computed again")
    monkeypatch.setattr(contrastive, "contrast_of", forbidden)
    second, _ = end(change(config, downsampling=8), tmp_path/"other")
    assert second["preparation_seconds"] == first["preparation_seconds"]
    assert second["preparation_flops"] == first["preparation_flops"]


def test_cds_keeps_the_highest_scores():
    batch = {"score": jnp.array([.1, 3., -1., 2.])}
    picked, weights = cds(batch_size=2).select((), jax.random.key(0), batch)
    assert picked.tolist() == [1, 3] and weights.tolist() == [.5, .5]


@pytest.mark.slow
def test_replays_of_a_recorded_run(tiny, tmp_path):
    recorded, _ = end(change(tiny, method="soba", store_weighting_every=2), tmp_path/"soba")
    stored = sorted(int(p.name) for p in (tmp_path/"soba/weightings").iterdir())
    assert stored == [0, 2, 4, 6]
    assert recorded["method"] == "soba"
    def alphas(order):
        config = change(tiny, method="replay", replay_from=str(tmp_path/"soba"), replay_order=order)
        return begin(0, LM.build(config))[0].selector
    inorder, shuffled, last = (
        alphas(order).alphas["out"] for order in ("recorded", "shuffled", "last"))
    assert inorder.shape[0] == 4 and jnp.array_equal(last, inorder[-1:])
    assert not jnp.array_equal(shuffled, inorder)
    assert jnp.allclose(jnp.sort(shuffled, 0), jnp.sort(inorder, 0))
    replayed = change(tiny, method="replay", replay_from=str(tmp_path/"soba"))
    result, _ = end(replayed, tmp_path/"replay")
    assert np.isfinite(result["specific_loss"])


def test_a_replay_uses_each_network_for_its_time():
    linear = weighting.mlp(lambda b: b["x"], widths=())
    alphas = {"hidden": [], "out": jnp.array([[1.], [-1.], [2.]])}
    chooser = replay(linear, alphas, batch_size=1, steps_per_network=2)
    state = chooser.init(jax.random.key(0), None, None)
    seen = []
    for _ in range(7):
        seen.append(float(chooser.score(state, {"x": jnp.ones((1, 1))})[0]))
        state, _ = chooser.update(state, jax.random.key(0), None, {}, {})
    assert seen == [1, 1, -1, -1, 2, 2, 2]


@pytest.mark.parametrize("wrong, why", [
    (dict(method="replay"), "needs --replay-from"),
    (dict(method="replay", replay_from="nowhere"), "holds no weighting networks"),
    (dict(method="uniform", store_weighting_every=2), "no weighting network to store"),
    (dict(method="soba", store_weighting_every=3), "must be a multiple of --log-every 2")])
def test_replays_and_recordings_that_cannot_be(tiny, tmp_path, wrong, why):
    with pytest.raises(UsageError, match=why):
        run("lm", change(tiny, **wrong), LM.build, tmp_path/"out", progress=False)


def test_uniform_has_one_draw_in_common_with_mixing():
    big, key = {"x": jnp.zeros(40)}, jax.random.key(5)
    alone = mixing(generic_proportion=1., batch_size=8, specific_rows=8).select((), key, big)
    plain = uniform(batch_size=8).select((), key, {"x": jnp.zeros(32)})
    assert jnp.array_equal(alone.picked, plain.picked)
