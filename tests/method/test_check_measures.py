"Each measurement against what is known without it: explicit gradients, known reliabilities."
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import rankdata, spearmanr

from adaptive_dist.method.check import estimates, measures, verdict
from adaptive_dist.method.check.estimates import Estimate
from adaptive_dist.method.check.measures import Agreement, Aligned, Contrast, Persistence, Trial
from adaptive_dist.method.check.verdict import Measured
from adaptive_dist.method.weighting import mlp
from adaptive_dist.models.byte_transformer import ByteTransformer, ByteTransformerConfig, text_loss

def test_alignments_equal_explicit_per_example_gradients():
    model = ByteTransformer(ByteTransformerConfig(
        layers=1, width=16, mlp_width=32, heads=2, length=24, dropout=0., dtype="float32"))
    tokens = jnp.asarray(np.random.default_rng(0).integers(1, 256, (12, 24), np.uint8))
    def loss(params, batch): return text_loss(model, params, batch["tokens"])
    params = model.init(jax.random.key(0), tokens[:1])
    u = estimates.mean_gradient(loss, params, {"tokens": tokens[:8]}, block=4)
    one = jax.jit(jax.grad(lambda p, t: loss(p, {"tokens": t[None]})[0]))
    explicit = [one(params, t) for t in tokens]
    mean = estimates.mean_of(explicit[:8])
    assert jax.tree.all(jax.tree.map(lambda a, b: np.allclose(a, b, atol=1e-6), u, mean))
    found = estimates.alignments(loss, params, {"tokens": tokens}, u, block=3)
    assert np.allclose(found, [optax.tree.vdot(u, g) for g in explicit], rtol=1e-5, atol=1e-5)
    losses = estimates.per_example_losses(loss, params, {"tokens": tokens}, 6)
    assert np.allclose(losses, loss(params, {"tokens": tokens}), atol=1e-6)


def test_blocks_that_do_not_come_out_even_are_refused():
    with pytest.raises(ValueError, match="10 rows are no multiple of a block of 4"):
        estimates.in_blocks({"x": np.zeros(10)}, 4)


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 50).astype(float), rng.normal(size=50)  # with ties
    assert estimates.rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert estimates.rank_correlation(np.ones(50), b) == 0.


def test_excess_is_the_residual_of_least_squares():
    a, g = np.random.default_rng(0).normal(size=(2, 100))
    design = np.stack([np.ones(100), g], 1)
    fit = design @ np.linalg.lstsq(design, a, rcond=None)[0]
    assert np.allclose(estimates.excess(a, g), a - fit)


def aligned(rng, signal, noise, rows=800, dimensions=40, groups=8, generic_noise=.02):
    """Alignments of random gradients with noisy gradients of groups.

    A group's gradient is the generic one, and `signal` times one of the target's own.
    """
    gradients = rng.normal(size=(rows, dimensions))
    common, own = rng.normal(size=(2, dimensions))
    specific = common + signal*own + noise*rng.normal(size=(groups, dimensions))
    generic = common + generic_noise*rng.normal(size=(2, dimensions))
    return Aligned(gradients @ specific.T, gradients @ generic.T)


def agreements(seeds, signal, noise):
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        found.append(measures.agreement(aligned(rng, signal, noise), rng, replicates=60))
    return found


def test_agreement_is_the_reliability_of_the_part_of_its_own():
    # A half of 4 groups has own variance 1 and noise variance 4/4 per dimension: halves correlate
    # by 1/2, whole samples by 2/3.
    def spearman(pearson): return 6/np.pi*np.arcsin(pearson/2)  # of normal variables
    found = agreements(12, signal=1., noise=2.)
    expected = spearman(1/2)
    assert np.mean([f.half.value for f in found]) == pytest.approx(expected, abs=.06)
    full = 2*expected/(1 + expected)
    assert np.mean([f.full.value for f in found]) == pytest.approx(full, abs=.06)
    assert sum(f.half.low <= expected <= f.half.high for f in found) >= 10


def test_a_sample_of_the_generic_set_has_nothing_of_its_own():
    found = agreements(20, signal=0., noise=.5)
    assert all(f.plain.low > .5 for f in found)                    # they agree, as with any text,
    assert sum(f.full.low > verdict.RELIABLE for f in found) <= 1  # which is not taken for a wish
    assert abs(np.mean([f.half.value for f in found])) < .1


def test_spearman_brown_and_its_inverse():
    assert estimates.spearman_brown(.5) == pytest.approx(2/3)
    factor = measures.wanted_factor(.2, goal=.5)
    assert estimates.spearman_brown(.2, factor) == pytest.approx(.5)
    assert measures.wanted_factor(-.1) == np.inf


