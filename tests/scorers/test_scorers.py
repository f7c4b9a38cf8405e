"Scorers against closed forms, numbers of the authors' packages, and themselves in blocks."
import json

import numpy as np
import pytest

from adaptive_dist.config.errors import UsageError
from adaptive_dist.scorers import gio, hashed_classifier, nearest, ngram, tfidf, transport, zip_fit
from adaptive_dist.scorers.controls import fit_shortest
from adaptive_dist.scorers.dsir import DsirSettings, fit_dsir
from adaptive_dist.scorers.mixture import log_ratios, parse_mixture, wanted_shares
from adaptive_dist.scorers.scorer import NoScorerSettings, find_scorer, pool_of, scorer_names

TOPICS = {
    "cell": ["cell", "gene", "enzyme", "protein", "tissue", "membrane"],
    "money": ["stock", "bond", "market", "bank", "price"],
    "sea": ["wave", "salt", "tide", "ship", "harbour", "storm"]}
COMMON = ["the", "of", "and", "in", "a", "to", "is"]


def texts_of(topic, count, seed):
    rng = np.random.default_rng(seed)
    words = np.array([*TOPICS[topic], *COMMON])
    return [" ".join(rng.choice(words, rng.integers(12, 40))) for _ in range(count)]


@pytest.fixture(scope="module")
def sides():
    "A pool of three topics, and a specific set of one of them."
    labels = np.repeat([0, 1, 2], 60)
    order = np.random.default_rng(0).permutation(len(labels))
    texts = [text for k, topic in enumerate(TOPICS) for text in texts_of(topic, 60, k)]
    generic = pool_of([texts[k] for k in order], labels[order].tolist(), tuple(TOPICS))
    return generic, pool_of(texts_of("cell", 30, 9), [0]*30, tuple(TOPICS))


def settings_of(name):
    kind = find_scorer(name).settings
    small = {"embedding_size": 8, "clusters": 6, "centres": 12, "mixture": "cell=.9"}
    return kind(**{key: value for key, value in small.items() if hasattr(kind, key)})


def asks_nothing(name):
    scorer = find_scorer(name)
    return scorer.needs(scorer.settings()) == "nothing"


KNOWING = [name for name in scorer_names()
           if name not in ("random", "shortest", "stratified") and asks_nothing(name)]


@pytest.mark.parametrize("name", KNOWING)
def test_every_scorer_finds_the_target_and_scores_blocks_as_the_whole(sides, name):
    generic, specific = sides
    score = find_scorer(name).fit(settings_of(name), generic, specific, 0)
    whole = score(generic[:])
    blocks = np.concatenate([score(block) for block in generic.blocks(37)])
    assert whole.shape == (len(generic),) and np.isfinite(whole).all()
    assert np.allclose(whole, blocks, atol=1e-4)
    best = np.argsort(-whole, kind="stable")[:40]
    assert (generic[:].labels()[best] == 0).mean() >= .9
    again = find_scorer(name).fit(settings_of(name), generic, specific, 0)(generic[:])
    assert np.array_equal(whole, again)


def test_ngram_probabilities_meet_the_recursion_written_out():
    texts, order = ["abracadabra", "a bra, a cab"], 3
    def probability(history, byte):
        if history is None: return 1/256
        found = [t.encode() for t in texts]
        padded = [b"\0"*order + t for t in found]
        ends = [(t[i - len(history):i], t[i]) for t in padded for i in range(order, len(t))]
        after = [b for h, b in ends if h == history]
        shorter = history[1:] if history else None
        if not after: return probability(shorter, byte)
        kinds = len(set(after))
        return (after.count(byte) + kinds*probability(shorter, byte))/(len(after) + kinds)

    text = b"abba cab"
    padded = b"\0"*order + text
    each = [probability(padded[i - order + 1:i], padded[i]) for i in range(order, len(padded))]
    found = ngram.mean_log_probability(ngram.count_ngrams(texts, order), [text.decode()])
    assert np.isclose(found[0], np.log(each).mean())


def test_ngram_of_abab_is_the_hand_computed_number():
    levels = ngram.count_ngrams(["abab"], 1)
    assert np.isclose(np.exp(ngram.mean_log_probability(levels, ["a"])[0]), .334635, atol=1e-6)


