"Every gradient against an oracle that does not share its code: closed forms, finite differences."
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from adaptive_dist.method import rules, selector as selectors
from adaptive_dist.method.problem import Task, random_quadratic, same_loss
from adaptive_dist.method.rules import Losses, weighted_alignment
from adaptive_dist.method.weighting import bag_of_tokens, causal_cnn, mlp
from adaptive_dist.models.byte_transformer import ByteTransformer, ByteTransformerConfig
from adaptive_dist.models.layers import nats_per_token

def tanh_network(key, rows=12, specific_rows=7):
    "A smooth two-layer regression with a generic and a specific batch, in float64."
    k = jax.random.split(key, 6)
    def normal(key, *shape): return jax.random.normal(key, shape, jnp.float64)
    params = {"in": normal(k[0], 5, 8), "out": normal(k[1], 8)}
    def batch(a, b, n): return {"features": normal(a, n, 5), "y": normal(b, n)}
    def losses(p, batch): return (jnp.tanh(batch["features"] @ p["in"]) @ p["out"] - batch["y"])**2
    return params, batch(k[2], k[3], rows), batch(k[4], k[5], specific_rows), losses


def observed(params, generic, specific, losses, scores):
    del params
    def on_generic(p, some=slice(None)): return losses(p, jax.tree.map(lambda x: x[some], generic))
    return Losses(on_generic, lambda p: losses(p, specific), scores)


def objective(rule, params, generic, specific, losses, scores):
    "What a rule maximises over the scores, from explicit per-example gradients."
    def flat(tree, axes):
        return jnp.concatenate([x.reshape(*x.shape[:axes], -1) for x in jax.tree.leaves(tree)], -1)
    per_example = flat(jax.jacrev(lambda p: losses(p, generic))(params), 1)
    g_s = flat(jax.grad(lambda p: losses(p, specific).mean())(params), 0)
    g_w = jax.nn.softmax(scores) @ per_example
    return g_s @ g_w if rule == "dds" else g_s @ g_w/jnp.linalg.norm(g_w)


RULES = {"dds": rules.dds_rule, "anograd": rules.anograd_rule}


@pytest.mark.parametrize("name", RULES)
def test_weight_gradient_meets_float64_finite_differences(name, float64):
    params, generic, specific, losses = tanh_network(jax.random.key(0))
    network = mlp(widths=(6,))
    alpha = network.init(jax.random.key(1), generic)
    def normal(x): return jax.random.normal(jax.random.key(x.size), x.shape, jnp.float64)
    alpha = jax.tree.map(normal, alpha)
    scores, pull_back = jax.vjp(lambda a: network.score(a, generic), alpha)
    rule = RULES[name]()
    seen = observed(params, generic, specific, losses, scores)
    alignments, _, _ = rule.judge(rule.init(params), params, seen)
    pulled, = pull_back(jax.grad(weighted_alignment)(scores, alignments))
    gradient, _ = jax.flatten_util.ravel_pytree(pulled)
    at, unravel = jax.flatten_util.ravel_pytree(alpha)
    def value(a):
        scores = network.score(unravel(a), generic)
        return objective(name, params, generic, specific, losses, scores)
    step = 1e-5
    numeric = jnp.array([(value(at + step*e) - value(at - step*e))/(2*step)
                         for e in jnp.eye(at.size)])
    assert jnp.linalg.norm(-gradient - numeric) < 1e-6*jnp.linalg.norm(numeric)


