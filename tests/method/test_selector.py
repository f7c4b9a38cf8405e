"Algorithm 1 as a whole: every selector on one small problem, and the known bilevel optimum."
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import adaptive_dist.method.selector as selectors
from adaptive_dist.method.baselines import cds, classifier, replay
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


HALVES = batch_of(jax.random.key(0), LARGE//2, 1.), batch_of(jax.random.key(1), LARGE//2, -1.)
BIG = jax.tree.map(lambda *x: jnp.concatenate(x), *HALVES)
SPECIFIC = batch_of(jax.random.key(2), SMALL, 1.)
PARAMS = {"w": .1 + .1*jnp.arange(4.)}

TASK, NETWORK = same_loss(regression), mlp(widths=(4,))


def uniform(task, network, *, batch_size, optimizer=None):
    return selectors.uniform(batch_size=batch_size)


SELECTORS = {  # what makes each, with settings of its own; all are made by `make`
    "uniform": (uniform, {}),
    "dds": (selectors.dds, {}),
    "dds averaged": (selectors.dds, {"ema_decay": .9}),
    "dds finite": (selectors.dds, {"derivative": "finite_difference"}),
    "anograd": (selectors.anograd, {}),
    "anograd averaged": (selectors.anograd, {"ema_decay": .9}),
    "soba": (selectors.soba, {}),
    "soba finite": (selectors.soba, {"hvp": "finite_difference", "curvature_rows": .5}),
    "soba none": (selectors.soba, {"hvp": "none", "damping": 1.}),
    "soba lazy v": (selectors.soba, {"v_every": 2}),
    "lazy": (selectors.dds, {"update_every": 2}),
}


def make(name, **options):
    function, own = SELECTORS[name]
    return function(TASK, NETWORK, **{**own, **options})


@pytest.mark.parametrize("name", SELECTORS)
def test_selects_learns_and_compiles_once(name):
    chooser: Selector = make(name, batch_size=SMALL, optimizer=optax.adam(.03))
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
    def shapes(state): return jax.tree.map(lambda x: (jnp.shape(x), jnp.asarray(x).dtype), state)
    like = shapes(state)
    right = []
    for i in range(120):
        params, state, picked, weights, _ = step(params, state, jax.random.key(i))
        assert len(set(picked.tolist())) == SMALL and jnp.allclose(weights.sum(), 1)
        right.append(float((picked < LARGE//2).mean()))
    assert len(traces) == 1
    assert shapes(state) == like
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(state))
    if name == "uniform":
        assert abs(np.mean(right) - .5) < .06
    else:  # the useful half must be picked more often than at the start
        assert np.mean(right[:4]) < .75 and np.mean(right[-40:]) > .6


@pytest.mark.parametrize("name", [n for n in SELECTORS if n != "uniform"])
def test_starts_uniform(name):
    chooser = make(name, batch_size=SMALL)
    state = chooser.init(jax.random.key(0), PARAMS, BIG)
    assert jnp.ptp(chooser.score(state, BIG)) == 0


@pytest.mark.parametrize("name", SELECTORS)
def test_is_a_pure_function_of_its_key(name):
    chooser = make(name, batch_size=SMALL)
    def once(key):
        state = chooser.init(jax.random.key(0), PARAMS, BIG)
        return chooser.update(state, key, PARAMS, BIG, SPECIFIC), chooser.select(state, key, BIG)
    one, again, other = (once(jax.random.key(seed)) for seed in (1, 1, 2))
    def same(a, b): return bool(jnp.array_equal(a, b, equal_nan=True))
    assert jax.tree.all(jax.tree.map(same, one, again))
    assert not jnp.array_equal(one[1].picked, other[1].picked)


def converge(make, steps, **options):
    "Full-batch Algorithm 1 on a closed-form problem: specific loss at the end over the uniform."
    n = 8
    problem = random_quadratic(jax.random.key(0), n, d=3)
    everything, specific = {"index": jnp.arange(n)}, jnp.zeros(1)
    free = mlp(lambda batch: jax.nn.one_hot(batch["index"], n), widths=())
    def everyone(key, scores, size): return Selection(jnp.arange(size), jax.nn.softmax(scores))
    chooser = make(problem.task, free, batch_size=n, filter=everyone, **options)
    def step(carry, key):
        theta, state = carry
        picked, weights = chooser.select(state, key, everything)
        def loss(p): return weights @ problem.task.generic(p, rows(everything, picked), key)
        theta -= .2*jax.grad(loss)(theta)
        state, _ = chooser.update(state, key, theta, everything, specific)
        return (theta, state), None
    start = jnp.zeros(3), chooser.init(jax.random.key(1), jnp.zeros(3), everything)
    keys = jax.random.split(jax.random.key(2), steps)
    (theta, state), _ = jax.jit(lambda: jax.lax.scan(step, start, keys))()
    end = problem.task.specific(theta, specific, None)[0]
    return problem, theta, state, end/problem.value(jnp.zeros(n))


def test_soba_loop_reaches_the_known_optimum():
    problem, theta, state, ratio = converge(
        selectors.soba, 5000, optimizer=optax.sgd(.3), v_optimizer=optax.sgd(.2))
    assert ratio < 1e-5
    np.testing.assert_allclose(theta, problem.target, atol=1e-2)
    np.testing.assert_allclose(theta, problem.theta_star(state.alpha["out"]), atol=1e-2)


def test_soba_loop_from_sampled_batches_gets_close():
    "With batches drawn by the filter, from 64 generic examples in a big batch of 32."
    n = 64
    problem = random_quadratic(jax.random.key(4), n, d=3)
    free = mlp(lambda batch: jax.nn.one_hot(batch["index"], n), widths=())
    chooser = selectors.soba(problem.task, free, batch_size=8, generic_rows=16,
                             optimizer=optax.adam(.03), v_optimizer=optax.sgd(.05))
    def step(carry, key):
        theta, state, at = carry
        keys = jax.random.split(key, 3)
        big = {"index": jax.random.permutation(keys[0], n)[:32]}
        picked, weights = chooser.select(state, keys[1], big)
        def loss(p): return weights @ problem.task.generic(p, rows(big, picked), key)
        theta -= .2/(1 + at/300)*jax.grad(loss)(theta)
        state, _ = chooser.update(state, keys[2], theta, big, jnp.zeros(1))
        return (theta, state, at + 1), problem.task.specific(theta, jnp.zeros(1), key)[0]
    state = chooser.init(jax.random.key(1), jnp.zeros(3), {"index": jnp.arange(n)})
    start, keys = (jnp.zeros(3), state, 0.), jax.random.split(jax.random.key(2), 4000)
    _, losses = jax.jit(lambda: jax.lax.scan(step, start, keys))()
    assert losses[-400:].mean() < .2*problem.value(jnp.zeros(n))


def test_generic_and_specific_may_be_different_tasks():
    def size(p, batch, key): return jnp.abs(p["w"]).sum()*jnp.ones(len(batch["y"]))
    chooser = selectors.dds(Task(generic=regression, specific=size), mlp(), batch_size=4)
    state = chooser.init(jax.random.key(0), PARAMS, BIG)
    _, info = chooser.update(state, jax.random.key(1), PARAMS, BIG, SPECIFIC)
    norm = jnp.linalg.norm(jnp.sign(PARAMS["w"]))
    assert jnp.allclose(info.rule.specific_gradient_norm, norm)


WRONG = [
    (lambda p, b, k: regression(p, b, k).mean(), "whole batch: leave out the mean"),
    (lambda p, b, k: regression(p, b, k)[:, None], "a column: drop its last axis"),
    (lambda p, b, k: jnp.ones((len(b["y"]), 5)), "take the mean over all axes but the first"),
    (lambda p, b, k: regression(p, b, k)[1:], "as many losses as the batch has rows"),
    (lambda p, b, k: regression(p, b, k).astype(int), "compute the losses in floating point"),
    (lambda p, b, k: (regression(p, b, k), 1.), "return the losses alone"),
    (lambda p, b: regression(p, b, None), "a loss without randomness ignores the key"),
]


@pytest.mark.parametrize(("loss", "advice"), WRONG)
def test_a_wrong_loss_ends_with_one_line_that_says_what_to_do(loss, advice):
    with pytest.raises(ValueError, match=f"the specific loss must .*{advice}") as raised:
        check_task(Task(regression, loss), PARAMS, BIG, SPECIFIC)
    assert "\n" not in str(raised.value)
    state = make("dds", batch_size=SMALL).init(jax.random.key(0), PARAMS, BIG)
    with pytest.raises(ValueError, match=f"the specific loss must .*{advice}"):
        chooser = selectors.dds(Task(regression, loss), NETWORK, batch_size=SMALL)
        chooser.update(state, jax.random.key(1), PARAMS, BIG, SPECIFIC)
    with pytest.raises(ValueError, match=f"the generic loss must .*{advice}"):
        chooser = selectors.anograd(Task(loss, regression), NETWORK, batch_size=SMALL)
        chooser.init(jax.random.key(0), PARAMS, BIG)


@pytest.mark.parametrize(("network", "message"), [
    (mlp(lambda batch: batch["embedding"]), "field 'embedding', and the batch has 'features', 'y'"),
    (NETWORK._replace(score=lambda a, b: b["features"]), r"float\[48\]; it gave float32\[48, 4\]"),
])
@pytest.mark.parametrize("make", [
    lambda network: selectors.dds(TASK, network, batch_size=SMALL),
    lambda network: classifier(network, batch_size=SMALL)])
def test_a_wrong_score_ends_with_one_line(make, network, message):
    with pytest.raises(ValueError, match=message) as raised:
        make(network).init(jax.random.key(0), PARAMS, BIG)
    assert "\n" not in str(raised.value)


def test_selectors_say_what_they_have():
    adaptive, plain = make("dds", batch_size=SMALL), make("uniform", batch_size=SMALL)
    assert plain.score is None and plain.network is None
    state = adaptive.init(jax.random.key(0), PARAMS, BIG)
    assert adaptive.network(state) is state.alpha
    told = classifier(NETWORK, batch_size=SMALL)
    learnt = told.network(told.init(jax.random.key(0), PARAMS, BIG))
    assert told.score and learnt.keys() == {"hidden", "out"}
    assert cds(batch_size=SMALL).score and cds(batch_size=SMALL).network is None
    replayed = replay(NETWORK, jax.tree.map(lambda x: x[None], state.alpha), batch_size=SMALL)
    assert replayed.score and replayed.network is None
    assert {x.name for x in (adaptive, plain, told, replayed)} == {"custom"}
    assert adaptive._replace(name="mine").name == "mine"


@pytest.mark.parametrize("options, message", [
    ({"batch_size": 0}, "batch_size=0 must be at least 1"),
    ({"batch_size": 4, "update_every": 0}, "update_every=0"),
    ({"batch_size": 4, "generic_rows": -1}, "generic_rows=-1"),
])
def test_sizes_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make("dds", **options)


def test_a_big_batch_that_is_too_small_is_refused():
    chooser = make("dds", batch_size=LARGE + 1)
    state = chooser.init(jax.random.key(0), PARAMS, BIG)
    message = f"the big batch has {LARGE} rows, fewer than the {LARGE + 1}"
    with pytest.raises(ValueError, match=message):
        chooser.select(state, jax.random.key(0), BIG)
