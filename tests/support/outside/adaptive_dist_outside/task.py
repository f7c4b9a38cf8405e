"A task: which byte follows which, learnt as one table of bigrams. Its parameters are an array."
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from adaptive_dist.config.settings import setting
from adaptive_dist.data.split import Split
from adaptive_dist.data.table import Rows
from adaptive_dist.data.text import DataConfig, prepare_text
from adaptive_dist.data.vocabulary import decode
from adaptive_dist.method import weighting
from adaptive_dist.method.problem import same_loss
from adaptive_dist.train.assemble import assemble, token_mean
from adaptive_dist.train.experiment import Experiment, TaskComponents
from adaptive_dist.train.settings import OptimizerConfig, SelectionConfig, TaskConfig
from adaptive_dist.train.task import TaskSpec

@dataclass(frozen=True)
class BigramConfig(TaskConfig):
    "A run of the bigram table."
    length: int = setting(64, "bytes of a text that are read at a time (count)", at_least=2)
    data: DataConfig = field(default_factory=DataConfig)

def loss(table, batch, key=None):
    "Nats per byte of each text: the mean of -log p(byte | byte before)."
    tokens = batch["tokens"].astype(jnp.int32)
    before = jnp.pad(tokens, ((0, 0), (1, 0)))[:, :-1]
    nats = -jnp.take_along_axis(jax.nn.log_softmax(table)[before], tokens[..., None], 2)[..., 0]
    counted = tokens != 0
    return (nats*counted).sum(1)/counted.sum(1)

def components(config: BigramConfig) -> TaskComponents:
    "What is particular to the task: losses, weighting network, parameters, a row as text."
    mean = token_mean(loss, "tokens")
    return TaskComponents(
        name="bigrams", task=same_loss(loss), weighting=weighting.bag_of_tokens(width=16),
        init_params=lambda key: jnp.zeros((256, 256)), example_loss=loss,
        generic_loss=mean, specific_loss=mean, show=lambda row: decode(row["tokens"]))

def build(config: BigramConfig) -> Experiment:
    "Everything that a run needs, from its configuration."
    config.check_settings("float32")
    return assemble(config, prepare_text(config.data, length=config.length), components(config))

def build_synthetic(config: BigramConfig) -> Experiment:
    "The same on random bytes, for `adaptive-dist bench`."
    count = 2*config.batch_size*config.selection.downsampling
    tokens = np.random.default_rng(0).integers(1, 256, (count, config.length), np.uint8)
    rows = Rows(tokens=tokens, label=np.zeros(count, np.int32), document=np.arange(count))
    data = Split(rows, rows, rows, rows, rows, ("random",), (1.,), None, {})
    return assemble(config, data, components(config))

small = BigramConfig(
    steps=200, batch_size=16, log_every=20, evaluate_every=50, evaluate_examples=128,
    optimizer=OptimizerConfig(learning_rate=.1, warmup=10),
    selection=SelectionConfig(downsampling=8))
BIGRAMS = TaskSpec("bigrams", {"small": small}, build, "nats per byte",
                   build_synthetic=build_synthetic)
