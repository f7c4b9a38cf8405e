"Online contrastive selection, against first principles and a loop written out by hand."
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adaptive_dist as ad
from adaptive_dist.method import contrast
from adaptive_dist.method.contrast import ContrastPair, Judge
from adaptive_dist.method.problem import random_quadratic, rows

TUNE, RENEW, SIZE = 3, 5, 4


def loss(params, batch, key):
    "A tanh unit with squared error: neither linear nor quadratic."
    return (jnp.tanh(batch["x"] @ params["w"] + params["b"]) - batch["y"])**2


def draw(key, count):
    for_x, for_y = jax.random.split(key)
    return {"x": jax.random.normal(for_x, (count, 3)), "y": jax.random.normal(for_y, (count,))}


TASK = ad.same_loss(loss)
JUDGE = Judge(lambda key, batch: {"w": jax.random.normal(key, (3,)), "b": jnp.zeros(())}, TASK)
MODEL = {"w": jnp.array([.5, -.2, .1]), "b": jnp.array(.3)}


def selector(**settings):
    given = dict(judge=JUDGE, judge_optimizer=optax.adam(.01), tune_optimizer=optax.sgd(.1),
                 tune_steps=TUNE, renew_every=RENEW, batch_size=SIZE) | settings
    return ad.online_cds(TASK, **given)


def test_contrast_is_the_alignment_with_the_step_at_finite_distance():
    with jax.enable_x64(True):
        params, step = ({"w": jax.random.normal(jax.random.key(k), (3,), jnp.float64),
                         "b": jnp.array(.1*k, jnp.float64)} for k in (1, 2))
        batch = jax.tree.map(lambda x: x.astype(jnp.float64), draw(jax.random.key(0), 8))
        _, slopes = jax.jvp(lambda p: loss(p, batch, None), (params,), (step,))
        for distance, error in ((1e-3, 1e-2), (1e-5, 1e-4)):
            pair = ContrastPair(params, optax.tree.add_scale(params, distance, step))
            found = contrast.contrast_scores(TASK, pair, batch, jax.random.key(0))/distance
            assert np.abs(found + slopes).max() < error*np.abs(slopes).max()


def test_on_a_quadratic_the_tuned_copy_reaches_sobas_direction():
    "Tuned to the end on the specific loss, the copy has moved by -(Hs)^-1 gs."
    problem = random_quadratic(jax.random.key(0), n=5, d=3)
    task, tuner = problem.task, optax.sgd(.05)
    specific = {"row": jnp.zeros(4)}
    params = jax.random.normal(jax.random.key(1), problem.target.shape)
    tuning = contrast.begin_tuning(params, tuner)
    def step(_, tuning): return contrast.tune(task, tuning, specific, jax.random.key(0), tuner)[0]
    tuning = jax.lax.fori_loop(0, 3_000, step, tuning)
    def mean(p): return task.specific(p, specific, jax.random.key(0)).mean()
    newton = -jnp.linalg.solve(jax.hessian(mean)(params), jax.grad(mean)(params))
    np.testing.assert_allclose(tuning.pair.tuned - params, newton, rtol=1e-2, atol=1e-3)


def begun(chooser, model=MODEL):
    "The first state, and a compiled update."
    state = chooser.init(jax.random.key(0), model, draw(jax.random.key(0), 1))
    return state, jax.jit(chooser.update)


def by_hand(judged, steps):
    "Pairs that choose, step by step, in plain Python; `judged(step)` is what is copied then."
    pair, making, seen = (judged(0),)*2, None, []
    tuner = optax.sgd(.1)
    for step in range(steps):
        source = judged(step + 1)
        if step % RENEW == 0:
            making = source, source, tuner.init(source)
        if step % RENEW < TUNE:
            reference, tuned, state = making
            specific = draw(jax.random.key(100 + step), 6)
            gradient = jax.grad(lambda p, b=specific: loss(p, b, None).mean())(tuned)
            updates, state = tuner.update(gradient, state)
            making = reference, optax.apply_updates(tuned, updates), state
        if step % RENEW == TUNE - 1:
            pair = making[:2]
        seen.append(pair)
    return seen


@pytest.mark.parametrize("steps", [2, 3, 7, 13])
def test_copies_of_the_model_are_those_of_a_loop_by_hand(steps):
    chooser = selector(judge=None)
    state, update = begun(chooser)
    def at(step): return jax.tree.map(lambda x: x + .1*step, MODEL)
    for step in range(steps):
        state, _ = update(state, jax.random.key(step), at(step + 1),
                          draw(jax.random.key(step), 16), draw(jax.random.key(100 + step), 6))
    expected = ContrastPair(*by_hand(at, steps)[-1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), state.pair, expected)


