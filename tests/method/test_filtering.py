"Every sampler against its exact distribution."
from itertools import combinations, permutations, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from adaptive_dist.method import filtering
from adaptive_dist.method.weighting import bag_of_tokens, causal_cnn

DRAWS = 200_000
WEIGHTS = np.array([.4, .25, .2, .1, .05])


def picks(name, scores, size, draws=DRAWS, seed=0):
    draw = jax.jit(jax.vmap(lambda key: getattr(filtering, name)(key, scores, size).picked))
    return np.asarray(draw(jax.random.split(jax.random.key(seed), draws)))


def ordered_probability(order, weights):
    "Probability of drawing `order` one by one without replacement."
    p, left = 1., 1.
    for i in order:
        p, left = p*weights[i]/left, left - weights[i]
    return p


def p_value(outcomes, probabilities):
    "Chi-square p-value of observed outcomes (tuples) against a dictionary of their probabilities."
    seen = dict.fromkeys(probabilities, 0)
    for outcome, count in zip(*np.unique(outcomes, axis=0, return_counts=True), strict=True):
        seen[tuple(map(int, outcome))] = count
    assert len(seen) == len(probabilities), "an outcome of probability zero was drawn"
    expected = np.array(list(probabilities.values()))*len(outcomes)
    return chisquare(list(seen.values()), expected).pvalue


@pytest.mark.parametrize("size", [1, 2, 3])
def test_gumbel_top_k_draws_each_set_with_its_exact_probability(size):
    exact = {s: sum(ordered_probability(o, WEIGHTS) for o in permutations(s))
             for s in combinations(range(5), size)}
    drawn = np.sort(picks("gumbel_top_k", jnp.log(WEIGHTS) + 3., size), axis=1)
    assert p_value(drawn, exact) > 1e-3


def test_gumbel_top_k_draws_in_order_of_successive_sampling():
    exact = {o: ordered_probability(o, WEIGHTS) for o in permutations(range(5), 2)}
    assert p_value(picks("gumbel_top_k", jnp.log(WEIGHTS), 2), exact) > 1e-3


def test_the_chi_square_test_would_notice_a_wrong_sampler():
    exact = {(i,): w for i, w in enumerate([.38, .27, .2, .1, .05])}
    assert p_value(picks("gumbel_top_k", jnp.log(WEIGHTS), 1), exact) < 1e-6


def test_with_replacement_is_independent_draws():
    exact = {o: WEIGHTS[o[0]]*WEIGHTS[o[1]] for o in product(range(5), repeat=2)}
    assert p_value(picks("with_replacement", jnp.log(WEIGHTS), 2), exact) > 1e-3


def test_uniform_draws_every_set_equally_often():
    exact = dict.fromkeys(combinations(range(5), 2), 0.1)
    assert p_value(np.sort(picks("uniform_subset", jnp.log(WEIGHTS), 2), axis=1), exact) > 1e-3


def test_top_k_is_the_k_largest():
    scores = jax.random.normal(jax.random.key(1), (50,))
    picked, = picks("top_k", scores, 7, draws=1)
    assert set(picked.tolist()) == set(np.argsort(scores)[-7:].tolist())


@pytest.mark.parametrize("name", ["gumbel_top_k", "uniform_subset", "top_k", "with_replacement"])
def test_weights_sum_to_one(name):
    picked, weights = getattr(filtering, name)(jax.random.key(0), jnp.arange(9.), 4)
    assert picked.shape == weights.shape == (4,) and jnp.allclose(weights.sum(), 1)


@pytest.mark.parametrize(
    "network", [causal_cnn(embedding=4, width=8, kernel=1), bag_of_tokens(width=8)])
def test_equal_content_at_different_lengths_is_drawn_equally_often(network):
    texts = [b"ab"*n for n in (2, 5, 16, 32)]
    tokens = jnp.array([list(t.ljust(64, b"\0")) for t in texts], jnp.uint8)
    alpha = network.init(jax.random.key(0), {"tokens": tokens})
    alpha["out"] = jax.random.normal(jax.random.key(1), alpha["out"].shape)
    scores = network.score(alpha, {"tokens": tokens})
    assert jnp.ptp(scores) < 1e-5 and jnp.abs(scores).max() > .01
    counts = np.bincount(picks("gumbel_top_k", scores, 1)[:, 0], minlength=4)
    assert chisquare(counts).pvalue > 1e-3
