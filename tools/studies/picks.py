"""What scorers pick of a planted target, beside what the peers' own packages picked.

    python tools/studies/picks.py "Biology and health sciences" ngram dsir+smoothing=1 > picks.csv

At the level of whole documents of the preset `reduced`: the share of planted documents among the
best, as many as were planted, a 32nd, and 5 percent; and seconds of processor time.
"""
import argparse
import csv
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from adaptive_dist.config.settings import change, check
from adaptive_dist.data.split import Split
from adaptive_dist.data.text import prepare_text
from adaptive_dist.data.vocabulary import decode
from adaptive_dist.experiments.lm import LM, lm_components
from adaptive_dist.report.grid import configured
from adaptive_dist.scorers.scorer import Pool, document_starts
from adaptive_dist.train.assemble import assemble
from adaptive_dist.train.methods import Preparation
from adaptive_dist.train.scored import scorer_of
from adaptive_dist.train.small_model import Spent, small_model

def pools(topic: str, config: Any) -> tuple[Pool, Pool, np.ndarray, Split]:
    "Generic and specific documents of a topic, which generic ones were planted, and the split."
    data = prepare_text(config.data, length=config.model.length)
    if data.target not in data.labels:
        raise SystemExit(f"nothing of {topic} is planted")
    def documents(part: Any) -> Pool:
        return Pool(part, lambda rows: decode(rows["tokens"].ravel()), document_starts(part),
                    data.labels)
    generic = documents(data.generic)
    planted = data.generic["label"][generic.starts] == data.labels.index(data.target)
    return generic, documents(data.specific_train), planted, data

def shares(scores: np.ndarray, planted: np.ndarray) -> list[float]:
    "The share of planted documents among the best; ties are broken at random."
    noise = np.random.default_rng(1).random(len(scores))
    order = np.lexsort((noise, -scores))
    counts = int(planted.sum()), len(scores)//32, len(scores)//20
    return [round(float(planted[order[:count]].mean()), 4) for count in counts]

def flags(variant: str) -> Sequence[str]:
    "The command-line flags of a scorer with settings."
    name, *settings = variant.split("+")
    pairs = (setting.partition("=")[::2] for setting in settings)
    given = [word for key, value in pairs for word in ("--" + key.replace("_", "-"), value)]
    return ["--method", "scored", "--scorer", name, *given]

def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic")
    parser.add_argument("scorers", nargs="+", help="scorers, with settings as in dsir+smoothing=1")
    args = parser.parse_args()
    preset = change(LM.presets["reduced"], specific=f"embedded:{args.topic}")
    generic, specific, planted, data = pools(args.topic, preset)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["scorer", "at_planted", "at_1_32", "at_5_percent", "cpu_seconds"])
    for variant in args.scorers:
        config: Any = check(configured(preset, flags(variant)))
        own = config.method_settings
        preparation = Preparation(config, data, lm_components(config), assemble)
        began = time.process_time()
        generic.model = small_model(preparation, generic, Spent())
        score = scorer_of(own).fit(own.scorer_settings, generic, specific, 0)
        scores = np.concatenate([score(block) for block in generic.blocks()])
        spent = round(time.process_time() - began, 1)
        writer.writerow([variant, *shares(scores, planted), spent])
        sys.stdout.flush()

if __name__ == "__main__":
    main()