def test_persistence_does_not_take_the_same_accident_for_steadiness():
    "Noise of the sample that stays the same at both checkpoints must not count."
    def at(found, parts):
        return Aligned(np.stack([found.specific[:, p].mean(1) for p in parts], 1), found.generic)
    lasting, accidental = [], []
    halves, quarters = [[0, 1, 2, 3], [4, 5, 6, 7]], [[4, 5], [6, 7]]
    for seed in range(12):
        rng = np.random.default_rng(seed)
        for signal, out in ((1., lasting), (0., accidental)):
            now = aligned(rng, signal, 1.)
            later, tuned, update = at(now, halves), at(now, quarters), now.specific[:, :4].mean(1)
            out.append(measures.persistence(now, later, tuned, update, rng, replicates=20))
    assert np.mean([p.later.value for p in lasting]) > .6
    assert np.mean([p.fine_tuned.value for p in lasting]) > .4
    assert abs(np.mean([p.later.value for p in accidental])) < .1
    assert abs(np.mean([p.fine_tuned.value for p in accidental])) < .12
    for p in lasting:
        assert p.later.value == pytest.approx(p.now.value, abs=.05)  # nothing changed


def test_contrast_by_hand():
    one = Trial(np.full(4, 5.), np.full(4, 4.), {2: np.full(4, 3.), 4: np.full(4, 4.5)})
    found = measures.contrast([one]*3, 2, np.random.default_rng(0), replicates=10)
    half, loss = Estimate(.5, .5, .5), Estimate(-.25, -.25, -.25)
    assert found.random == half and found.gain == {2: half, 4: loss} and found.ratio == 2


def test_a_trial_chooses_the_best_aligned_rows():
    wanted, seen = np.arange(16.)[::-1], []
    def train(numbers):
        seen.append(sorted(numbers.tolist()))
        return len(seen)
    def losses(params): return jnp.full(2, float(params))
    found = measures.trial(train, losses, 0, wanted, [2, 4], 4, np.random.default_rng(0))
    assert found.before.tolist() == [0., 0.] and found.random.tolist() == [1., 1.]
    assert found.chosen[4].tolist() == [3., 3.]
    assert set(seen[1]) <= set(range(8)) and seen[2] == [0, 1, 2, 3] and len(set(seen[0])) == 4


def test_contrast_intervals_cover():
    "True gain 0.1, with noise between trials and between examples: most intervals hold it."
    held = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        random, between = rng.normal(size=(8, 50)), .1*rng.normal(size=(8, 1))
        within = .3*rng.normal(size=(8, 50))
        chosen = random - .1 + between + within
        trials = [Trial(a, a, {2: b}) for a, b in zip(random, chosen, strict=True)]
        gain = measures.contrast(trials, 1, rng, replicates=200).gain[2]
        held += gain.low <= .1 <= gain.high
    assert held >= 25


def test_stepped_is_the_optimizers_own_steps():
    def loss(w, batch): return (batch["x"] @ w - batch["y"])**2
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(3, 4, 2)).astype(np.float32)
    ys = rng.normal(size=(3, 4)).astype(np.float32)
    w = np.zeros(2)
    for x, y in zip(xs, ys, strict=True):
        w = w - .1*(2*(x @ w - y)[:, None]*x).mean(0)
    optimizer, start = optax.sgd(.1), jnp.zeros(2)
    found = measures.stepped(loss, optimizer, start, optimizer.init(start), {"x": xs, "y": ys})
    assert np.allclose(found, w, atol=1e-6)


def test_what_the_input_shows_can_be_learnt_and_what_it_does_not_cannot():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(512, 4)).astype(np.float32)
    seen, unseen = x[:, 0] + .5*rng.normal(size=512), rng.normal(size=512)
    def learnt(wanted):
        return measures.learnability(mlp(widths=(8,)), optax.adam(.01), {"features": x}, wanted,
                                     np.random.default_rng(1))
    best = np.corrcoef(rankdata(x[:, 0]), rankdata(seen))[0, 1]  # nobody can do better
    assert .9*best < learnt(seen).value <= best + .02 and learnt(seen).low > .7
    assert learnt(unseen).low < 0 < learnt(unseen).high


def near(value, width=.05): return Estimate(value, value - width, value + width)


def measured(full=.9, plain=.9, gain=1., later=.8, learnt=.6, width=.05):
    agreement = Agreement(near(full), near(full, width), near(plain), near(.5))
    persistence = Persistence(near(later, width), near(.8), near(.4), near(.5), near(.5))
    contrast = Contrast(near(.1), {2: near(gain/2, width), 4: near(gain, width)})
    return Measured(agreement, persistence, contrast, near(learnt, width), 100)


@pytest.mark.parametrize(("changes", "answer", "reason"), [
    ({}, "yes", "two halves of the sample want the same"),
    ({"full": .1, "plain": .1}, "no", "too small or too mixed"),
    ({"full": .1}, "no", "asks for what the generic set asks for"),
    ({"gain": -.1}, "no", "do not surely lower"),
    ({"later": .1}, "no", "may not help later"),
    ({"learnt": .05}, "no", "cannot surely tell"),
    ({"full": .4, "width": .2}, "perhaps", "too small or too mixed"),
    ({"full": .4, "width": .2, "learnt": 0.}, "no", "too small or too mixed"),
])
def test_the_worst_measurement_decides_and_the_first_is_the_reason(changes, answer, reason):
    found = verdict.verdict(measured(**changes))
    assert found.answer == answer and reason in found.reason


def test_the_advice_says_how_many_examples_to_collect():
    def advice(**changes): return verdict.verdict(measured(**changes)).advice
    assert "collect about 400 specific examples (100 now)" in advice(full=.2, plain=.1)
    assert "collect far more" in advice(full=-.2, plain=.1)
    assert "--downsampling 4" in advice()
