"A method: keep the shortest texts of each big batch, or the longest. It learns nothing."
from dataclasses import dataclass

from adaptive_dist.config.settings import setting
from adaptive_dist.method import filtering
from adaptive_dist.method.selector import Selector, stateless
from adaptive_dist.train.methods import Method, SelectorInputs
from adaptive_dist.train.reference_methods import generic_reader
from adaptive_dist.train.settings import TaskConfig

@dataclass(frozen=True)
class ShortestSettings:
    "Which end of the order is kept."
    longest: bool = setting(False, "keep the longest texts instead of the shortest")

def shortest_selector(config: TaskConfig, inputs: SelectorInputs) -> Selector:
    "The rows with the fewest bytes, or with the most."
    sign = 1. if config.method_settings.longest else -1.

    def score(state, batch):
        return sign*(batch["tokens"] != 0).sum(1)

    def select(state, key, big_batch):
        return filtering.top_k(key, score(state, big_batch), config.batch_size)

    return stateless(select, score)

SHORTEST = Method("keep the shortest texts", shortest_selector, generic_reader, ShortestSettings)
