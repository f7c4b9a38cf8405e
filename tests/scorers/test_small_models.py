"Scorers that ask a small model, against closed forms and a model whose answers are known."
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptive_dist.config.errors import UsageError
from adaptive_dist.method.hidden_states import HiddenStates, pooled, position_weights
from adaptive_dist.method.projection import random_projection, row_gradients
from adaptive_dist.scorers import projektor, surrogate, transport
from adaptive_dist.scorers.blend import blended_scorers
from adaptive_dist.scorers.influence import through_curvature
from adaptive_dist.scorers.preselect import predictive_strength
from adaptive_dist.scorers.scorer import (
    RowGradients,
    ShortRun,
    SmallModel,
    find_scorer,
    pool_of,
    scorer_names,
)
from adaptive_dist.scorers.sparse_codes import Dictionary, code_vector, jaccard

WORDS = {"cell": "cell gene enzyme tissue", "money": "bond stock market price",
         "sea": "wave salt tide harbour"}


def small(name):
    "Settings of a toy size, which compare by a model wherever that can be chosen."
    kind = find_scorer(name).settings
    sizes = dict(embedding="model", clusters=6, centres=12, trials=8, blend="tfidf;shortest",
                 blend_share=.2, code_features=12, code_active=4, code_steps=30,
                 strength_models=3, extremes=.25)
    return kind(**{key: value for key, value in sizes.items() if hasattr(kind, key)})


ASKING = [name for name in scorer_names()
          if hasattr(find_scorer(name).settings, "embedding")
          or find_scorer(name).needs(find_scorer(name).settings()) != "nothing"]


@pytest.fixture(scope="module")
def sides():
    "A pool of three topics, with a model that tells them and learns what it is trained on."
    rng = np.random.default_rng(0)
    label = rng.permutation(np.repeat([0, 1, 2], 40))
    topics = [words.split() for words in WORDS.values()]
    generic = pool_of([" ".join(rng.choice(topics[k], 9)) for k in label], label.tolist(),
                      tuple(WORDS))
    specific = pool_of([" ".join(rng.choice(topics[0], 9)) for _ in range(20)], [0]*20,
                       tuple(WORDS))
    directions = jnp.asarray(rng.normal(size=(3, 6)) + 2, jnp.float32)

    def reader(depth, vector):
        def read(rows):
            noise = np.random.default_rng(0).normal(size=(200, 5, 6))[rows["document"]]
            states = directions[rows["label"]][:, None] + .3*jnp.asarray(noise, jnp.float32)
            even = jnp.full(states.shape[:2], 1/5)
            return np.asarray(vector(HiddenStates(states, even)))
        return read

    def trial(log_weights, steps):
        weights = np.exp(log_weights)
        share = np.bincount(label, weights, 3)/weights.sum()
        loss = float(2 - share[0] - .05*np.log(steps))
        return ShortRun(loss, lambda rows: 1 - share[rows["label"]])

    def gradients(side, rank, seed):
        def of(rows): return np.asarray(directions)[rows["label"]]
        return RowGradients(of, lambda direction: lambda rows: of(rows) @ direction)

    def contrast(steps): return lambda rows: np.array([1., 0., -1.])[rows["label"]]*steps

    generic.model = SmallModel(reader, trial, 1_000, gradients, contrast)
    return generic, specific


@pytest.mark.parametrize("name", ASKING)
def test_every_scorer_that_asks_a_model_finds_the_target_by_it(sides, name):
    generic, specific = sides
    scorer = find_scorer(name)
    assert scorer.needs(small(name)) != "nothing"
    score = scorer.fit(small(name), generic, specific, 0)
    whole = score(generic[:])
    blocks = np.concatenate([score(block) for block in generic.blocks(37)])
    assert np.isfinite(whole).all() and np.allclose(whole, blocks, atol=1e-4)
    noise = np.random.default_rng(1).random(len(whole))
    best = np.lexsort((noise, -whole))[:25]
    assert (generic[:].labels()[best] == 0).mean() >= .9


def test_without_a_model_it_is_named_what_needs_one():
    texts = pool_of(["a cell", "a gene"], [0, 1], ("one", "two"))
    for name in ("blend", "admire", "projektor", "preselect", "mona", "logra", "contrast"):
        with pytest.raises(UsageError, match="asks a model of the task"):
            find_scorer(name).fit(find_scorer(name).settings(), texts, texts, 0)
    with pytest.raises(UsageError, match="--blend mona: it runs short runs"):
        blended_scorers("ngram;mona")


