"""Towers and losses against references that share no code with them.

NumPy, finite differences in float64, rows left out.
"""
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from adaptive_dist.experiments.vision import added, image_cnn, vision_task
from adaptive_dist.method import rules
from adaptive_dist.method.rules import Losses
from adaptive_dist.method.weighting import bag_of_tokens
from adaptive_dist.models.towers import (
    Towers,
    TowersConfig,
    augment,
    class_losses,
    clip_losses,
    contrast_with,
)

SMALL = TowersConfig(layers=1, width=16, heads=2, patch=4, text_layers=1, text_width=16,
                     embedding=8, shift=1, flip=False, contrast=.1, dtype="float32")


def rows(count, classes=0, seed=0, size=8, length=6):
    "Random pairs, or classified pictures if there are classes."
    rng = np.random.default_rng(seed)
    label = np.arange(count) % classes if classes else np.full(count, -1)
    return {"image": rng.integers(0, 256, (count, size, size, 3), np.uint8),
            "tokens": rng.integers(1, 256, (count, length), np.uint8),
            "class": label.astype(np.int32)}


def towers(dtype=jnp.float32, config=SMALL, classes=3):
    "A model, its parameters, and captions of classes."
    model, batch = Towers(config, classes), rows(2)
    params = jax.jit(model.init)(jax.random.key(0), batch["image"], batch["tokens"])
    return model, jax.tree.map(lambda x: x.astype(dtype), params), rows(classes, seed=7)["tokens"]


def unit_vectors(seed, count, space=5):
    x = np.random.default_rng(seed).normal(size=(count, space))
    return x/np.linalg.norm(x, axis=1, keepdims=True)


def reference(a, b, scale):
    "CLIP's loss of each pair, one at a time, in float64."
    losses = []
    for i in range(len(a)):
        captions = [np.exp(scale*a[i] @ b[j]) for j in range(len(b))]
        pictures = [np.exp(scale*a[j] @ b[i]) for j in range(len(a))]
        shares = captions[i]/sum(captions), pictures[i]/sum(pictures)
        losses.append(-sum(np.log(shares))/2)
    return np.array(losses)


@pytest.mark.parametrize(("count", "scale"), [(1, 3.), (7, 1.), (16, 14.)])
def test_clip_loss_is_the_plain_reference(count, scale):
    a, b = unit_vectors(0, count), unit_vectors(1, count)
    def losses(a, b): return clip_losses(jnp.float32(a), jnp.float32(b), jnp.float32(scale))
    expected = reference(a, b, scale)
    np.testing.assert_allclose(losses(a, b), expected, rtol=1e-4, atol=1e-5)
    order = np.random.default_rng(2).permutation(count)
    np.testing.assert_allclose(losses(a[order], b[order]), expected[order], rtol=1e-4, atol=1e-5)


def test_pairs_left_out_are_nobodys_negatives():
    a, b = unit_vectors(0, 9), unit_vectors(1, 9)
    among = np.arange(9) % 3 != 1
    def losses(x): return clip_losses(x, jnp.float32(b), jnp.float32(5.), jnp.array(among))
    found = losses(jnp.float32(a))
    np.testing.assert_allclose(found[among], reference(a[among], b[among], 5.), rtol=1e-4)
    assert np.isfinite(jax.grad(lambda x: losses(x).sum())(jnp.float32(a))).all()


def test_contrast_with_given_others_does_not_depend_on_the_batch():
    a, b = unit_vectors(0, 6), unit_vectors(1, 6)
    others = unit_vectors(2, 10), unit_vectors(3, 10)
    def loss(some):
        own = map(jnp.float32, (a[some], b[some], 4.))
        return contrast_with(*own, tuple(map(jnp.float32, others)))

    whole = loss(slice(None))
    for i in range(6):
        np.testing.assert_allclose(loss(slice(i, i + 1))[0], whole[i], rtol=1e-5)
        pair = [np.concatenate([x[i:i + 1], y]) for x, y in zip((a, b), others, strict=True)]
        np.testing.assert_allclose(whole[i], reference(*pair, 4.)[0], rtol=1e-4)


