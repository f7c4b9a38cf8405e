"""The models keep the parameters and the numbers that they had before they shared their layers.

Stored runs must stay readable, and a seed must give the same run. The numbers are those of the
models as they were, each with layers of its own.
"""
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptive_dist.models.byte_transformer import ByteTransformer, ByteTransformerConfig, text_loss
from adaptive_dist.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig, pair_loss
from adaptive_dist.models.layers import KeysValues, heads_first_attention
from adaptive_dist.models.towers import Towers, TowersConfig, clip_losses

ROWS = jnp.array([[5, 3, 9, 2, 1, 0], [7, 7, 4, 11, 6, 1]], jnp.uint16)
SMALL = {"layers": 1, "width": 8, "heads": 2, "dtype": "float32"}


def byte_transformer():
    "Parameters, and a loss with dropout."
    model = ByteTransformer(ByteTransformerConfig(**SMALL, mlp_width=12, length=6, dropout=.3))
    params = jax.jit(model.init)(jax.random.key(0), ROWS)
    return params, lambda p: text_loss(model, p, ROWS, jax.random.key(1))


def encoder_decoder():
    "Parameters, and a loss with dropout."
    model = EncoderDecoder(EncoderDecoderConfig(**SMALL, mlp_width=12, length=6, dropout=.3), 13)
    params = jax.jit(model.init)(jax.random.key(0), ROWS, ROWS)
    return params, lambda p: pair_loss(model, p, ROWS, ROWS[::-1], jax.random.key(1))


def towers():
    "Parameters, and a contrastive loss."
    config = TowersConfig(**SMALL, patch=4, text_layers=1, text_width=8, embedding=4)
    model, images = Towers(config, 3), jnp.arange(384).reshape(2, 8, 8, 3) % 251
    params = jax.jit(model.init)(jax.random.key(0), images, ROWS)
    return params, lambda p: clip_losses(*model.apply(p, images, ROWS))


NAMES = {
    byte_transformer: ("block_0", "attention mlp_in mlp_out norm_attention norm_mlp", "attention",
                       "out qkv"),
    encoder_decoder: ("decoder_0", "attention cross mlp norm_attention norm_cross norm_mlp",
                      "attention", "key out query value"),
    towers: ("image_tower", "block_0 norm_out patches position", "block_0",
             "mlp_in mlp_out norm_attention norm_mlp out qkv"),
}
NUMBERS = {  # sum of absolute parameters, losses, norm of the gradient
    byte_transformer: (724.5881, 5.852998, 6.009756, 2.477448),
    encoder_decoder: (431.8447, 2.836039, 2.729171, 2.921646),
    towers: (517.5585, 9.743315, 2.720067, 348.0907),
}


@pytest.mark.parametrize("made", [
    byte_transformer, *(pytest.param(made, marks=pytest.mark.slow)
                        for made in (encoder_decoder, towers))], ids=lambda made: made.__name__)
def test_parameters_and_numbers_are_those_of_stored_runs(made):
    params, loss = made()
    group, names, inner, inner_names = NAMES[made]
    tree = params["params"][group]
    assert " ".join(sorted(tree)) == names and " ".join(sorted(tree[inner])) == inner_names
    losses = jax.jit(loss)(params)
    gradient = jax.jit(jax.grad(lambda p: loss(p).mean()))(params)
    size = sum(float(jnp.abs(x).sum()) for x in jax.tree.leaves(params))
    norm = sum(float((x**2).sum()) for x in jax.tree.leaves(gradient))**.5
    np.testing.assert_allclose([size, *losses, norm], NUMBERS[made], rtol=1e-5)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("bfloat16", .05)])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_attention_and_its_gradient_are_those_of_jax(dtype, tolerance, causal, masked):
    draw = jax.random.normal(jax.random.key(0), (4, 2, 9, 2, 8)).astype(dtype)
    mask = jnp.arange(9)[None, None] < jnp.array([4, 9])[:, None, None] if masked else None

    def ours(query, keys, values):
        return heads_first_attention(query, KeysValues(keys, values), mask, causal)

    def theirs(query, keys, values):
        heads = None if mask is None else mask[:, None]
        return jax.nn.dot_product_attention(query, keys, values, mask=heads, is_causal=causal)

    def both(attend):
        found, back = jax.vjp(attend, *draw[:3])
        return found, *back(draw[3])

    for mine, other in zip(jax.jit(both, static_argnums=0)(ours),
                           jax.jit(both, static_argnums=0)(theirs), strict=True):
        assert mine.dtype == other.dtype == jnp.dtype(dtype)
        np.testing.assert_allclose(mine.astype(float), other.astype(float), atol=tolerance,
                                   rtol=tolerance)


def test_the_authors_model_drops_attention_weights_in_training_only():
    kinds = {"positions": "sinusoidal", "activation": "relu", "dropout": 0.}
    plain, dropped = (ByteTransformer(ByteTransformerConfig(
        **SMALL, **kinds, mlp_width=12, length=6, attention_dropout=share)) for share in (0., .5))
    params = jax.jit(dropped.init)(jax.random.key(0), ROWS)
    names = " ".join(sorted(params["params"]))
    assert names == "block_0 embedding norm_out"
    assert (text_loss(plain, params, ROWS) == text_loss(dropped, params, ROWS)).all()
    first, second = (text_loss(dropped, params, ROWS, jax.random.key(k)) for k in (1, 2))
    assert (first != second).any() and jnp.isfinite(first).all()
