"Directions that are solved for: against closed forms, and as an oracle of SOBA's on a network."
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from adaptive_dist.method import rules
from adaptive_dist.method.problem import random_quadratic
from adaptive_dist.method.rules import Losses
from adaptive_dist.method.solvers import (
    conjugate_gradients,
    damped_hessian,
    neumann,
    solver_rule,
)

ROWS, SIZE = 9, 4


def quadratic_losses():
    "Losses of a quadratic problem at the solution of its inner problem, and that solution."
    problem = random_quadratic(jax.random.key(0), ROWS, SIZE)
    problem = jax.tree.map(lambda x: x.astype(jnp.float64), problem)
    alpha = jax.random.normal(jax.random.key(1), (ROWS,), jnp.float64)
    everything = {"index": jnp.arange(ROWS)}
    losses = Losses(lambda p, some=slice(None): problem.task.generic(p, everything, None)[some],
                    lambda p: problem.task.specific(p, jnp.zeros(1), None), alpha)
    return problem, losses, problem.theta_star(alpha)


@pytest.mark.parametrize("solve", [neumann(600, .2), conjugate_gradients(SIZE)])
@pytest.mark.parametrize("damping", [0., .5])
def test_the_directions_of_both_meet_the_closed_form(solve, damping, float64):
    problem, losses, theta = quadratic_losses()
    alignments, _, info = jax.jit(lambda: solver_rule(solve, damping).judge((), theta, losses))()
    g_s = problem.specific_curvature @ (theta - problem.target)
    curvature = problem.hessian(losses.scores) + damping*jnp.eye(SIZE)
    u = -jnp.linalg.solve(curvature, g_s)
    gradients = jax.jacobian(losses.generic)(theta)
    np.testing.assert_allclose(alignments, gradients @ u, rtol=1e-9, atol=1e-10)
    assert info.residual < 1e-9
    np.testing.assert_allclose(info.direction_norm, jnp.linalg.norm(u))


@pytest.mark.parametrize("terms", [0, 1, 3])
def test_the_series_is_cut_where_it_says(terms, float64):
    problem, losses, theta = quadratic_losses()
    curvature = problem.hessian(losses.scores)
    g, shrink = jnp.arange(1., SIZE + 1), jnp.eye(SIZE) - .2*curvature
    wanted = -.2*sum(jnp.linalg.matrix_power(shrink, k) @ g for k in range(terms + 1))
    product = damped_hessian(losses, theta, 0., slice(None))
    np.testing.assert_allclose(neumann(terms, .2)(product, g), wanted, rtol=1e-12)


def test_products_are_those_of_the_rows_asked_for(float64):
    problem, losses, theta = quadratic_losses()
    product = damped_hessian(losses, theta, 0., slice(0, 5))
    weights = jax.nn.softmax(losses.scores[:5])
    wanted = jnp.einsum("n,nij->ij", weights, problem.curvatures[:5])
    np.testing.assert_allclose(jax.vmap(product)(jnp.eye(SIZE)), wanted, rtol=1e-10)


@pytest.mark.slow
def test_the_v_of_soba_settles_where_conjugate_gradients_end(float64):
    "On a network of two layers, at parameters that stay, with a damping that keeps it convex."
    keys = jax.random.split(jax.random.key(0), 6)
    inputs, other = jax.random.normal(keys[0], (16, 5)), jax.random.normal(keys[1], (8, 5))
    wanted, others = jax.random.normal(keys[2], (16,)), jax.random.normal(keys[3], (8,))
    params = {"in": jax.random.normal(keys[4], (5, 6))/2, "out": jax.random.normal(keys[5], (6,))/2}
    def loss(p, x, y): return (jnp.tanh(x @ p["in"]) @ p["out"] - y)**2
    losses = Losses(lambda p, some=slice(None): loss(p, inputs[some], wanted[some]),
                    lambda p: loss(p, other, others), jnp.zeros(16))
    solved = jax.jit(lambda: solver_rule(conjugate_gradients(36), 3.).judge((), params, losses))()
    assert solved[2].residual < 1e-6
    rule = rules.soba_rule(damping=3., v_optimizer=optax.sgd(.03))
    judge, state = jax.jit(lambda state: rule.judge(state, params, losses)), rule.init(params)
    for _ in range(2_000):
        alignments, state, info = judge(state)
    assert info.residual < 1e-6
    np.testing.assert_allclose(alignments, solved[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("options", "essential"), [
    ({"damping": -1.}, "damping=-1.0 must be at least 0"),
    ({"curvature_rows": 0.}, "curvature_rows=0.0 must be a share")])
def test_settings_out_of_range_are_refused(options, essential):
    with pytest.raises(ValueError, match=essential):
        solver_rule(neumann(1, .1), **options)