@pytest.mark.parametrize("name", RULES)
def test_alignments_are_per_example_gradients_along_the_direction(name, float64):
    params, generic, specific, losses = tanh_network(jax.random.key(2))
    scores = jax.random.normal(jax.random.key(3), (12,), jnp.float64)
    rule = RULES[name]()
    seen = observed(params, generic, specific, losses, scores)
    alignments, _, _ = rule.judge(rule.init(params), params, seen)
    def gradient(loss): return jax.flatten_util.ravel_pytree(jax.grad(loss)(params))[0]
    flat = jnp.stack([gradient(lambda p, i=i: losses(p, generic)[i]) for i in range(12)])
    g_s = gradient(lambda p: losses(p, specific).mean())
    g_w = jax.nn.softmax(scores) @ flat
    norm = jnp.linalg.norm(g_w)
    u = -g_s if name == "dds" else -(g_s/norm - g_w @ g_s*g_w/norm**3)
    np.testing.assert_allclose(alignments, flat @ u, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("hvp", ["exact", "finite_difference"])
@pytest.mark.parametrize("damping", [0., .5])
def test_soba_meets_the_closed_form(hvp, damping, float64):
    n, d = 9, 4
    problem = random_quadratic(jax.random.key(0), n, d)
    problem = jax.tree.map(lambda x: x.astype(jnp.float64), problem)
    alpha = jax.random.normal(jax.random.key(1), (n,), jnp.float64)
    theta, everything = problem.theta_star(alpha), {"index": jnp.arange(n)}
    losses = Losses(lambda p, some=slice(None): problem.task.generic(p, everything, None)[some],
                    lambda p: problem.task.specific(p, jnp.zeros(1), None), alpha)
    rule = rules.soba_rule(hvp, damping=damping, v_optimizer=optax.sgd(.2))
    judge, state = jax.jit(lambda state: rule.judge(state, theta, losses)), rule.init(theta)
    for _ in range(400):
        alignments, state, info = judge(state)
    g_s = problem.specific_curvature @ (theta - problem.target)
    wanted = -jnp.linalg.solve(problem.hessian(alpha) + damping*jnp.eye(d), g_s)
    tolerance = 1e-10 if hvp == "exact" else 1e-3
    np.testing.assert_allclose(state.v, wanted, rtol=tolerance, atol=tolerance)
    if damping: return
    step = 1e-5
    numeric = [(problem.value(alpha + step*e) - problem.value(alpha - step*e))/(2*step)
               for e in jnp.eye(n)]
    np.testing.assert_allclose(jax.grad(weighted_alignment)(alpha, alignments), jnp.array(numeric),
                               rtol=10*tolerance, atol=1e-7 + tolerance)
    assert info.residual < 10*tolerance


def test_quadratic_closed_form_is_the_inner_solution():
    problem = random_quadratic(jax.random.key(5), 7, 3)
    alpha = jax.random.normal(jax.random.key(6), (7,))
    everything = {"index": jnp.arange(7)}
    def weighted(p): return jax.nn.softmax(alpha) @ problem.task.generic(p, everything, None)
    def step(_, theta): return theta - .2*jax.grad(weighted)(theta)
    theta = jax.lax.fori_loop(0, 2000, step, jnp.zeros(3))
    np.testing.assert_allclose(theta, problem.theta_star(alpha), atol=1e-5)


@pytest.fixture(scope="module")
def language():
    "Losses of a small byte transformer, in float32, with its parameters after some training."
    model = ByteTransformer(ByteTransformerConfig(
        layers=2, width=64, mlp_width=128, heads=4, length=48, dropout=0., dtype="float32"))
    data = jax.random.randint(jax.random.key(0), (3, 16, 48), 97, 123).astype(jnp.uint8)
    data = jnp.sort(data, axis=-1)
    params = model.init(jax.random.key(1), data[0])
    def losses(p, tokens): return nats_per_token(model.apply(p, tokens), tokens)
    optimizer = optax.adam(2e-3)
    @jax.jit
    def step(p, o):
        updates, o = optimizer.update(jax.grad(lambda p: losses(p, data[2]).mean())(p), o)
        return optax.apply_updates(p, updates), o
    state = optimizer.init(params)
    for _ in range(60):
        params, state = step(params, state)
    scores = jax.random.normal(jax.random.key(2), (16,))
    def generic(p, some=slice(None)): return losses(p, data[0][some])
    return params, Losses(generic, lambda p: losses(p, data[1]), scores)


def relative(a, b): return optax.tree.norm(optax.tree.sub(a, b))/optax.tree.norm(b)


@pytest.mark.slow
def test_finite_difference_agrees_with_exact_in_float32(language):
    params, losses = language
    _, g_s = rules.specific_gradient(losses, params)
    def both(p): return rules.generic_gradient(losses, p)
    exact = jax.jit(lambda u: rules.exact(both, params, u))
    approximate = jax.jit(lambda u: rules.finite_difference(both, params, u))
    random = jax.tree.map(lambda x: jax.random.normal(jax.random.key(x.size), x.shape), params)
    for direction in (g_s, jax.tree.map(lambda x: 1e3*x, g_s), random):
        (a_exact, hv_exact), (a, hv) = exact(direction), approximate(direction)
        assert relative(a, a_exact) < 1e-2
        assert relative(hv, hv_exact) < 1e-2


@pytest.mark.parametrize("make", [
    pytest.param(rules.dds_rule, marks=pytest.mark.slow), rules.anograd_rule, rules.soba_rule,
    pytest.param(lambda kind: rules.soba_rule(kind, curvature_rows=.5), marks=pytest.mark.slow)])
def test_alignments_of_both_derivatives_agree_over_several_judgements(make, language):
    params, losses = language
    found = {}
    for kind in rules.DERIVATIVES:
        rule = make(kind)
        state = rule.init(params)
        judge = jax.jit(lambda state, rule=rule: rule.judge(state, params, losses))
        for _ in range(3):
            found[kind], state, _ = judge(state)
    assert relative(found["finite_difference"], found["exact"]) < 1e-2


def test_hessian_product_is_the_hessian_times_v(float64):
    params, generic, specific, losses = tanh_network(jax.random.key(4))
    scores = jax.random.normal(jax.random.key(5), (12,), jnp.float64)
    seen = observed(params, generic, specific, losses, scores)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    hessian = jax.hessian(lambda x: jax.nn.softmax(scores) @ losses(unravel(x), generic))(flat)
    v = jax.random.normal(jax.random.key(6), flat.shape, jnp.float64)
    _, product = rules.exact(lambda p: rules.generic_gradient(seen, p), params, unravel(v))
    product, _ = jax.flatten_util.ravel_pytree(product)
    np.testing.assert_allclose(product, hessian @ v, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_soba_uses_v_in_its_very_first_judgement(language):
    params, losses = language
    rule = rules.soba_rule()
    alignments, _, _ = rule.judge(rule.init(params), params, losses)
    by_dds, _, _ = rules.dds_rule().judge((), params, losses)
    # v is one step of rate 0.01 from zero
    np.testing.assert_allclose(alignments, 1e-2*by_dds, rtol=1e-4, atol=1e-7)


def test_soba_without_curvature_is_dds_with_an_averaged_gradient(language):
    params, losses = language
    rate, damping = .1, 2.
    soba = rules.soba_rule("none", damping=damping, v_optimizer=optax.sgd(rate))
    dds = rules.dds_rule(ema_decay=1 - rate*damping)
    a, b = soba.init(params), dds.init(params)
    for _ in range(4):
        one, a, _ = soba.judge(a, params, losses)
        two, b, _ = dds.judge(b, params, losses)
    one, two = one/jnp.linalg.norm(one), two/jnp.linalg.norm(two)
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)


def test_average_is_bias_corrected():
    state = rules.start_average({"x": jnp.zeros(2)})
    for value in (1., 3.):
        mean, state = rules.averaged(state, {"x": jnp.full(2, value)}, .5)
    np.testing.assert_allclose(mean["x"], (.25*1 + .5*3)/.75)


def test_v_every_holds_v_between_updates(language):
    params, losses = language
    rule = rules.soba_rule(v_every=3)
    state, norms = rule.init(params), []
    judge = jax.jit(lambda state: rule.judge(state, params, losses))
    for _ in range(6):
        _, state, info = judge(state)
        norms.append(float(info.residual))
    assert np.isnan(norms).tolist() == [False, True, True]*2


@pytest.mark.parametrize("hvp", ["fisher", "fisher_exact"])
def test_fisher_product_meets_explicit_per_example_gradients(hvp, float64):
    params, generic, specific, losses = tanh_network(jax.random.key(0))
    scores = jax.random.normal(jax.random.key(1), (12,), jnp.float64)
    seen = observed(params, generic, specific, losses, scores)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    v = jax.random.normal(jax.random.key(2), flat.shape, jnp.float64)
    rows = [jax.tree.map(lambda x, i=i: x[i:i + 1], generic) for i in range(12)]
    gradients = [jax.grad(lambda p, row=row: losses(unravel(p), row)[0])(flat) for row in rows]
    weights = jax.nn.softmax(scores)
    product = sum(w*g*(g @ v) for w, g in zip(weights, gradients, strict=True))
    alignments, found = rules.alignments_and_product(seen, params, unravel(v), hvp, 1.)
    found = jax.flatten_util.ravel_pytree(found)[0]
    close = dict(rtol=1e-9) if hvp == "fisher_exact" else dict(rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(alignments, jnp.stack(gradients) @ v, **close)
    np.testing.assert_allclose(found, product, **close)
    assert found @ v > 0


@pytest.mark.parametrize("share", [.25, .5])
def test_fisher_product_of_some_rows_is_that_of_these_rows(share, float64):
    params, generic, specific, losses = tanh_network(jax.random.key(0))
    scores = jnp.linspace(-1., 1., 12, dtype=jnp.float64)
    count = round(12*share)
    some = jax.tree.map(lambda x: x[:count], generic)
    whole = observed(params, generic, specific, losses, scores)
    few = observed(params, some, specific, losses, scores[:count])
    v = jax.tree.map(jnp.ones_like, params)
    alignments, product = rules.alignments_and_product(whole, params, v, "fisher_exact", share)
    mine, wanted = rules.alignments_and_product(few, params, v, "fisher_exact", 1.)
    np.testing.assert_allclose(alignments[:count], mine, rtol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), product, wanted)
    assert alignments.shape == (12,)


def test_v_with_adam_is_adam_written_out():
    problem, n = random_quadratic(jax.random.key(0), n=6, d=3), 6
    alpha, theta = jnp.linspace(-1, 1, n), jnp.ones(3)
    everything = {"index": jnp.arange(n)}
    losses = Losses(lambda p, rows=slice(None): problem.task.generic(p, everything, None)[rows],
                    lambda p: problem.task.specific(p, jnp.zeros(1), None), alpha)
    def schedule(step): return .1*jnp.minimum((step + 1)/4, ((step + 1)/4)**-.5)
    rule = rules.soba_rule(v_optimizer=optax.adam(schedule, b2=.98))
    state = rule.init(theta)
    for _ in range(8):
        alignments, state, _ = rule.judge(state, theta, losses)
    hessian = np.asarray(problem.hessian(alpha), np.float64)
    g_s = np.asarray(problem.specific_curvature @ (theta - problem.target), np.float64)
    v, m, s = np.zeros(3), np.zeros(3), np.zeros(3)
    for t in range(9):  # the first judgement moves v twice
        before = v
        residual = hessian @ v + g_s
        m, s = .9*m + .1*residual, .98*s + .02*residual**2
        scaled = m/(1 - .9**(t + 1))/(np.sqrt(s/(1 - .98**(t + 1))) + 1e-8)
        v = v - float(schedule(t))*scaled
    np.testing.assert_allclose(state.v, v, rtol=1e-4)
    pulls = np.einsum("nij,nj->ni", problem.curvatures, theta - problem.centres)
    np.testing.assert_allclose(alignments, pulls @ before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("damping", [.5, 2.])
def test_v_arrives_at_the_damped_fisher_solution(damping, float64):
    params, generic, specific, losses = tanh_network(jax.random.key(0))
    seen = observed(params, generic, specific, losses, jnp.zeros(12))
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    gradients = jax.jacrev(lambda p: losses(unravel(p), generic))(flat)
    g_s = jax.grad(lambda p: losses(unravel(p), specific).mean())(flat)
    fisher = gradients.T @ gradients/12 + damping*jnp.eye(flat.size)
    rate = 1/float(jnp.linalg.eigvalsh(fisher)[-1])
    rule = rules.soba_rule("fisher_exact", damping=damping, v_optimizer=rate)
    state, _ = jax.lax.scan(lambda state, _: (rule.judge(state, params, seen)[1], None),
                            rule.init(params), length=int(20/rate/damping))
    found = jax.flatten_util.ravel_pytree(state.v)[0]
    np.testing.assert_allclose(found, -jnp.linalg.solve(fisher, g_s), rtol=1e-5)


def test_a_frozen_v_stays_and_goes_on_judging(language):
    params, losses = language
    rule = rules.soba_rule(v_freeze=2)
    judge = jax.jit(lambda state: rule.judge(state, params, losses))
    states, residuals = [rule.init(params)], []
    for _ in range(4):
        alignments, state, info = judge(states[-1])
        states.append(state)
        residuals.append(float(info.residual))
    assert np.isnan(residuals).tolist() == [False, False, True, True]
    same = [jax.tree.all(jax.tree.map(jnp.array_equal, a.v, b.v))
            for a, b in itertools.pairwise(states)]
    assert same == [False, False, True, True]
    wanted = rules.exact(losses.generic, params, state.v)
    np.testing.assert_allclose(alignments, wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "network", [causal_cnn(embedding=4, width=6, kernel=3), bag_of_tokens(width=6)])
def test_weighting_networks_meet_finite_differences(network, float64):
    batch = {"tokens": jax.random.randint(jax.random.key(0), (5, 20), 1, 256).astype(jnp.uint8)}
    def normal(x): return jax.random.normal(jax.random.key(x.size), x.shape, jnp.float64)
    alpha = jax.tree.map(normal, network.init(jax.random.key(1), batch))
    at, unravel = jax.flatten_util.ravel_pytree(alpha)
    def value(a): return jnp.sin(network.score(unravel(a), batch)).sum()
    direction = jax.random.normal(jax.random.key(2), at.shape, jnp.float64)
    step = 1e-6
    numeric = (value(at + step*direction) - value(at - step*direction))/(2*step)
    np.testing.assert_allclose(jax.grad(value)(at) @ direction, numeric, rtol=1e-6)


def test_same_loss_is_one_function():
    def loss(p, batch, key): return p*batch
    task = same_loss(loss)
    assert task.generic is task.specific is loss


def test_the_squared_error_is_that_of_numpy_and_ignores_a_constant(float64):
    scores, alignments = jax.random.normal(jax.random.key(0), (2, 9), jnp.float64)
    a, s = np.array(alignments), np.array(scores)
    wanted = (a.mean() - a)/a.std()
    error = np.mean((s - s.mean() - wanted)**2)
    np.testing.assert_allclose(rules.squared_error(scores, alignments), error, rtol=1e-4)
    np.testing.assert_allclose(rules.squared_error(scores + 5, alignments), error, rtol=1e-4)
    check_grads(lambda s: rules.squared_error(jnp.asarray(s), alignments), (scores,), 2)


def test_a_network_fitted_to_alignments_predicts_them():
    "On examples whose gradients do not change, in place of weights that only sharpen."
    features = jax.random.normal(jax.random.key(0), (64, 3))
    pull = features @ jnp.array([1., -2., .5])
    task = Task(lambda p, b, key: b["features"] @ jnp.array([1., -2., .5])*p,
                lambda p, b, key: jnp.ones(8)*p)
    selector = selectors.dds(task, mlp(), batch_size=8, generic_rows=64,
                             optimizer=optax.adam(1e-2), objective=rules.squared_error)
    big, specific, theta = {"features": features}, {"x": jnp.zeros(8)}, jnp.zeros(())
    state = selector.init(jax.random.key(1), theta, big)
    update = jax.jit(selector.update)
    for k in range(300):
        state, info = update(state, jax.random.key(k), theta, big, specific)
    assert info.correlation > .99
    scores = selector.score(state, big)
    np.testing.assert_allclose(scores.std(), 1, atol=.1)
    assert np.corrcoef(scores, pull)[0, 1] > .99