def test_class_losses_are_cross_entropies():
    logits, classes = np.random.default_rng(0).normal(size=(5, 4)), np.array([0, 3, 1, 2, 2])
    wanted = [-np.log(np.exp(x[k])/np.exp(x).sum()) for x, k in zip(logits, classes, strict=True)]
    found = class_losses(jnp.float32(logits), jnp.array(classes))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def weighted(task, params, batch, w, key):
    "The loss that is trained: every pair's question with its weight, among all pairs of the batch."
    return w @ task.generic(params, batch, key)


RESNET = {"tower": "resnet", "patch": 2, "text": "bag_of_bytes"}

@pytest.mark.slow
@pytest.mark.parametrize("kinds", [{}, pytest.param(RESNET, marks=pytest.mark.slow)])
def test_scores_are_float64_finite_differences_of_the_weighted_loss(kinds, float64):
    "a_i is what a little weight on pair i changes of the weighted loss's slope along u."
    config = TowersConfig(**{**SMALL.__dict__, **kinds})
    model, params, captions = towers(jnp.float64, config)
    task, key = vision_task(model, captions), jax.random.key(3)
    generic, specific = rows(8), rows(6, classes=3, seed=1)
    def of_rows(p, some=slice(None)):
        return task.generic(p, jax.tree.map(lambda x: x[some], generic), key)

    losses = Losses(of_rows, lambda p: task.specific(p, specific, key), jnp.zeros(8))
    s = jax.jit(lambda p: rules.dds_rule().judge((), p, losses)[0])(params)
    u = jax.tree.map(lambda g: -g, jax.jit(jax.grad(lambda p: losses.specific(p).mean()))(params))
    w = jax.nn.softmax(jax.random.normal(jax.random.key(4), (8,), jnp.float64))
    step = 2e-4/float(optax.tree.norm(u))  # not smaller: attention has its softmax in float32
    @jax.jit
    def value(w, distance):
        moved = optax.tree.add_scale(params, distance, u)
        return weighted(task, moved, generic, w, key)

    def slope(w): return (value(w, step) - value(w, -step))/(2*step)
    numeric = [(slope(w + 1e-2*e) - slope(w - 1e-2*e))/2e-2 for e in jnp.eye(8)]
    assert s.dtype == jnp.float64
    bound = 1e-4*float(abs(s).max())
    np.testing.assert_allclose(s, jnp.array(numeric), rtol=1e-4, atol=bound)


def test_both_kinds_in_one_batch_have_the_loss_of_their_kind():
    model, params, captions = towers()
    pairs, pictures = rows(6), rows(3, classes=3, seed=1)
    both = jax.tree.map(lambda a, b: np.concatenate([a, b]), pairs, pictures)
    plain, mixed = vision_task(model, captions), vision_task(model, captions, mixed=True)
    found = jax.jit(mixed.generic)(params, both, None)
    np.testing.assert_allclose(found[:6], jax.jit(plain.generic)(params, pairs, None), rtol=1e-5)
    of_pictures = jax.jit(plain.specific)(params, pictures, None)
    np.testing.assert_allclose(found[6:], of_pictures, rtol=1e-5)


