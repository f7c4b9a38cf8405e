"Problems with a known answer: four domains of linear regression, a target that is some of them."
from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from adaptive_dist.data.split import Split
from adaptive_dist.data.table import Rows
from adaptive_dist.method import weighting as weightings
from adaptive_dist.method.problem import same_loss
from adaptive_dist.train.assemble import assemble
from adaptive_dist.train.experiment import TaskComponents
from adaptive_dist.train.fine_tuning import FineTuningConfig
from adaptive_dist.train.settings import (
    OptimizerConfig,
    SelectionConfig,
    TaskConfig,
    WeightingConfig,
)

DOMAINS, WIDTH = 4, 6
CONFIG = TaskConfig(
    steps=2_000, batch_size=16, log_every=100, evaluate_every=1_000, tensorboard=False,
    fine_tuning=FineTuningConfig(fine_tune_steps=0),
    optimizer=OptimizerConfig(learning_rate=.03, warmup=10), weighting=WeightingConfig(.01),
    selection=SelectionConfig(downsampling=8))


def regression(kind, size=256, seed=0):
    """A split and the components of a task on it.

    `kind`: helps (the target is one domain), generic (all of them), noise, or blind (inputs hide
    the domain).
    """
    rng = np.random.default_rng(seed)
    planes = rng.normal(size=(DOMAINS, WIDTH))
    def rows(count, domains, noise=.1, plane=planes, see=kind != "blind"):
        label, x = rng.choice(domains, count), rng.normal(size=(count, WIDTH))
        features = np.eye(DOMAINS)[label] if see else rng.normal(size=(count, DOMAINS))
        y = (plane[label]*x).sum(1) + noise*rng.normal(size=count)
        columns = {k: v.astype(np.float32) for k, v in dict(x=x, y=y, features=features).items()}
        document = np.arange(count, dtype=np.int32)
        return Rows(**columns, label=label.astype(np.int32), document=document)
    everything = range(DOMAINS)
    def target(count):
        if kind == "generic": return rows(count, everything)
        if kind == "noise":
            return rows(count, everything, noise=20., plane=np.tile(planes.mean(0), (DOMAINS, 1)))
        return rows(count, [0])
    data = Split(rows(8192, everything), target(size), target(128), target(128),
                 rows(128, everything), labels=tuple("abcd"), share=(.25,)*4, target=None,
                 report={})
    task = same_loss(lambda w, batch, key=None: (batch["x"] @ w - batch["y"])**2)
    def loss(w, some): return float(task.generic(w, some.columns).mean())
    return data, TaskComponents(
        "regression", task, weightings.mlp(widths=(16,)), lambda key: jnp.zeros(WIDTH),
        task.generic, loss, loss)


def build(data, components):
    "Builds experiments of any method on the data."
    return lambda config: assemble(config, data, components)


def with_seed(seed): return replace(CONFIG, seed=seed)
