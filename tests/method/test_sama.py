"SAMA: what an optimizer answers to a direction, against closed forms and differences."
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from adaptive_dist.method import rules
from adaptive_dist.method.problem import same_loss
from adaptive_dist.method.sama import sama_rule, sensitivity
from adaptive_dist.method.selector import adaptive, algorithm_init, algorithm_step
from adaptive_dist.method.weighting import mlp

RATE = .1
PARAMS = {"a": jnp.array([1., -2., .5]), "b": jnp.array([[.3, -.4], [.1, .2]])}
CLIPPED = optax.chain(optax.clip_by_global_norm(.5), optax.adam(RATE))
OPTIMIZERS = {
    "momentum": optax.sgd(RATE, momentum=.9), "clipped adam": CLIPPED, "lamb": optax.lamb(RATE)}


def drawn(key):
    "A tree like `PARAMS` of standard normal numbers."
    return jax.tree.map(lambda x: jax.random.normal(jax.random.fold_in(key, x.size), x.shape,
                                                    jnp.float64), PARAMS)


def test_adam_without_bias_correction_meets_the_closed_form(float64):
    adam, one = optax.adam(.01, b1=.9, b2=.999, eps=0.), jnp.ones(())
    state, rest = adam.init(one)
    state = state._replace(count=jnp.array(10**6), mu=.1*one, nu=.04*one)
    answer = sensitivity(adam, one, (state, rest), .5*one)(one)
    np.testing.assert_allclose(answer, .0049001108, atol=5e-11)
    m, v = .9*.1 + .1*.5, .999*.04 + .001*.25
    wanted = .01*(.1/v**.5 - m*.001*.5/v**1.5)
    np.testing.assert_allclose(answer, wanted, rtol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_answers_as_differences_of_its_steps_say(name, float64):
    optimizer = OPTIMIZERS[name]
    first, gradient, direction, change = map(drawn, jax.random.split(jax.random.key(0), 4))
    params = jax.tree.map(lambda x: x.astype(jnp.float64), PARAMS)

    @jax.jit
    def answer_and_difference():
        _, state = optimizer.update(first, optimizer.init(params), params)
        def loss(size):
            changed = optax.tree.add_scale(gradient, size, change)
            return optax.tree.vdot(direction, optimizer.update(changed, state, params)[0])
        answer = sensitivity(optimizer, params, state, gradient)(direction)
        return optax.tree.vdot(answer, change), (loss(-1e-5) - loss(1e-5))/2e-5

    np.testing.assert_allclose(*answer_and_difference(), rtol=1e-7)


def test_the_transpose_matters_where_gradients_are_clipped(float64):
    "Adam's derivative is symmetric, that of a chain with clipping is not."
    first, gradient, direction = map(drawn, jax.random.split(jax.random.key(1), 3))

    @jax.jit
    def both_ways():
        found = {}
        for name in ("adam", "clipped adam"):
            optimizer = CLIPPED if name == "clipped adam" else optax.adam(RATE)
            _, state = optimizer.update(first, optimizer.init(PARAMS), PARAMS)
            def step(g, update=optimizer.update, state=state): return update(g, state, PARAMS)[0]
            answer = sensitivity(optimizer, PARAMS, state, gradient)(direction)
            found[name] = answer["b"], -jax.jvp(step, (gradient,), (direction,))[1]["b"]
        return found

    same = {name: np.allclose(*ways, rtol=1e-9) for name, ways in both_ways().items()}
    assert same == {"adam": True, "clipped adam": False}


def test_a_parameter_that_never_moved_does_not_answer():
    adam, params = optax.adam(RATE), {"w": jnp.ones(2), "steps": jnp.array(3)}
    learnable = {"w": params["w"], "steps": None}
    gradient = {"w": jnp.array([1., 0.]), "steps": None}
    answer = sensitivity(adam, params, adam.init(learnable), gradient)(gradient)
    assert answer["w"][1] == 0 and np.isfinite(answer["w"]).all() and answer["steps"] is None


TASK = same_loss(lambda w, batch, key: (batch["features"] @ w - batch["y"])**2)


def batch_of(key, rows):
    features = jax.random.normal(key, (rows, 4))
    return {"features": features, "y": features @ jnp.arange(4.)}


def after_a_step(rule, through=True):
    "The state after a step of Algorithm 1 with plain gradient descent on both levels."
    selector = adaptive(TASK, mlp(widths=()), rule, batch_size=8, optimizer=optax.sgd(1.))
    if not through:
        selector = selector._replace(through=None)
    big, specific, key = batch_of(jax.random.key(0), 16), batch_of(jax.random.key(1), 8), 2
    start = algorithm_init(jax.random.key(key), jnp.zeros(4), selector, optax.sgd(RATE), big)
    step = algorithm_step(TASK, selector, optax.sgd(RATE))
    return jax.jit(step)(start, jax.random.key(key), big, specific)[0]


def test_with_plain_gradient_descent_it_is_dds_times_the_rate():
    by_dds, by_sama = (after_a_step(make()).selector.alpha["out"]
                       for make in (rules.dds_rule, sama_rule))
    assert np.abs(by_dds).max() > 1
    np.testing.assert_allclose(by_sama, RATE*by_dds, rtol=1e-5)


def test_rules_that_do_not_ask_take_the_same_steps_to_the_bit():
    seen, unseen = (after_a_step(rules.anograd_rule(), through) for through in (True, False))
    assert jax.tree.all(jax.tree.map(jnp.array_equal, seen, unseen))
