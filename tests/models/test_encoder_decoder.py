"""The encoder-decoder: what a loss depends on, decoding with a cache, and beam search.

The oracle of beam search writes everything down.
"""
import itertools
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptive_dist.data.vocabulary import END, PAD
from adaptive_dist.models.encoder_decoder import (
    EncoderDecoder,
    EncoderDecoderConfig,
    beam_search,
    empty_cache,
    pair_loss,
    translate,
)
from adaptive_dist.models.layers import nats_per_token

@pytest.fixture(autouse=True, scope="module")
def quick():
    "Compiling is nearly all that these tests do."
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


LOSS = jax.jit(pair_loss, static_argnums=0)
TINY = EncoderDecoderConfig(
    layers=1, width=16, mlp_width=32, heads=2, length=10, dropout=0., dtype="float32")
SIZE = 12


def rows(seed, count, length, size=SIZE):
    "Rows of random subwords with random lengths, ends and padding."
    rng = np.random.default_rng(seed)
    found, sizes = rng.integers(2, size, (count, length)), rng.integers(0, length, count)
    found[np.arange(length) > sizes[:, None]], found[np.arange(count), sizes] = PAD, END
    return jnp.asarray(found, jnp.uint16)


def made(config=TINY, size=SIZE, scale=2.):
    "A model and its parameters, larger than fresh ones so that it has opinions."
    model = EncoderDecoder(config, size)
    one = jnp.ones((1, 4), jnp.uint16)
    params = jax.jit(model.init)(jax.random.key(0), one, one)
    return model, jax.tree.map(lambda x: scale*x, params)


def logits_of(model): return jax.jit(model.apply)


def test_a_pair_is_judged_by_itself_and_padding_either_side_changes_no_loss():
    model, params = made()
    source, target = rows(2, 6, 7), rows(3, 6, 7)
    found = LOSS(model, params, source, target)
    alone = [LOSS(model, params, source[k:k + 1], target[k:k + 1])[0] for k in range(6)]
    np.testing.assert_allclose(alone, found, rtol=1e-5)
    wider = (jnp.pad(x, ((0, 0), (0, 3))) for x in (source, target))
    np.testing.assert_allclose(LOSS(model, params, *wider), found, rtol=1e-5)


def test_a_subword_sees_the_source_and_what_was_written_before_it():
    model, params = made(scale=1.)
    logits = logits_of(model)
    source, target = np.array([[6, 3, 2, END]]), np.array([[3, 4, 5, 6, 7, END]])
    plain = logits(params, source, target)
    for k in range(6):
        changed = logits(params, source, np.where(np.arange(6) == k, 9, target))
        same = np.isclose(changed, plain, atol=1e-6).all(-1)[0]
        assert same[:k + 1].all() and not same[k + 1:].any()
    other = logits(params, np.array([[8, 3, 2, END]]), target)
    assert not np.isclose(other, plain, atol=1e-4).all(-1).any()


def test_the_loss_is_what_numpy_says():
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(5, 6, SIZE)), np.asarray(rows(4, 5, 6))
    expected = []
    for scores, row in zip(logits, target, strict=True):
        n = (row != PAD).sum()
        log_p = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
        expected.append(-sum(log_p[t, row[t]] for t in range(n))/n)
    found = nats_per_token(jnp.asarray(logits, jnp.float32), jnp.asarray(target))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert nats_per_token(jnp.zeros((1, 3, SIZE)), jnp.zeros((1, 3), jnp.uint16)) == 0


def test_cached_decoding_gives_the_logits_of_the_whole_pass():
    config = replace(TINY, layers=2)
    model, params = made(config, scale=1.)
    source, target = rows(5, 4, 8), rows(6, 4, 8)
    whole = logits_of(model)(params, source, target)
    memory, mask = jax.jit(partial(model.apply, method="encode"))(params, source)
    step = jax.jit(partial(model.apply, method="step"))
    cache, before = empty_cache(config, 4, 8), np.zeros(4, np.uint16)
    for at in range(8):
        logits, cache = step(params, memory, mask, cache, before, jnp.int32(at))
        np.testing.assert_allclose(logits, whole[:, at], atol=1e-5)
        before = target[:, at]


def test_a_beam_that_holds_everything_finds_the_best_of_everything():
    size, length, power = 5, 4, 1.
    model, params = made(size=size, scale=3.)
    source, logits_in = rows(7, 5, 6, size), logits_of(model)
    search = partial(beam_search, model, params, source, length=length, power=power)
    found, scores = search(beam=(size - 2)**(length - 1))
    narrow = search(beam=2)[1]
    assert (narrow <= scores + 1e-5).all()
    texts = [[*some, END, *[PAD]*(length - n - 1)] for n in range(length)
             for some in itertools.product(range(2, size), repeat=n)]
    for k in range(len(source)):
        repeated = np.tile(source[k], (len(texts), 1))
        logits = np.array(logits_in(params, repeated, np.array(texts, np.uint16)), np.float64)
        logits[..., PAD] = -np.inf
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        n = (np.array(texts) != PAD).sum(1)
        worth = [sum(log_p[i, t, texts[i][t]] for t in range(n[i]))/((5 + n[i])/6)**power
                 for i in range(len(texts))]
        assert np.asarray(found)[k].tolist() == texts[int(np.argmax(worth))]
        np.testing.assert_allclose(scores[k], max(worth), rtol=1e-4, atol=1e-5)


def test_a_translation_that_never_ends_is_cut_off():
    "With an end that is never likely, the likeliest text of full length comes back."
    model, params = made()
    table = params["params"]["embedding"]["embedding"]
    off = {"norm_out": {"scale": table[0]*0, "bias": jnp.ones(16)},
           "embedding": {"embedding": table.at[END].set(-jnp.inf).at[5].set(9.)}}
    changed = {"params": {**params["params"], **off}}
    found, score = beam_search(model, changed, jnp.full((3, 6), 4), beam=2, length=5)
    assert np.asarray(found).tolist() == [[5]*5]*3
    np.testing.assert_allclose(score, 0., atol=1e-3)


def test_batches_change_no_translation():
    model, params = made()
    source = np.asarray(rows(9, 7, 8))
    whole = translate(model, params, source, beam=3, batch=4)
    for k in range(0, 7, 3):
        alone = translate(model, params, source[k:k + 1], beam=3, batch=1)
        np.testing.assert_array_equal(whole[k:k + 1], alone)


def test_dropout_needs_a_key_and_remat_changes_nothing():
    model, params = made(replace(TINY, dropout=.5), scale=1.)
    source, target = rows(2, 4, 7), rows(3, 4, 7)
    def found(m):
        loss = jax.value_and_grad(lambda p, key: pair_loss(m, p, source, target, key).sum())
        return jax.jit(loss)

    plain, lean = found(model), found(EncoderDecoder(replace(model.config, remat=True), SIZE))
    one = plain(params, jax.random.key(1))
    assert abs(one[0] - plain(params, jax.random.key(2))[0]) > 1e-3
    again = lean(params, jax.random.key(1))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), one, again)
