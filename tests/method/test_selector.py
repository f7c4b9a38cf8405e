"Algorithm 1 as a whole: every selector on one small problem, and the bilevel optimum that is known."
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adaptive_dist.method.selector as selectors
from adaptive_dist.method.filtering import Selection
from adaptive_dist.method.problem import Task, check_task, random_quadratic, rows, same_loss
from adaptive_dist.method.selector import Selector
from adaptive_dist.method.weighting import mlp

LARGE, SMALL = 48, 8


def regression(params, batch, key):
    del key
    return (jnp.tanh(batch["features"]) @ params["w"] - batch["y"])**2


def batch_of(key, n, slope):
    x = jax.random.normal(key, (n, 3))
    return {"features": jnp.concatenate([x, jnp.full((n, 1), slope)], 1), "y": slope*x.sum(-1)}


BIG = jax.tree.map(lambda *x: jnp.concatenate(x), batch_of(jax.random.key(0), LARGE//2, 1.), batch_of(jax.random.key(1), LARGE//2, -1.))
SPECIFIC = batch_of(jax.random.key(2), SMALL, 1.)
PARAMS = {"w": .1 + .1*jnp.arange(4.)}

SELECTORS = {
    "uniform": lambda **o: selectors.uniform(batch_size=o["batch_size"]),
    "dds": lambda **o: selectors.dds(same_loss(regression), mlp(widths=(4,)), **o),
    "dds averaged": lambda **o: selectors.dds(same_loss(regression), mlp(widths=(4,)), ema_decay=.9, **o),
    "dds finite": lambda **o: selectors.dds(same_loss(regression), mlp(widths=(4,)), derivative="finite_difference", **o),
    "anograd": lambda **o: selectors.anograd(same_loss(regression), mlp(widths=(4,)), **o),
    "anograd averaged": lambda **o: selectors.anograd(same_loss(regression), mlp(widths=(4,)), ema_decay=.9, **o),
    "soba": lambda **o: selectors.soba(same_loss(regression), mlp(widths=(4,)), **o),
    "soba finite": lambda **o: selectors.soba(same_loss(regression), mlp(widths=(4,)), hvp="finite_difference", curvature_rows=.5, **o),
    "soba none": lambda **o: selectors.soba(same_loss(regression), mlp(widths=(4,)), hvp="none", damping=1., **o),
    "soba lazy v": lambda **o: selectors.soba(same_loss(regression), mlp(widths=(4,)), v_every=2, **o),
    "lazy": lambda **o: selectors.dds(same_loss(regression), mlp(widths=(4,)), every=2, **o),
}


@pytest.mark.parametrize("name", SELECTORS)
def test_selects_learns_and_compiles_once(name):
    chooser: Selector = SELECTORS[name](batch_size=SMALL, optimizer=optax.adam(.03))
    traces = []
    @jax.jit
    def step(params, state, key):
        traces.append(1)
        picked, weights = chooser.select(state, key, BIG)
        gradient = jax.grad(lambda p: weights @ regression(p, rows(BIG, picked), key))(params)
        params = jax.tree.map(lambda p, g: p - .05*g, params, gradient)
        state, info = chooser.update(state, key, params, BIG, SPECIFIC)
        return params, state, picked, weights, info
    params, state = PARAMS, chooser.init(jax.random.key(3), PARAMS, BIG)
    like = jax.tree.map(lambda x: (jnp.shape(x), jnp.asarray(x).dtype), state)
    right = []
    for i in range(120):
        params, state, picked, weights, _ = step(params, state, jax.random.key(i))
        assert len(set(picked.tolist())) == SMALL and jnp.allclose(weights.sum(), 1)
        right.append(float((picked < LARGE//2).mean()))
    assert len(traces) == 1
    assert jax.tree.map(lambda x: (jnp.shape(x), jnp.asarray(x).dtype), state) == like
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(state))
    if name == "uniform": assert abs(np.mean(right) - .5) < .06
    else: assert np.mean(right[:4]) < .75 and np.mean(right[-40:]) > .6, "the useful half must be picked more often than at the start"


@pytest.mark.parametrize("name", [n for n in SELECTORS if n != "uniform"])
def test_starts_uniform(name):
    chooser = SELECTORS[name](batch_size=SMALL)
    assert jnp.ptp(chooser.score(chooser.init(jax.random.key(0), PARAMS, BIG), BIG)) == 0


@pytest.mark.parametrize("name", SELECTORS)
def test_is_a_pure_function_of_its_key(name):
    chooser = SELECTORS[name](batch_size=SMALL)
    def once(key):
        state = chooser.init(jax.random.key(0), PARAMS, BIG)
        return chooser.update(state, key, PARAMS, BIG, SPECIFIC), chooser.select(state, key, BIG)
    same = jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b, equal_nan=True)), once(jax.random.key(1)), once(jax.random.key(1)))
    assert all(jax.tree.leaves(same))
    assert not jnp.array_equal(once(jax.random.key(1))[1].picked, once(jax.random.key(2))[1].picked)


def converge(make, steps, **options):
    "Full-batch Algorithm 1 on a closed-form problem: the specific loss at the end over that of uniform weights."
    n = 8
    problem = random_quadratic(jax.random.key(0), n, d=3)
    everything, specific = {"index": jnp.arange(n)}, jnp.zeros(1)
    free = mlp(lambda batch: jax.nn.one_hot(batch["index"], n), widths=())
    def everyone(key, scores, size): return Selection(jnp.arange(size), jax.nn.softmax(scores))
    chooser = make(problem.task, free, batch_size=n, filter=everyone, **options)
    def step(carry, key):
        theta, state = carry
        picked, weights = chooser.select(state, key, everything)
        theta -= .2*jax.grad(lambda p: weights @ problem.task.generic(p, rows(everything, picked), key))(theta)
        state, _ = chooser.update(state, key, theta, everything, specific)
        return (theta, state), None
    start = jnp.zeros(3), chooser.init(jax.random.key(1), jnp.zeros(3), everything)
    (theta, state), _ = jax.jit(lambda: jax.lax.scan(step, start, jax.random.split(jax.random.key(2), steps)))()
    return problem, theta, state, problem.task.specific(theta, specific, None)[0]/problem.value(jnp.zeros(n))


def test_soba_loop_reaches_the_known_optimum():
    problem, theta, state, ratio = converge(selectors.soba, 5000, optimizer=optax.sgd(.3), v_optimizer=optax.sgd(.2))
    assert ratio < 1e-5
    np.testing.assert_allclose(theta, problem.target, atol=1e-2)
    np.testing.assert_allclose(theta, problem.theta_star(state.alpha["out"]), atol=1e-2)


def test_soba_loop_from_sampled_batches_gets_close():
    "With batches drawn by the filter, from 64 generic examples in a big batch of 32."
    n = 64
    problem = random_quadratic(jax.random.key(4), n, d=3)
    free = mlp(lambda batch: jax.nn.one_hot(batch["index"], n), widths=())
    chooser = selectors.soba(problem.task, free, batch_size=8, generic_rows=16, optimizer=optax.adam(.03), v_optimizer=optax.sgd(.05))
    def step(carry, key):
        theta, state, at = carry
        keys = jax.random.split(key, 3)
        big = {"index": jax.random.permutation(keys[0], n)[:32]}
        picked, weights = chooser.select(state, keys[1], big)
        gradient = jax.grad(lambda p: weights @ problem.task.generic(p, rows(big, picked), key))(theta)
        theta -= .2/(1 + at/300)*gradient
        state, _ = chooser.update(state, keys[2], theta, big, jnp.zeros(1))
        return (theta, state, at + 1), problem.task.specific(theta, jnp.zeros(1), key)[0]
    start = jnp.zeros(3), chooser.init(jax.random.key(1), jnp.zeros(3), {"index": jnp.arange(n)}), 0.
    _, losses = jax.jit(lambda: jax.lax.scan(step, start, jax.random.split(jax.random.key(2), 4000)))()
    assert losses[-400:].mean() < .2*problem.value(jnp.zeros(n))


def test_generic_and_specific_may_be_different_tasks():
    other = Task(generic=regression, specific=lambda p, batch, key: jnp.abs(p["w"]).sum()*jnp.ones(len(batch["y"])))
    chooser = selectors.dds(other, mlp(), batch_size=4)
    _, info = chooser.update(chooser.init(jax.random.key(0), PARAMS, BIG), jax.random.key(1), PARAMS, BIG, SPECIFIC)
    assert jnp.allclose(info.rule.specific_gradient_norm, jnp.linalg.norm(jnp.sign(PARAMS["w"])))


def test_a_mean_loss_is_refused_by_name():
    with pytest.raises(ValueError, match="specific loss must return one loss per example"):
        check_task(Task(regression, lambda p, b, k: regression(p, b, k).mean()), PARAMS, BIG, SPECIFIC)


@pytest.mark.parametrize("options, message", [
    ({"batch_size": 0}, "batch_size=0 must be at least 1"),
    ({"batch_size": 4, "every": 0}, "every=0"),
    ({"batch_size": 4, "generic_rows": -1}, "generic_rows=-1"),
])
def test_sizes_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message): SELECTORS["dds"](**options)


def test_a_big_batch_that_is_too_small_is_refused():
    chooser = SELECTORS["dds"](batch_size=LARGE + 1)
    state = chooser.init(jax.random.key(0), PARAMS, BIG)
    with pytest.raises(ValueError, match=f"the big batch has {LARGE} rows, fewer than the {LARGE + 1}"):
        chooser.select(state, jax.random.key(0), BIG)
