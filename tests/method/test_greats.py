"The greedy batch: against losses that are really computed, and by gradients from closed forms."
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from adaptive_dist.method import selector as selectors
from adaptive_dist.method.contrast import Judge
from adaptive_dist.method.greats import greats, greedy_choice
from adaptive_dist.method.problem import Task, same_loss
from adaptive_dist.method.projection import project, random_projection, row_gradients

ROWS, SIZE, RATE = 9, 3, .4


def gradients_and_target():
    rng = np.random.default_rng(0)
    return rng.normal(size=(ROWS, 4)), rng.normal(size=4)


def gained(gradients, target, rows, curvature):
    "What a step of rate `RATE` on the mean of `SIZE` rows, of which these are some, really gains."
    def loss(theta): return .5*curvature*((theta - target/curvature)**2).sum()
    return loss(np.zeros(4)) - loss(-RATE/SIZE*gradients[list(rows)].sum(0))


@pytest.mark.parametrize("curvature", [.5, 2.])
def test_each_row_taken_is_the_one_that_lowers_the_loss_most(curvature, float64):
    gradients, target = gradients_and_target()
    helps, products = jnp.array(gradients @ -target), jnp.array(gradients @ gradients.T)
    rows, taken = greedy_choice(helps, products, SIZE, RATE*curvature).tolist(), []
    for _ in range(SIZE):
        rest = [i for i in range(ROWS) if i not in taken]
        taken.append(max(rest, key=lambda i: gained(gradients, target, [*taken, i], curvature)))
    assert rows == taken


def test_the_batch_of_redundancy_one_comes_close_to_the_target_gradient(float64):
    gradients, target = gradients_and_target()
    products = jnp.array(gradients @ gradients.T)
    rows = greedy_choice(jnp.array(gradients @ target), products, SIZE, 1.).tolist()
    def distance(some): return np.linalg.norm(gradients[list(some)].mean(0) - target)
    every = sorted(map(distance, itertools.combinations(range(ROWS), SIZE)))
    assert distance(rows) <= every[len(every)//20]


def test_without_redundancy_the_best_alone_are_taken_in_order():
    helps = jnp.array([.1, .7, -.2, .9, .3])
    assert greedy_choice(helps, jnp.eye(5), 3, 0.).tolist() == [3, 1, 4]


def test_a_projection_of_full_rank_is_exact_and_counters_have_no_gradient(float64):
    params = {"w": jnp.ones((2, 3, 2)), "b": jnp.ones(2), "s": jnp.ones(()), "n": jnp.array(1)}
    def loss(p, batch):
        return p["s"]*jnp.tanh(jnp.einsum("ri,jik->rk", batch, p["w"]) + p["b"]).sum(1)*p["n"]
    batch = jax.random.normal(jax.random.key(0), (5, 3), jnp.float64)
    projection = random_projection(jax.random.key(1), params, 6)
    found = row_gradients(loss, params, batch, projection, block=2)
    whole = jax.jacobian(lambda p: loss({**p, "n": 1}, batch))(
        {name: params[name] for name in "wbs"})
    flat = np.concatenate([np.reshape(whole[name], (5, -1)) for name in ("b", "s", "w")], 1)
    np.testing.assert_allclose(found @ found.T, flat @ flat.T, rtol=1e-10)
    one = project(projection, {**jax.tree.map(lambda x: x[0], whole), "n": None})
    np.testing.assert_allclose(one, found[0], rtol=1e-10)


def test_with_a_step_on_what_it_takes_the_target_is_reached_and_other_rows_are_not():
    "Two kinds of rows with a slope each, of which the target has one; with a judge that trains."
    def loss(p, batch, key): return (p["slopes"][batch["kind"]]*batch["x"] - batch["y"])**2
    def rows(key, kind):
        x = jax.random.normal(jax.random.key(key), (len(kind),))
        return {"x": x, "y": (2*kind - 1)*x, "kind": kind}
    task = same_loss(loss)
    judge = Judge(lambda key, batch: {"slopes": jnp.zeros(2)}, task)
    specific, shares = rows(0, jnp.ones(8, int)), []
    for whose in (None, judge):
        chosen = greats(task, batch_size=8, redundancy=.1, judge=whose, ema_decay=.5,
                        judge_optimizer=optax.sgd(.01))
        state = selectors.algorithm_init(jax.random.key(0), {"slopes": jnp.zeros(2)}, chosen,
                                         optax.sgd(.01), rows(1, jnp.ones(1, int)))
        step = jax.jit(selectors.algorithm_step(task, chosen, optax.sgd(.01)))
        for k in range(12):
            big = rows(k + 2, jnp.arange(32) % 2)
            state, info = step(state, jax.random.key(k), big, specific)
            shares.append(float(big["kind"][info.picked].mean()))
        assert np.mean(shares[-11:]) > .95
        assert state.params["slopes"][1] > 2*abs(state.params["slopes"][0])


@pytest.mark.parametrize("options, said", [
    (dict(redundancy=-1.), "redundancy=-1.0"), (dict(rank=0), "rank=0"),
    (dict(ema_decay=1.), "ema_decay=1.0")])
def test_settings_out_of_range_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        greats(Task(None, None), batch_size=2, **options)
