"""Which generic pictures lower the target's loss? Every direction against models trained again.

    python tools/studies/datamodels.py digits.csv.gz --out nbs/experiments/results/datamodels.csv

`digits.csv.gz` is in scikit-learn's wheel (`sklearn/datasets/data`): 1,797 pictures of 8 by 8. A
thousand of them are the generic set, the eights and nines among the others the target; the model is
softmax regression. It is trained to its optimum on a hundred random halves of the generic set, and
its loss on the target is what attributions are to predict: the linear datamodeling score (LDS) is
the Spearman correlation, over halves, of that loss with the sum of the half's attributions. Source:
Ilyas et al. 2022; Park et al. 2023 (TRAK).

A method is asked for two attributions, its direction's alignments and its scores, while it watches
a model that is trained uniformly, and while it steers one.
"""
import argparse
import csv
import gzip
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import adaptive_dist as ad
from adaptive_dist.method.check.estimates import rank_correlation
from adaptive_dist.method.problem import Batch, Params
from adaptive_dist.method.selector import descend

DECAY = 3e-4  # of the squared norm of the parameters, halved, in the loss of each picture
BATCH, RATIO, STEPS, HALVES, TARGET = 16, 8, 4_000, 100, 140
LOOKS = (50, 200, 1_000, 4_000)


class Digits(NamedTuple):
    "Pictures with a constant behind them, and their classes: the generic set and the target."
    generic: Batch
    target: Batch


def digits(path: Path, seed: int) -> Digits:
    "A thousand pictures drawn with a seed, and the eights and nines of the others."
    with gzip.open(path) as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.float32)
    rows = rows[np.random.default_rng(seed).permutation(len(rows))]
    pictures = np.concatenate([rows[:, :-1]/16, np.ones((len(rows), 1), np.float32)], 1)
    def some(numbers: np.ndarray) -> Batch:
        return {"features": pictures[numbers], "label": rows[numbers, -1].astype(np.int32)}
    rest = np.arange(1_000, len(rows))
    return Digits(some(np.arange(1_000)), some(rest[rows[rest, -1] >= 8][:TARGET]))


def picture_loss(params: Params, batch: Batch, key: Any = None) -> jax.Array:
    "Cross-entropy of each picture in nats."
    del key
    logits = batch["features"] @ params
    own = jnp.take_along_axis(logits, batch["label"][:, None], 1)[:, 0]
    return jax.nn.logsumexp(logits, 1) - own


def decayed_loss(params: Params, batch: Batch, key: Any = None) -> jax.Array:
    "The same with weight decay: what the model is trained on."
    return picture_loss(params, batch, key) + DECAY/2*(params**2).sum()


TASK, UNUSED = ad.Task(decayed_loss, picture_loss), jax.random.key(0)  # losses want a key


# Models at their optimum, in double precision.
def probabilities(params: np.ndarray, x: np.ndarray) -> np.ndarray:
    "Softmax of the logits."
    logits = x @ params
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers/powers.sum(1, keepdims=True)


def gradients(params: np.ndarray, batch: Batch) -> np.ndarray:
    "Gradient of each picture's loss, without decay, as rows."
    x = np.asarray(batch["features"], float)
    errors = probabilities(params, x) - np.eye(10)[batch["label"]]
    return (x[:, :, None]*errors[:, None, :]).reshape(len(x), -1)


def hessian(params: np.ndarray, batch: Batch, weights: np.ndarray) -> np.ndarray:
    "Hessian of the weighted and decayed loss."
    x = np.asarray(batch["features"], float)
    p, size = probabilities(params, x), params.size
    found = np.empty((*params.shape, *params.shape))
    for a in range(10):
        for b in range(a, 10):
            curvature = weights*p[:, a]*((a == b) - p[:, b])
            found[:, a, :, b] = found[:, b, :, a] = (x*curvature[:, None]).T @ x
    return found.reshape(size, size) + DECAY*np.eye(size)


def optimum(batch: Batch, weights: np.ndarray, start: np.ndarray) -> np.ndarray:
    "Newton's steps, halved until the loss falls, to the least weighted loss."
    def loss(params: np.ndarray) -> float:
        x, rows = np.asarray(batch["features"], float), np.arange(len(weights))
        likely = probabilities(params, x)[rows, batch["label"]]
        return float(-weights @ np.log(likely + 1e-300) + DECAY/2*(params**2).sum())
    params = start
    for _ in range(30):
        slope = weights @ gradients(params, batch) + DECAY*params.ravel()
        if np.abs(slope).max() < 1e-9: break
        step = np.linalg.solve(hessian(params, batch, weights), slope).reshape(params.shape)
        length, before = 1., loss(params)
        while loss(params - length*step) > before and length > 1e-4:
            length /= 2
        params = params - length*step
    return params


