"Models as users write them, with dropout, statistics and keys in their parameters."
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import adaptive_dist as ad

SETTINGS = {"soba": lambda task: ad.soba(task, ad.weighting.mlp(), batch_size=16, damping=1.),
            "anograd": lambda task: ad.anograd(task, ad.weighting.mlp(), batch_size=16)}


def batch_of(seed, count, shift):
    x = jax.random.normal(jax.random.key(seed), (count, 4)) + shift
    return {"features": x, "y": x @ jnp.array([1., -1., .5, 0.])}


GENERIC = jax.tree.map(lambda *x: jnp.concatenate(x), batch_of(0, 64, 0.), batch_of(1, 64, 2.))
SPECIFIC = batch_of(2, 32, 2.)


def trained(task, params, name, steps=80):
    "The state at the end, and the losses of the picked rows on the way."
    optimizer, chooser = optax.adam(.02), SETTINGS[name](task)
    state = ad.algorithm_init(jax.random.key(0), params, chooser, optimizer, GENERIC)
    step, losses = ad.make_step(task, chooser, optimizer), []
    for key in jax.random.split(jax.random.key(1), steps):
        state, info = step(state, key, GENERIC, SPECIFIC)
        losses.append(float(info.loss))
    return state, losses


def others(params):
    "The leaves without a gradient, keys as numbers."
    def number(x):
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if is_key else x)
    return [number(x) for x in jax.tree.leaves(ad.split_params(params)[1])]


class Network(nnx.Module):
    "Two layers with batch normalisation and dropout."
    def __init__(self, rngs):
        self.hidden, self.out = nnx.Linear(4, 32, rngs=rngs), nnx.Linear(32, 1, rngs=rngs)
        self.norm, self.dropout = nnx.BatchNorm(32, rngs=rngs), nnx.Dropout(.1, rngs=rngs)

    def __call__(self, x):
        return self.out(self.dropout(nnx.relu(self.norm(self.hidden(x)))))[:, 0]


@pytest.mark.parametrize("name", SETTINGS)
def test_an_nnx_model_with_dropout_and_batch_normalisation(name):
    graph, params = nnx.split(Network(nnx.Rngs(0)))
    def loss(params, batch, key):
        model = nnx.merge(graph, params)
        nnx.reseed(model, default=key)
        return (model(batch["features"]) - batch["y"])**2
    before, structure = others(params), jax.tree.structure(params)
    state, losses = trained(ad.same_loss(loss), params, name)
    assert np.mean(losses[-10:]) < .7*np.mean(losses[:10])
    after = others(state.params)
    assert len(after) == 2 and all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert jax.tree.structure(state.params) == structure
    statistics = state.params["norm"]["mean"], state.params["norm"]["var"]
    assert (statistics[0][...] == 0).all() and (statistics[1][...] == 1).all()
    model = nnx.merge(graph, state.params)
    model(GENERIC["features"])  # a pass in training mode sets the statistics
    assert (model.norm.mean[...] != 0).any() and (model.norm.var[...] != 1).all()
    model.eval()
    assert jnp.array_equal(model(SPECIFIC["features"]), model(SPECIFIC["features"]))


@pytest.mark.parametrize("name", SETTINGS)
def test_an_equinox_model(name):
    eqx = pytest.importorskip("equinox")

    class Model(eqx.Module):
        "Two layers with dropout and a counter."
        hidden: eqx.nn.Linear
        out: eqx.nn.Linear
        dropout: eqx.nn.Dropout
        version: jax.Array

        def __init__(self, key):
            one, two = jax.random.split(key)
            self.hidden, self.out = eqx.nn.Linear(4, 32, key=one), eqx.nn.Linear(32, 1, key=two)
            self.dropout, self.version = eqx.nn.Dropout(.1), jnp.array(7)

        def __call__(self, x, key):
            return self.out(self.dropout(jax.nn.relu(self.hidden(x)), key=key))[0]

    params, static = eqx.partition(Model(jax.random.key(0)), eqx.is_array)
    def loss(params, batch, key):
        model = eqx.combine(params, static)
        keys = jax.random.split(key, len(batch["y"]))
        return (jax.vmap(model)(batch["features"], keys) - batch["y"])**2

    state, losses = trained(ad.same_loss(loss), params, name)
    assert np.mean(losses[-10:]) < .7*np.mean(losses[:10])
    model = eqx.nn.inference_mode(eqx.combine(state.params, static))
    assert model.version == 7 and jnp.isfinite(model(GENERIC["features"][0], None))


@pytest.mark.parametrize("name", SETTINGS)
def test_leaves_without_a_gradient_change_nothing(name):
    weights = {"w": .1*jnp.arange(4.)}
    def loss(params, batch, key): return (batch["features"] @ params["w"] - batch["y"])**2
    alone, _ = trained(ad.same_loss(loss), jax.tree.map(jnp.copy, weights), name, steps=10)
    extra = {"count": jnp.array(3), "key": jax.random.key(5), "flag": jnp.array(True)}
    carried, _ = trained(ad.same_loss(loss), {**weights, **extra}, name, steps=10)
    assert jnp.array_equal(alone.params["w"], carried.params["w"])
    assert jax.tree.all(jax.tree.map(jnp.array_equal, alone.selector.alpha, carried.selector.alpha))
    assert carried.params["count"] == 3 and carried.params["flag"]


def test_a_step_uses_up_its_state():
    def loss(params, batch, key): return (batch["features"] @ params - batch["y"])**2
    task, optimizer, params = ad.same_loss(loss), optax.sgd(.1), jnp.zeros(4)
    chooser = ad.uniform(batch_size=8)
    start = params, optimizer.init(params), ()
    step = ad.make_step(task, chooser, optimizer)
    pure = ad.algorithm_step(task, chooser, optimizer)
    expected, _ = pure(start, jax.random.key(0), GENERIC, SPECIFIC)
    state, info = step(start, jax.random.key(0), GENERIC, SPECIFIC)
    assert params.is_deleted() and state.selector == () and len(info.picked) == 8
    np.testing.assert_allclose(state.params, expected.params, rtol=1e-5)