def test_a_judge_trains_on_uniform_rows_and_the_model_does_not_matter():
    chooser, states = selector(), []
    for model in (MODEL, jax.tree.map(jnp.zeros_like, MODEL)):
        state, update = begun(chooser, model)
        losses = []
        for step in range(40):
            state, info = update(state, jax.random.key(step), model,
                                 draw(jax.random.key(step % 4), 16),
                                 draw(jax.random.key(100 + step), 6))
            losses.append(info.judge_loss)
        states.append(state)
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    jax.tree.map(np.testing.assert_array_equal, *states)


def trained(chooser, steps=2*RENEW):
    state, update = begun(chooser)
    for step in range(steps):
        state, info = update(state, jax.random.key(step), MODEL, draw(jax.random.key(step), 16),
                             draw(jax.random.key(100 + step), 6))
    return state, info


def test_selects_the_largest_contrast_of_the_big_batch():
    chooser = selector()
    state, _ = trained(chooser)
    big = draw(jax.random.key(7), 16)
    scores = (loss(state.pair.reference, big, None) - loss(state.pair.tuned, big, None))
    picked, weights = chooser.select(state, jax.random.key(0), big)
    assert set(picked.tolist()) == set(np.argsort(-scores)[:SIZE].tolist())
    assert weights.tolist() == [1/SIZE]*SIZE


def test_candidates_are_proposed_by_another_selector_which_learns_too():
    weighting = ad.weighting.mlp(lambda batch: batch["x"])
    proposes = ad.classifier(weighting, batch_size=8)
    chooser = selector(among=proposes)
    state, info = trained(chooser)
    big = draw(jax.random.key(7), 16)
    some = proposes.select(state.among, jax.random.key(0), big).picked
    scores = chooser.score(state, rows(big, some))
    picked, _ = chooser.select(state, jax.random.key(0), big)
    assert set(picked.tolist()) == set(np.array(some)[np.argsort(-scores)[:SIZE]].tolist())
    assert int(state.among.step) == 2*RENEW and 0 < float(info.among.classifier_loss) < 2


def test_before_the_first_copy_is_tuned_nothing_is_preferred():
    chooser = selector()
    state, _ = trained(chooser, TUNE - 1)
    assert (chooser.score(state, draw(jax.random.key(7), 16)) == 0).all()
    state, _ = trained(chooser, TUNE)
    assert (chooser.score(state, draw(jax.random.key(7), 16)) != 0).all()


def test_a_compiled_step_donates_its_state_and_follows_its_key():
    chooser, optimizer = selector(judge=None), optax.sgd(.1)
    step, ends = ad.make_step(TASK, chooser, optimizer), []
    for seed in (0, 0, 1):
        params = jax.tree.map(jnp.array, MODEL)
        state = ad.algorithm_init(jax.random.key(0), params, chooser, optimizer,
                                  draw(jax.random.key(0), 1))
        for k in range(RENEW):
            key = jax.random.fold_in(jax.random.key(seed), k)
            state, _ = step(state, key, draw(key, 16), draw(jax.random.key(k), 6))
        ends.append(state.params["w"].tolist())
    assert ends[0] == ends[1] != ends[2]


def test_integer_leaves_of_a_model_are_carried():
    model = MODEL | {"count": jnp.array(3)}
    chooser = selector(judge=None)
    state, update = begun(chooser, model)
    for step in range(TUNE):
        state, _ = update(state, jax.random.key(step), model, draw(jax.random.key(1), 16),
                          draw(jax.random.key(2), 6))
    assert state.pair.tuned["count"] == 3 and state.pair.tuned["b"] != model["b"]


@pytest.mark.parametrize("settings, said", [
    (dict(tune_steps=9), "exceeds renew_every"), (dict(tune_steps=0), "tune_steps"),
    (dict(batch_size=0), "batch_size")])
def test_wrong_settings_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        selector(**settings)


def test_a_big_batch_with_too_few_rows_is_refused():
    chooser = selector()
    state = chooser.init(jax.random.key(0), MODEL, draw(jax.random.key(0), 1))
    with pytest.raises(ValueError, match="3 rows"):
        chooser.select(state, jax.random.key(0), draw(jax.random.key(0), 3))
