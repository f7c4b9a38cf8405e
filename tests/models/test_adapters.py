"""Adapters: gradients by finite differences, full rank against full training, what is refused."""
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from adaptive_dist.config.errors import UsageError
from adaptive_dist.method import rules
from adaptive_dist.method.problem import merge_params, split_params
from adaptive_dist.models.adapters import Adapted, frozen, thawed
from adaptive_dist.models.decoder import family_of

LLAMA = {"model_type": "llama", "vocab_size": 13, "hidden_size": 8, "intermediate_size": 12,
         "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
         "max_position_embeddings": 8}
TOKENS = jnp.array([[3, 5, 1, 7], [2, 2, 9, 4]])


def adapted_llama(**options):
    "A small Llama with adapters that are not zero, and its loss of learnable parameters."
    family = family_of(LLAMA)
    adapted = Adapted(family.module(family.config(LLAMA)), rank=2, **options)
    params = jax.jit(adapted.init)(jax.random.key(0), TOKENS)
    rng = np.random.default_rng(1)
    params["adapters"] = jax.tree.map(
        lambda x: x + rng.normal(size=x.shape).astype(np.float32)*.1, params["adapters"])
    learnable, carried = split_params(params)

    def loss(learnable):
        logits = adapted.apply(merge_params(learnable, carried), TOKENS)
        return optax.softmax_cross_entropy_with_integer_labels(logits, TOKENS).mean(1)

    return adapted, params, learnable, loss


def test_gradients_of_adapters_are_those_of_finite_differences():
    _, _, learnable, loss = adapted_llama(targets=("q_proj", "down_proj"))
    mean = jax.jit(lambda p: loss(p).mean())
    gradient = jax.jit(jax.grad(mean))(learnable)
    rng = np.random.default_rng(2)
    for _ in range(3):
        along = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), learnable)
        sides = (jax.tree.map(lambda p, u: p + sign*3e-3*u, learnable, along)  # noqa: B023
                 for sign in (1, -1))
        high, low = map(mean, sides)
        found = optax.tree.vdot(gradient, along)
        np.testing.assert_allclose(found, (high - low)/6e-3, rtol=.02, atol=1e-3)


def test_hessian_products_live_in_the_space_of_adapters():
    _, params, learnable, loss = adapted_llama(targets=("q_proj",))
    losses = rules.Losses(lambda p, some=slice(None): loss(p)[some], loss, jnp.zeros(2))
    v = jax.tree.map(lambda x: x + .1, learnable)
    sizes = [x.size for x in jax.tree.leaves(params["adapters"])]
    assert [x.size for x in jax.tree.leaves(rules.soba_rule().init(learnable).v)] == sizes

    @jax.jit
    def both(p):
        found = rules.alignments_and_product(losses, p, v, "exact", 1.)
        steps = (optax.tree.add_scale(p, sign*3e-3, v) for sign in (1, -1))
        (high, up), (low, down) = ((loss(q), jax.grad(lambda r: loss(r).mean())(q)) for q in steps)
        return found, ((high - low)/6e-3, optax.tree.scale(1/6e-3, optax.tree.sub(up, down)))

    (alignments, product), (slopes, bend) = both(learnable)
    np.testing.assert_allclose(alignments, slopes, atol=2e-3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), product, bend)


def test_full_rank_reaches_what_full_training_reaches():
    "A convex toy: the least squares of a linear layer have one lowest loss."
    rng = np.random.default_rng(0)
    x = jnp.array(rng.normal(size=(64, 5)), jnp.float32)
    y = x @ rng.normal(size=(5, 3)) + rng.normal(size=(64, 3))*.1
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, use_bias=False, name="layer")(x)

    model = Model()
    adapted = Adapted(model, rank=5, alpha=5.)
    start = adapted.init(jax.random.key(0), x)

    def trained(apply, params):
        optimizer = optax.adam(.02)
        learnable, carried = split_params(params)

        def loss(p): return ((apply(merge_params(p, carried), x) - y)**2).mean()

        def step(state, _):
            p, opt = state
            updates, opt = optimizer.update(jax.grad(loss)(p), opt)
            return (optax.apply_updates(p, updates), opt), None

        run = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), length=1_500)[0])
        p, _ = run(learnable)
        return merge_params(p, carried), loss(p)

    full, lowest = trained(model.apply, thawed(start["base"]))
    low_rank, found = trained(adapted.apply, start)
    np.testing.assert_allclose(found, lowest, rtol=1e-4)
    merged = adapted.merged(low_rank)["params"]["layer"]["kernel"]
    np.testing.assert_allclose(merged, full["params"]["layer"]["kernel"], atol=2e-3)
    assert (low_rank["base"]["params"]["layer"]["kernel"]
            == start["base"]["params"]["layer"]["kernel"]).all()


def test_a_step_of_full_rank_is_a_step_of_full_training():
    "With an orthogonal A, gradient descent on B moves the weights as on the weights themselves."
    kernel = jax.random.normal(jax.random.key(0), (6, 4))
    x = jax.random.normal(jax.random.key(1), (9, 6))

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4, use_bias=False, name="layer")(x)

    model, weights = Model(), {"params": {"layer": {"kernel": kernel}}}
    adapted = Adapted(model, rank=6, alpha=6.)
    a, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(2), (6, 6)))
    params = {"base": frozen(weights), "adapters": {"layer": {"a": a, "b": jnp.zeros((6, 4))}}}
    own, carried = split_params(params)
    gradient = jax.grad(lambda p: jnp.sin(adapted.apply(merge_params(p, carried), x)).sum())(own)
    moved = params | {"adapters": jax.tree.map(lambda p, g: p - .1*g, params["adapters"],
                                               gradient["adapters"])}
    plain = jax.grad(lambda p: jnp.sin(model.apply(p, x)).sum())(weights)
    expected = kernel - .1*plain["params"]["layer"]["kernel"]
    np.testing.assert_allclose(adapted.merged(moved)["params"]["layer"]["kernel"], expected,
                               atol=1e-5)


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(UsageError, match=r"--lora-targets q_prj: .* did you mean q_proj"):
        adapted_llama(targets=("q_prj",))


@pytest.mark.slow
def test_remat_changes_nothing():
    family = family_of(LLAMA)
    config = family.config(LLAMA)
    found = []
    for remat in (False, True):
        adapted = Adapted(family.module(replace(config, remat=remat)), rank=2)
        params = jax.jit(adapted.init)(jax.random.key(0), TOKENS)
        params["adapters"] = jax.tree.map(lambda x: x + .1, params["adapters"])
        learnable, carried = split_params(params)
        def loss(p, adapted=adapted, carried=carried):
            return adapted.apply(merge_params(p, carried), TOKENS).std()
        found.append(jax.jit(jax.grad(loss))(learnable)["adapters"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *found)
