"""Which scores of documents say what training on them does to the target's loss?

    python tools/studies/text_datamodels.py "embedded:Security weakness" ngram logra > found.csv

The generic documents of the preset `small-target` fall into 32 clusters by their words. The task's
judge, a byte convolution of 64 channels, is trained from the beginning on the documents of sixteen
clusters at a time, thirty times, and its loss on the validation target is what scores are to
predict: the linear datamodeling score (LDS) is the rank correlation, over the thirty, of the mean
score of what was trained on with minus that loss. Source: Ilyas et al. 2022.

A scorer is named with its settings, as in `dsir+smoothing=1`; `contrast+steps=40` is the loss of a
judge less that of its copy after so many steps on the target's training sample; a name that ends in
`.parquet` is a file of scores, as `adaptive-dist score RUN` writes them.
"""
import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from picks import flags

from adaptive_dist.config.settings import change, check
from adaptive_dist.data.readers import Batches
from adaptive_dist.data.text import prepare_text
from adaptive_dist.data.vocabulary import decode
from adaptive_dist.experiments.lm import LM, lm_components
from adaptive_dist.method.check.estimates import rank_correlation
from adaptive_dist.report.grid import configured
from adaptive_dist.scorers.embedding import fit_embedding, kmeans, nearest_centre
from adaptive_dist.scorers.scorer import Items, Pool, document_starts
from adaptive_dist.train.assemble import assemble
from adaptive_dist.train.methods import Preparation
from adaptive_dist.train.scored import scorer_of
from adaptive_dist.train.small_model import (
    Readings,
    Spent,
    Trained,
    Trials,
    contrast_with_copy,
    small_model,
)

JUDGE = "judge_width=64"
STEPS, CLUSTERS, SUBSETS, SHARES = 600, 32, 30, (2, 4, 8, 16, 32)


def prepared(config: Any, variant: str, data: Any) -> Preparation:
    "What a scorer of documents is prepared from, with settings as on the command line."
    own: Any = check(configured(config, flags(variant)))
    return Preparation(own, data, lm_components(own), assemble)


def clusters(config: Any, pool: Pool, seed: int) -> np.ndarray:
    "The cluster of each document, by its words."
    own: Any = configured(config, flags("crisp"))
    embed = fit_embedding(own.method_settings.scorer_settings, pool, seed)
    points = np.concatenate([embed(items) for items in pool.blocks()])
    return nearest_centre(points, kmeans(points, CLUSTERS, seed))


def contrast(trials: Trials, data: Any, steps: int) -> Callable[[Items], np.ndarray]:
    "The mean contrast of a document's rows: a judge, and its copy after so many steps."
    params = trials.params(Batches(data.generic, 16, (0, 4), "generic"), STEPS)
    readings = Readings(trials.preparation, Spent(), Trained(params, 0., 0.))
    found = contrast_with_copy(readings, steps)
    return lambda items: np.add.reduceat(found(items.rows), items.starts)/items.sizes


def scores(config: Any, variant: str, data: Any, pools: Sequence[Pool]) -> np.ndarray:
    "What a scorer gives to each generic document."
    generic, specific = pools
    name, _, steps = variant.partition("+steps=")
    if name == "contrast":
        trials = Trials(prepared(config, f"logra+{JUDGE}+judge_steps={STEPS}", data), Spent())
        score = contrast(trials, data, int(steps))
    else:
        scorer = f"ngram+scores={name}" if name.endswith(".parquet") else variant
        if name.startswith("logra"):
            scorer += f"+{JUDGE}+judge_steps={STEPS}"
        preparation = prepared(config, scorer, data)
        own = preparation.config.method_settings
        generic.model = small_model(preparation, generic, Spent())
        score = scorer_of(own).fit(own.scorer_settings, generic, specific, 0)
    return np.concatenate([score(items) for items in generic.blocks()])


def losses_of(config: Any, data: Any, pool: Pool) -> Callable[[np.ndarray], float]:
    "A function of which documents are in: the target's loss of a judge that is trained on them."
    preparation = prepared(config, f"logra+{JUDGE}+judge_steps={STEPS}", data)
    trial = small_model(preparation, pool, Spent()).trial
    return lambda inside: trial(np.where(inside, 0., -np.inf), STEPS).loss


def halves(members: np.ndarray, seed: int) -> np.ndarray:
    "Which documents are in random halves of the clusters."
    rng = np.random.default_rng(seed)
    return np.array([np.isin(members, rng.permutation(CLUSTERS)[:CLUSTERS//2])
                     for _ in range(SUBSETS)])


def best(found: np.ndarray, sizes: np.ndarray, share: int) -> np.ndarray:
    "Which documents hold the best rows, one in so many of all."
    order = np.argsort(-found, kind="stable")
    inside = np.zeros(len(found), bool)
    inside[order[:1 + np.searchsorted(np.cumsum(sizes[order]), sizes.sum()/share)]] = True
    return inside


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specific", help="the target, as for --specific")
    parser.add_argument("scorers", nargs="+", help="scorers, files of scores, and contrasts")
    parser.add_argument("--seed", type=int, default=0, help="of clusters and subsets")
    args = parser.parse_args()
    config = change(LM.presets["small-target"], specific=args.specific)
    data = prepare_text(config.data, length=config.model.length)
    pools = tuple(
        Pool(part, lambda rows: decode(rows["tokens"].ravel()), document_starts(part), data.labels)
        for part in (data.generic, data.specific_train))
    generic = pools[0]
    loss = losses_of(config, data, generic)
    everything = loss(np.ones(len(generic), bool))
    inside = halves(clusters(config, generic, args.seed), args.seed)
    losses = np.array([loss(some) for some in inside])
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["target", "seed", "scorer", "lds", *(f"best_1_{k}" for k in SHARES)])
    rows = inside*generic.sizes
    for variant in args.scorers:
        found = np.nan_to_num(scores(config, variant, data, pools), neginf=0.)
        lds = rank_correlation(rows @ found/rows.sum(1), -losses)
        gains = [everything - loss(best(found, generic.sizes, share)) for share in SHARES]
        told = [round(float(x), 4) for x in (lds, *gains)]
        writer.writerow([args.specific, args.seed, variant, *told])
        sys.stdout.flush()


if __name__ == "__main__":
    main()