class Datamodel(NamedTuple):
    "Halves of the generic set, the target's loss after training on each, and the whole's optimum."
    halves: np.ndarray
    losses: np.ndarray
    params: np.ndarray

    def score(self, attribution: np.ndarray) -> float:
        "LDS of an attribution that is low where a picture lowers the loss."
        return float(rank_correlation(self.halves @ np.asarray(attribution, float), self.losses))


def datamodel(data: Digits, seed: int) -> Datamodel:
    "Train again on every half."
    rng, count = np.random.default_rng((seed, 1)), len(data.generic["label"])
    whole = optimum(data.generic, np.full(count, 1/count), np.zeros((65, 10)))
    halves = np.stack([rng.permutation(count) < count//2 for _ in range(HALVES)])
    models = (optimum(data.generic, half/half.sum(), whole) for half in halves)
    losses = [float(picture_loss(jnp.asarray(model, jnp.float32), data.target).mean())
              for model in models]
    return Datamodel(halves.astype(float), np.array(losses), whole)


def at_rest(data: Digits, found: Datamodel) -> dict[str, np.ndarray]:
    "Attributions that need no training of a selector: the scale's fixed points."
    each, start = gradients(found.params, data.generic), np.zeros_like(found.params)
    g_s = gradients(found.params, data.target).mean(0)
    count = len(each)
    v = -np.linalg.solve(hessian(found.params, data.generic, np.full(count, 1/count)), g_s)
    at_start = gradients(start, data.generic) @ -gradients(start, data.target).mean(0)
    return {"SOBA's fixed point": each @ v, "DDS at the optimum": -each @ g_s,
            "DDS at the start": at_start,
            "class label": -(data.generic["label"] >= 8).astype(float)}


# Selectors, while a model is trained.
class Asked(NamedTuple):
    "Who watches or steers, and what is asked of it: attributions by name."
    selector: ad.Selector
    ask: Callable[[ad.Selector, Params, Any, Digits], dict[str, jax.Array]]


def draw(key: jax.Array, rows: Batch, count: int) -> Batch:
    "Some rows, each at most once."
    return ad.rows(rows, jax.random.choice(key, len(rows["label"]), (count,), replace=False))


def scores_and_direction(selector: ad.Selector, params: Params, state: Any,
                         data: Digits) -> dict[str, jax.Array]:
    "The scores, with their sign changed, and the alignments with the direction if there is one."
    assert selector.score
    scores = selector.score(state, data.generic)
    if selector.direction is None: return {"scores": -scores}
    weights = jax.nn.softmax(scores)
    g_s = jax.grad(lambda p: TASK.specific(p, data.target, UNUSED).mean())(params)
    g_w = jax.grad(lambda p: weights @ TASK.generic(p, data.generic, UNUSED))(params)
    u = selector.direction(state, g_s, g_w)
    aligned = jax.jvp(lambda p: TASK.generic(p, data.generic, UNUSED), (params,), (u,))[1]
    return {"scores": -scores, "direction": aligned}


def response(steps: int, generic: float, selector: ad.Selector, params: Params, state: Any,
             data: Digits) -> dict[str, jax.Array]:
    """The contrast of two copies after some steps, one of which has seen specific batches.

    Both train on generic ones as well, or neither does, by the weight of those, 1 or 0.
    """
    del selector, state
    optimizer = optax.adam(1e-3)

    def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
        for_generic, for_specific = jax.random.split(key)
        batch = draw(for_generic, data.generic, BATCH)
        specific = draw(for_specific, data.target, BATCH)
        def loss(p: Params, share: float) -> jax.Array:
            return (generic*TASK.generic(p, batch, UNUSED).mean()
                    + share*TASK.specific(p, specific, UNUSED).mean())
        return tuple(descend(partial(loss, share=share), p, state, optimizer)[:2]
                     for share, (p, state) in zip((0., 1.), carry, strict=True)), None

    copy = params, optimizer.init(params)
    (plain, _), (told, _) = jax.lax.scan(
        step, (copy, copy), jax.random.split(jax.random.key(7), steps))[0]
    return {"scores": picture_loss(told, data.generic) - picture_loss(plain, data.generic)}


def picture_and_class(batch: Batch) -> jax.Array:
    "What a weighting network sees: all that the loss depends on, as with texts."
    return jnp.concatenate([batch["features"], jax.nn.one_hot(batch["label"], 10)], 1)


def methods() -> dict[str, Asked]:
    "Who is asked: methods at their defaults but for what their names say."
    network, size = ad.weighting.mlp(picture_and_class), BATCH
    found = {
        "DDS": ad.dds(TASK, network, batch_size=size, ema_decay=.98),
        "Anograd": ad.anograd(TASK, network, batch_size=size, ema_decay=.98),
        "SOBA": ad.soba(TASK, network, batch_size=size),
        "SOBA, rate .1": ad.soba(TASK, network, batch_size=size, v_optimizer=.1),
        "SOBA, v by Adam": ad.soba(TASK, network, batch_size=size, v_optimizer=optax.adam(1e-2)),
        "classifier": ad.classifier(network, batch_size=size),
        "contrast": ad.online_cds(TASK, batch_size=size),
        "cascade": ad.online_cds(
            TASK, batch_size=size, among=ad.classifier(network, batch_size=4*size)),
    }
    plain = ad.uniform(batch_size=size)
    copies = {f"{name}, {steps} steps": Asked(plain, partial(response, steps, generic))
              for name, generic in {"tuned copy": 0., "tuned beside training": 1.}.items()
              for steps in (40, 400, 2_000)}
    return {name: Asked(s, scores_and_direction) for name, s in found.items()} | copies


def trained(asked: Asked, steers: bool, data: Digits, key: jax.Array) -> dict[str, Any]:
    "Attributions at each of `LOOKS`, in a uniform run unless the selector steers it."
    rate = optax.warmup_exponential_decay_schedule(0., 2e-2, 50, STEPS, .05)
    selector, optimizer, plain = asked.selector, optax.adam(rate), ad.uniform(batch_size=BATCH)

    def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
        k1, k2, k3, k4 = jax.random.split(key, 4)
        params, opt_state, state = carry
        big, specific = draw(k1, data.generic, BATCH*RATIO), draw(k2, data.target, BATCH)
        chooser, own = (selector, state) if steers else (plain, ())
        picked, weights = chooser.select(own, k3, big)
        batch = ad.rows(big, picked)
        params, opt_state, *_ = descend(
            lambda p: weights @ TASK.generic(p, batch, UNUSED), params, opt_state, optimizer)
        return (params, opt_state, selector.update(state, k4, params, big, specific)[0]), None

    first, rest = jax.random.split(key)
    begun = ad.algorithm_init(first, jnp.zeros((65, 10)), selector, optimizer,
                              ad.rows(data.generic, jnp.arange(BATCH)))
    carry, seen, keys = tuple(begun), [], jax.random.split(rest, STEPS)
    for before, now in zip((0, *LOOKS), LOOKS, strict=False):
        carry, _ = jax.lax.scan(step, carry, keys[before:now])
        seen.append(asked.ask(selector, carry[0], carry[2], data))
    loss = TASK.specific(carry[0], data.target, UNUSED).mean()
    return {"said": jax.tree.map(lambda *x: jnp.stack(x), *seen), "loss": loss}


def online(sets: Sequence[Digits], found: Sequence[Datamodel]) -> Iterator[tuple]:
    "Rows of the result: every method, watching and steering, on all sets at once."
    data = jax.tree.map(lambda *x: jnp.stack(x), *sets)
    keys = jax.random.split(jax.random.key(0), len(sets))
    for name, asked in methods().items():
        for mode in ("watches", "steers")[:1 if asked.selector.score is None else 2]:
            run = jax.jit(jax.vmap(partial(trained, asked, mode == "steers")))
            told = jax.tree.map(np.asarray, run(data, keys))
            print(name, mode, told["loss"], flush=True)
            for seed, model in enumerate(found):
                for what, said in told["said"].items():
                    for step, attribution in zip(LOOKS, said[seed], strict=True):
                        loss = f"{told['loss'][seed]:.4f}" if step == STEPS else ""
                        yield (name, mode, what, step, seed, f"{model.score(attribution):.4f}",
                               loss)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("digits", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    sets = [digits(args.digits, seed) for seed in range(args.seeds)]
    found = [datamodel(data, seed) for seed, data in enumerate(sets)]
    with args.out.open("w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("method", "mode", "what", "step", "seed", "lds", "target_loss"))
        for seed, data in enumerate(sets):
            drawn = np.random.default_rng((seed, 2)).normal(size=(100, len(data.generic["label"])))
            fixed = {name: found[seed].score(a) for name, a in at_rest(data, found[seed]).items()}
            fixed["random, mean of 100"] = float(np.mean([found[seed].score(a) for a in drawn]))
            for name, lds in fixed.items():
                writer.writerow((name, "fixed", "direction", "", seed, f"{lds:.4f}", ""))
        for row in online(sets, found):
            writer.writerow(row)
            file.flush()


if __name__ == "__main__":
    main()
