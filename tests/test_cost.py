"Compiled work per step, as a ratio to uniform. Counted by the compiler, so noise-free; the benchmark's small configuration."
import jax
import jax.numpy as jnp
import optax
import pytest

from adaptive_dist.engine.loop import init_state, make_step
from adaptive_dist.experiments.lm import lm_task
from adaptive_dist.method import selector as selectors
from adaptive_dist.method.weighting import causal_cnn
from adaptive_dist.models.byte_transformer import ByteTransformer, ByteTransformerConfig

CONFIG = ByteTransformerConfig(layers=4, width=128, mlp_width=512, heads=4, length=128, dropout=0., dtype="float32")
BATCH, BIG = 16, 256
MODEL = ByteTransformer(CONFIG)
TASK, NETWORK = lm_task(MODEL), causal_cnn(embedding=64, width=64)


def flops(selector):
    tokens = jax.ShapeDtypeStruct((BATCH, CONFIG.length), jnp.uint8)
    big = {"tokens": jax.ShapeDtypeStruct((BIG, CONFIG.length), jnp.uint8), "label": jax.ShapeDtypeStruct((BIG,), jnp.int32)}
    params = jax.eval_shape(MODEL.init, jax.random.key(0), tokens)
    optimizer = optax.adam(1e-3)
    state = jax.eval_shape(lambda p, b: init_state(p, selector, optimizer, jax.random.key(0), b), params, big)
    step = make_step(TASK, selector, optimizer, jax.random.key(0))
    return jax.jit(step).lower(state, big, {"tokens": tokens}).compile().cost_analysis()["flops"]


@pytest.fixture(scope="module")
def uniform(): return flops(selectors.uniform(batch_size=BATCH))


@pytest.mark.parametrize("limit, make, options", [
    (5.2, selectors.soba, dict(hvp="exact")), (3.6, selectors.soba, dict(hvp="finite_difference", curvature_rows=.5)),
    (3.3, selectors.dds, {}), (4.0, selectors.anograd, {}),
    (2.8, selectors.dds, dict(derivative="finite_difference")), (3.5, selectors.anograd, dict(derivative="finite_difference"))])
def test_flops_per_step(limit, make, options, uniform):
    assert flops(make(TASK, NETWORK, batch_size=BATCH, **options))/uniform < limit
