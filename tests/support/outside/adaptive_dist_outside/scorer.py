"A scorer: how many of a text's words the target has, too. It is fitted once, before training."
import numpy as np

from adaptive_dist.scorers.scorer import Items, Pool, ScoreItems, Scorer

def fit_shared_words(settings: object, generic: Pool, specific: Pool, seed: int) -> ScoreItems:
    "The share of a text's words that occur in any specific text."
    known = {word for block in specific.blocks() for text in block.texts() for word in text.split()}

    def score(items: Items) -> np.ndarray:
        return np.array([np.mean([word in known for word in text.split() or [""]])
                         for text in items.texts()])

    return score

SHARED_WORDS = Scorer("the share of words that the target has, too", fit_shared_words)
