"""Adapt the training distribution to a small target domain while training runs.

`import adaptive_dist as ad` gives Algorithm 1 (`ad.soba`, `ad.dds`, `ad.anograd`, `ad.adaptive`),
selection by a judge and its tuned copy (`ad.online_cds`), what to compare both with (`ad.uniform`,
`ad.mixing`, `ad.classifier`, `ad.cds`), what they are told (`ad.Task`, `ad.weighting`), a step for
a loop of your own (`ad.make_step`) and its parts (`ad.rules`, `ad.filtering`); `ad.select` gives
the records of a corpus that a target wants, for any trainer, and `ad.load_scorer` what scores
texts. Models, data and training live in `adaptive_dist.models`, `adaptive_dist.data`,
`adaptive_dist.train` and `adaptive_dist.experiments`, and are imported only by name.
"""
__version__ = "0.1.0"

# nbdev_export writes the line above and leaves the rest of this file alone: public names are listed
# here by hand.
from importlib import import_module
from typing import Any

from .method import baselines, filtering, rules, weighting
from .method.baselines import append_specific, cds, classifier, mixing, replay
from .method.contrast import Judge, online_cds
from .method.filtering import Filter, Selection
from .method.problem import Task, check_task, merge_params, rows, same_loss, split_params
from .method.rules import Rule
from .method.selector import (
    AlgorithmInfo,
    AlgorithmState,
    Selector,
    SelectorInfo,
    SelectorState,
    adaptive,
    algorithm_init,
    algorithm_step,
    anograd,
    dds,
    make_step,
    soba,
    uniform,
)
from .method.weighting import Weighting

__all__ = [
    "AlgorithmInfo", "AlgorithmState", "Filter", "Judge", "Rule", "Selection", "Selector",
    "SelectorInfo", "SelectorState", "Task", "Weighting", "adaptive", "algorithm_init",
    "algorithm_step", "anograd", "append_specific", "baselines", "cds", "check_task",
    "classifier", "dds", "filtering", "load_scorer", "make_step", "merge_params", "mixing",
    "online_cds", "replay", "rows", "rules", "same_loss", "select", "soba", "split_params",
    "uniform", "weighting",
]

# What reads corpora is imported when it is asked for: it needs more than the method does.
_LATER = {"select": "adaptive_dist.corpus.select", "load_scorer": "adaptive_dist.scorers.exported"}

def __getattr__(name: str) -> Any:
    "A function of another room, by its name here."
    if name in _LATER: return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