def test_hidden_states_are_pooled_by_position():
    three = jnp.array([[[1., 0.], [0., 1.], [1., 1.]]])
    found = pooled(HiddenStates(three, position_weights(jnp.ones((1, 3), bool))))
    assert np.allclose(found, [[.666667, .833333]], atol=1e-6)


def test_sparse_codes_of_an_identity_are_the_states():
    assert jaccard(np.array([[1., 0., 2.]]), np.array([1., 1., 0.])).tolist() == [.25]
    states = jax.random.uniform(jax.random.key(0), (4, 5, 3))
    some = HiddenStates(states, position_weights(jnp.ones((4, 5), bool)))
    identity = Dictionary(jnp.eye(3), jnp.zeros(3), jnp.eye(3), jnp.zeros(3), jnp.ones(()))
    assert np.allclose(code_vector(identity, 3, some), pooled(some), atol=1e-6)


def test_predictive_strength_is_the_share_of_pairs_in_order():
    losses = np.array([[.9, .8, .7, .6], [.9, .7, .8, .6], [.6, .7, .8, .9]])
    assert np.allclose(predictive_strength(losses), [1, .8333, 0], atol=1e-4)


def test_losses_that_are_linear_in_the_weights_are_lowest_at_a_corner():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        slopes = rng.permutation([1., 1.2, 2., 3.])
        tried = surrogate.simplex_draws(rng, 12, 4)
        best = surrogate.best_weights(tried, tried @ slopes, rng)
        assert best.tolist() == np.eye(4)[slopes.argmin()].tolist()


def bowl_error(seed, trials):
    "How far the found minimum of a quadratic on the simplex is from the true one."
    rng, lowest = np.random.default_rng(seed), np.array([.5, .3, .2])
    found = surrogate.search_weights(lambda w: float(((w - lowest)**2).sum()),
                                     surrogate.simplex_draws(rng, 8, 3), trials, rng)
    return np.linalg.norm(found - lowest)


def test_the_search_finds_the_minimum_of_a_quadratic():
    assert bowl_error(0, 16) < .05


@pytest.mark.slow
def test_the_search_is_within_two_hundredths_after_25_trials():
    assert np.median([bowl_error(seed, 25) for seed in range(10)]) < .02


def test_two_lengths_lead_to_a_third_on_a_line_in_its_logarithm():
    found = projektor.extrapolated(np.array([2.]), np.array([1.5]), (100, 1_000), 10_000)
    assert np.isclose(found, 1.)


def test_the_gradient_of_a_mixture_s_cost_is_the_mean_potential_of_each_label():
    rng = np.random.default_rng(0)
    cost, label = rng.random((12, 5)), np.repeat([0, 1, 2], [2, 4, 6])
    carried = projektor.MixtureCost(np.exp(-cost/.2), label, .2)
    shares = np.array([.5, .2, .3])
    slopes = carried(shares, 2_000)[1]
    for k in range(3):
        step = 1e-5*(np.eye(3)[k] - 1/3)
        difference = carried(shares + step, 2_000)[0] - carried(shares - step, 2_000)[0]
        assert np.isclose(difference/2e-5, slopes[k], atol=1e-5)
    v = transport.target_potentials(cost, .2, 2_000)
    u = transport.item_potentials(cost, v, .2)
    even = projektor.MixtureCost(np.exp(-cost/.2), np.arange(12), .2)(np.full(12, 1/12), 2_000)[1]
    assert np.allclose(even, u - u.mean(), atol=1e-6)


def test_influence_on_a_linear_regression_is_its_closed_form():
    rng = np.random.default_rng(0)
    batch = {"x": jnp.asarray(rng.normal(size=(30, 5)), jnp.float32),
             "y": jnp.asarray(rng.normal(size=30), jnp.float32)}
    theta = jnp.asarray(rng.normal(size=5), jnp.float32)
    def loss(p, some): return .5*(some["x"] @ p - some["y"])**2
    whole = random_projection(jax.random.key(0), theta, rank=5)
    found = np.asarray(row_gradients(loss, theta, batch, whole))
    x, rest = np.asarray(batch["x"]), np.asarray(batch["x"] @ theta - batch["y"])
    direct = rest[:, None]*x
    fisher = direct.T @ direct/30
    wanted = direct[:7].mean(0)
    damped = fisher + .1*np.trace(fisher)/5*np.eye(5)
    influence = found @ through_curvature(found, found[:7].mean(0), .1)
    assert np.allclose(influence, direct @ np.linalg.solve(damped, wanted), rtol=1e-3, atol=1e-5)