def test_dsir_meets_the_package_and_its_two_small_corrections():
    generic = pool_of(["the cat sat on the mat", "the dog barked at the cat",
                       "stocks fell in early trading", "cells divide and grow"])
    specific = pool_of(["cells grow", "cells divide fast"])
    found = fit_dsir(DsirSettings(), generic, specific, 0)(generic[:])
    assert np.allclose(found, [-166.772927, -166.772927, -133.047855, -37.42356], atol=1e-5)
    per_gram = fit_dsir(DsirSettings(dsir_weight="mean"), generic, specific, 0)(generic[:])
    assert np.allclose(found/per_gram, [11, 11, 9, 7])  # words and pairs of words
    smooth = fit_dsir(DsirSettings(smoothing=1.), generic, specific, 0)(generic[:])
    assert (smooth > found).all() and smooth.argmax() == 3


def test_zip_fit_meets_the_package_at_level_6():
    generic = ["the enzyme binds the substrate and the enzyme is released",
               "the server returns an error when the request is not valid", "x"]
    specific = pool_of(["an enzyme binds its substrate", "the enzyme releases the product"])
    score = zip_fit.fit_zip(zip_fit.ZipSettings(), pool_of(generic), specific, 0)
    assert np.allclose(score(pool_of(generic)[:]), [.574627, .462687, .414082], atol=5e-7)
    assert [zip_fit.gzip_size(text.encode()) for text in generic] == [67, 67, 21]


def test_transport_meets_the_exact_gradient_and_pot_s_regularised_one():
    cost = abs(np.array([[0.], [1.], [2.], [10.]]) - np.array([[0., .5, 9.]]))
    def gradient(epsilon, rounds):
        v = transport.target_potentials(cost, epsilon, rounds)
        return transport.calibrated_gradient(transport.item_potentials(cost, v, epsilon))
    assert np.allclose(gradient(.1, 3_000), [.4846, 1.6035, 2.8827, -4.9708], atol=5e-5)
    assert np.allclose(gradient(.002, 30_000), [1/3, 5/3, 3, -5], atol=.02)


def test_gio_order_ignores_what_was_chosen_but_for_how_many():
    rng = np.random.default_rng(0)
    targets, point = rng.normal(size=(40, 3)), np.ones(3)
    def change(chosen, step=1e-6):
        def at(k, by):
            moved = np.concatenate([chosen, [point + by*np.eye(3)[k]]])
            return gio.divergence(targets, moved)
        return [(at(k, step) - at(k, -step))/2/step for k in range(3)]
    closed = gio.slope(point, targets, 11)
    for seed in (1, 2):
        chosen = np.random.default_rng(seed).normal(size=(10, 3))
        assert np.allclose(change(chosen), closed, atol=1e-6)


def test_betr_ranks_and_crisp_weights_are_those_of_the_toys():
    degrees = np.deg2rad(np.array([0, 30, 60, 180])[:, None] - np.array([0, 60]))
    assert nearest.best_ranks(np.cos(degrees)).tolist() == [1, 2, 1, 4]
    counts = np.bincount([0, 0, 0, 0, 1, 1, 2, 2]).astype(float)
    weights = log_ratios(np.array([1., 3., 0.])/4, counts)
    assert np.allclose(weights[:2], [-.693147, 1.098612], atol=1e-6) and weights[2] == -np.inf
    items = np.repeat(weights, counts.astype(int))
    shares = np.exp(items)/np.exp(items).sum()
    assert np.allclose(np.add.reduceat(shares, [0, 4, 6]), [.25, .75, 0])


def test_logistic_regression_is_where_the_gradient_vanishes():
    texts = texts_of("cell", 12, 0) + texts_of("sea", 20, 1)
    x, positive = hashed_classifier.hashed_counts(texts, 256), np.arange(32) < 12
    assert np.allclose(np.sqrt(x.multiply(x).sum(1)), 1)
    odds = hashed_classifier.logistic_regression(x, positive)(x)
    assert (odds[positive] > 0).all() and (odds[~positive] < 0).all()
    weight = 10*len(texts)/2*np.where(positive, 1/12, 1/20)
    slope = np.where(positive, -1, 1)*weight/(1 + np.exp(np.where(positive, odds, -odds)))
    # at the minimum a = -X'slope, and the slopes sum to zero, so odds less the constant = -XX'slope
    assert abs(slope.sum()) < .02*weight.sum()
    rest = odds + np.asarray(x @ (x.T @ slope)).ravel()
    assert np.ptp(rest) < .05