@pytest.mark.slow
def test_a_linear_layer_starts_without_an_opinion_and_learns():
    model, params, captions = towers(config=TowersConfig(**{**SMALL.__dict__, "head": "linear"}))
    task, pictures = vision_task(model, captions), rows(9, classes=3, seed=1)
    losses = task.specific(params, pictures, None)
    np.testing.assert_allclose(losses, np.log(3), rtol=1e-5)
    optimizer = optax.adam(1e-2)
    state = optimizer.init(params)
    @jax.jit
    def step(params, state):
        gradient = jax.grad(lambda p: task.specific(p, pictures, None).mean())(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state

    for _ in range(60):
        params, state = step(params, state)
    assert task.specific(params, pictures, None).mean() < .2


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [{}, pytest.param(RESNET, marks=pytest.mark.slow)])
def test_towers_learn_which_caption_belongs_to_which_picture(kinds):
    model, params, captions = towers(config=TowersConfig(**{**SMALL.__dict__, **kinds}))
    task, pairs = vision_task(model, captions), rows(12)
    optimizer = optax.adam(3e-3)
    state = optimizer.init(params)
    @jax.jit
    def step(params, state):
        gradient = jax.grad(lambda p: task.generic(p, pairs, None).mean())(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state

    assert task.generic(params, pairs, None).mean() > 2
    for _ in range(150):
        params, state = step(params, state)
    assert task.generic(params, pairs, None).mean() < .1


@pytest.mark.slow
def test_padding_of_captions_is_not_read():
    model, params, _ = towers()
    short = np.zeros((2, 6), np.uint8)
    short[:, :3] = [[97, 98, 99], [97, 98, 99]]
    vectors = model.apply(params, short, method="texts")
    np.testing.assert_allclose(vectors[0], vectors[1])
    table = params["params"]["text_tower"]["bytes"]
    table["embedding"] = table["embedding"].at[0].set(1e3)
    np.testing.assert_allclose(model.apply(params, short, method="texts"), vectors, atol=1e-5)
    assert np.isfinite(model.apply(params, np.zeros((1, 6), np.uint8), method="texts")).all()


def test_augmentation_shifts_mirrors_and_scales_and_depends_on_the_key_alone():
    batch = rows(40, size=9)["image"]
    def found(seed, **settings):
        return np.asarray(augment(batch, jax.random.key(seed), TowersConfig(**settings)))

    shifted = found(0, shift=2, flip=False, contrast=0.)
    wide = np.pad(batch, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    def is_at(i, y, x): return np.array_equal(wide[i, y:y + 9, x:x + 9], shifted[i])
    places = [[(y, x) for y in range(5) for x in range(5) if is_at(i, y, x)] for i in range(40)]
    assert all(places) and len({p[0] for p in places}) > 10
    mirrored = found(1, shift=0, flip=True, contrast=0.)
    kinds = [(np.array_equal(a, b), np.array_equal(a[:, ::-1], b))
             for a, b in zip(batch, mirrored, strict=True)]
    assert set(kinds) == {(True, False), (False, True)}
    scaled = found(2, shift=0, flip=False, contrast=.3)
    factors = (scaled - 127.5)/(batch - 127.5)
    assert np.allclose(factors, factors[:, :1, :1, :1], rtol=1e-3)
    assert .2 < factors[:, 0, 0, 0].std() < .4
    np.testing.assert_array_equal(scaled, found(2, shift=0, flip=False, contrast=.3))


@pytest.mark.slow
def test_weighting_networks_of_pictures_meet_finite_differences(float64):
    batch = jax.tree.map(jnp.asarray, rows(5))
    network = added(image_cnn(width=4, patch=4), bag_of_tokens(width=3))
    def normal(x): return jax.random.normal(jax.random.key(x.size), x.shape, jnp.float64)
    alpha = jax.tree.map(normal, network.init(jax.random.key(1), batch))
    at, unravel = jax.flatten_util.ravel_pytree(alpha)
    direction = jax.random.normal(jax.random.key(2), at.shape, jnp.float64)
    score = jax.jit(lambda a: network.score(unravel(a), batch))
    assert score(at).shape == (5,)
    slope = (score(at + 1e-6*direction) - score(at - 1e-6*direction))/2e-6
    along = jax.jvp(score, (at,), (direction,))[1]
    np.testing.assert_allclose(along, slope, rtol=1e-4, atol=1e-6)
    alone = network.score(alpha, jax.tree.map(lambda x: x[2:3], batch))
    np.testing.assert_allclose(alone, network.score(alpha, batch)[2:3], rtol=1e-6)
