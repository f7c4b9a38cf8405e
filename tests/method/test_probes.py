"Probes against explicit per-example gradients, a Hessian written out, and float64 differences."
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_rules import tanh_network

from adaptive_dist.method import probes
from adaptive_dist.method.check.estimates import mean_gradient
from adaptive_dist.method.probes import HeldOut, Said
from adaptive_dist.method.rules import Equation

@pytest.fixture
def network(float64):
    params, generic, specific, losses = tanh_network(jax.random.key(0), rows=12, specific_rows=6)
    held = HeldOut(losses, losses, generic, specific, generic_block=4, specific_block=3)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    direction = jax.random.normal(jax.random.key(7), flat.shape, jnp.float64)
    scores = jnp.linspace(-1., 1., 12, dtype=jnp.float64)
    return held, params, flat, unravel, direction, scores


def difference(f, at, direction, step=1e-5):
    return (f(at + step*direction) - f(at - step*direction))/(2*step)


def test_alignments_meet_float64_differences(network):
    held, params, flat, unravel, u, _ = network
    numeric = difference(lambda p: held.generic(unravel(p), held.generic_rows), flat, u)
    found = probes.alignments_along(held, params, unravel(u))
    np.testing.assert_allclose(found, numeric, rtol=1e-7, atol=1e-8)


def test_curvature_products_meet_matrices_written_out(network):
    held, params, flat, unravel, v, scores = network
    weights = jax.nn.softmax(scores)
    def weighted(p): return weights @ held.generic(unravel(p), held.generic_rows)
    gradients = jax.jacrev(lambda p: held.generic(unravel(p), held.generic_rows))(flat)
    wanted = {"exact": jax.hessian(weighted)(flat) @ v,
              "fisher": sum(w*g*(g @ v) for w, g in zip(weights, gradients, strict=True)),
              "none": 0*v}
    for kind, product in wanted.items():
        found = probes.curvature_product(held, params, unravel(v), kind, weights)
        found = jax.flatten_util.ravel_pytree(found)[0]
        np.testing.assert_allclose(found, product, rtol=1e-9, atol=1e-12)
    # and the Hessian's by differences of gradients
    numeric = difference(jax.grad(weighted), flat, v)
    np.testing.assert_allclose(wanted["exact"], numeric, rtol=1e-6, atol=1e-8)


def test_every_number_of_a_probe_meets_its_definition(network):
    held, params, flat, unravel, v, scores = network
    weights, damping, rate = jax.nn.softmax(scores), .3, .05
    def generic(p): return held.generic(unravel(p), held.generic_rows)
    def specific(p): return held.specific(unravel(p), held.specific_rows).mean()
    per_example, g_s = jax.jacrev(generic)(flat), jax.grad(specific)(flat)
    hessian = jax.hessian(lambda p: weights @ generic(p))(flat)
    said = Said(scores, lambda g_s, g_w: unravel(v), Equation("exact", damping, rate))
    before = jax.random.normal(jax.random.key(3), (2, 12))
    memory = probes.ProbeMemory(*before, unravel(2*v + g_s))
    found, after = probes.probe(held, params, said, memory, jnp.array(True))
    def r(a, b): return np.corrcoef(a, b)[0, 1]
    def cosine(a, b): return a @ b/np.linalg.norm(a)/np.linalg.norm(b)
    curvature = v @ hessian @ v/(v @ v)
    wanted = {
        "rule_correlation": r(scores, -per_example @ v),
        "gradient_correlation": r(scores, per_example @ g_s),
        "rule_persistence": r(per_example @ v, before[0]),
        "gradient_persistence": r(-per_example @ g_s, before[1]),
        "cosine": cosine(v, -g_s), "old": cosine(v, 2*v + g_s), "curvature": curvature,
        "memory": 1/(rate*(damping + curvature)) if damping + curvature > 0 else np.inf,
        "residual": np.linalg.norm(hessian @ v + damping*v + g_s)/np.linalg.norm(g_s),
        "hessian_residual": np.linalg.norm(hessian @ v + g_s)/np.linalg.norm(g_s)}
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(after.by_rule, per_example @ v, rtol=1e-9)
    np.testing.assert_allclose(after.by_gradient, -per_example @ g_s, rtol=1e-9)


def test_blocks_do_not_matter(network):
    held, params, *_, scores = network
    said = Said(scores, lambda g_s, g_w: g_w, Equation("fisher", 1., .1))
    start = probes.no_memory(params, 12, carried=True)
    whole = held._replace(generic_block=12, specific_block=6)
    one, two = (probes.probe(h, params, said, start, jnp.array(False))[0] for h in (held, whole))
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-9, err_msg=name)
    g_s = mean_gradient(held.specific, params, held.specific_rows, 3)
    np.testing.assert_allclose(
        probes.tree_cosine(g_s, jax.grad(
            lambda p: held.specific(p, held.specific_rows).mean())(params)), 1.)