def test_tfidf_rows_are_those_of_the_formula():
    texts = ["cells cells grow", "cells grow", "grow stocks", "stocks"]
    vectors = tfidf.fit_tfidf(texts)
    idf = {w: 1 + np.log(5/(1 + n)) for w, n in {"cells": 2, "grow": 3, "stocks": 2}.items()}
    row = np.zeros(3)
    row[vectors.columns["cells"]] = (1 + np.log(2))*idf["cells"]
    row[vectors.columns["grow"]] = idf["grow"]
    assert np.allclose(vectors(texts)[[0]].toarray()[0], row/np.linalg.norm(row))


def test_mixtures_are_shares_and_wrong_ones_are_refused():
    counts = np.array([60., 30., 10.])
    wanted = wanted_shares(parse_mixture("b=.5, c=.2"), ("a", "b", "c"), counts)
    assert np.allclose(wanted, [.3, .5, .2])
    with pytest.raises(UsageError, match="--mixture bb: no such label; did you mean b"):
        wanted_shares({"bb": .5}, ("a", "b", "c"), counts)
    with pytest.raises(UsageError, match="needs --mixture"):
        find_scorer("mixture").fit(find_scorer("mixture").settings(), *[pool_of(["a"])]*2, 0)


def test_unknown_scorers_are_named_with_the_closest():
    with pytest.raises(UsageError, match="--scorer dsirr: did you mean dsir"):
        find_scorer("dsirr")
    texts = pool_of(["aa", "a"])
    assert fit_shortest(NoScorerSettings(), texts, texts, 0)(texts[:]).tolist() == [-2, -1]


@pytest.mark.slow
def test_dsir_equals_its_package_on_200_documents(tmp_path):
    package = pytest.importorskip("data_selection")
    generic = [t for topic in TOPICS for t in texts_of(topic, 60, 3)] + texts_of("cell", 20, 4)
    specific = texts_of("cell", 40, 5)
    for name, texts in (("generic", generic), ("specific", specific)):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (tmp_path/name).write_text(lines)
    theirs = package.HashedNgramDSIR(
        [str(tmp_path/"generic")], [str(tmp_path/"specific")], cache_dir=str(tmp_path/"cache"),
        num_proc=1, min_example_length=0)
    theirs.fit_importance_estimator()
    theirs.compute_importance_weights()
    weights = np.load(tmp_path/"cache/log_importance_weights/0.npy")
    ours = fit_dsir(DsirSettings(), pool_of(generic), pool_of(specific), 0)(pool_of(generic)[:])
    assert len(generic) == 200 and np.allclose(ours, weights, atol=1e-8)


@pytest.mark.slow
def test_zip_fit_equals_its_package_on_200_documents():
    package = pytest.importorskip("zip_fit")
    generic = [t for topic in TOPICS for t in texts_of(topic, 60, 3)] + texts_of("cell", 20, 4)
    specific = texts_of("cell", 8, 5)
    theirs = package.ZIPFIT(None, None, k=1, compression_algorithm="gzip", compress_level=6)
    sizes = {text: theirs.compress(text) for text in [*generic, *specific]}
    means = [np.mean([theirs.similarity((a, b, sizes[a], sizes[b], 0))[1] for b in specific])
             for a in generic]
    score = zip_fit.fit_zip(zip_fit.ZipSettings(), pool_of(generic), pool_of(specific), 0)
    assert np.allclose(score(pool_of(generic)[:]), means, atol=1e-8)


@pytest.mark.slow
def test_transport_equals_pot():
    ot = pytest.importorskip("ot")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), rng.normal(1., 1., size=(25, 4))
    cost = gio.distances(x, y)
    theirs = .2*np.log(ot.sinkhorn(np.full(60, 1/60), np.full(25, 1/25), cost, .2, log=True,
                                   numItermax=10_000, stopThr=1e-12)[1]["u"])
    u = transport.item_potentials(cost, transport.target_potentials(cost, .2, 3_000), .2)
    assert np.allclose(transport.calibrated_gradient(u), transport.calibrated_gradient(theirs),
                       atol=1e-5)
