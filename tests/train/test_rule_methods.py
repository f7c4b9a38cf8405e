"Settings of v reach the rule: damping from a memory, Adam with the model's schedule, its refusals."
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import CONFIG, regression

from adaptive_dist.config.errors import UsageError
from adaptive_dist.config.settings import change
from adaptive_dist.method.selector import Selector
from adaptive_dist.train.assemble import make_selector
from adaptive_dist.train.methods import SelectorInputs
from adaptive_dist.train.rule_methods import SOBA, damping_of
from adaptive_dist.train.settings import inverse_sqrt

SHORT = replace(CONFIG, method="soba", steps=1_000)


def chooser(**changes) -> Selector:
    data, components = regression("helps")
    inputs = SelectorInputs(components.task, components.weighting, data.generic[:1].columns)
    return make_selector(change(SHORT, **changes), inputs)


@pytest.mark.parametrize("changes, updates", [
    (dict(), 1_000), (dict(v_every=4), 250), (dict(update_every=5), 200),
    (dict(v_every=4, update_every=5), 50)])
def test_damping_from_memory_is_exact(changes, updates):
    config = change(SHORT, v_memory=.05, v_learning_rate=.02, **changes)
    # a component without curvature shrinks by 1 - rate*damping an update: 1/e after the memory
    assert damping_of(config) == pytest.approx(1/(.02*.05*updates), rel=1e-12)
    equation = chooser(v_memory=.05, v_learning_rate=.02, **changes).equation
    assert equation.damping == damping_of(config)
    assert 1/(equation.rate*equation.damping) == pytest.approx(.05*1_000, rel=1e-12)  # in steps


def test_adam_moves_v_at_the_rate_of_the_model():
    data, _ = regression("helps")
    one, two = data.generic[:128].columns, data.specific_train[:16].columns
    found = chooser(v_optimizer="adam", v_every=1)
    assert math.isnan(found.equation.rate)
    params, key = jnp.zeros(6), jax.random.key(0)
    state = found.init(key, params, one)
    state, _ = found.update(state, key, params, one, two)
    # Two steps of Adam in the same direction, nearly: the sum of the first two rates.
    rate = inverse_sqrt(SHORT.optimizer)
    wanted = float(rate(0) + rate(1))
    np.testing.assert_allclose(np.abs(state.rule.v), wanted, rtol=.1)


@pytest.mark.parametrize("changes, said", [
    (dict(v_memory=.05, damping=1.), "--v-memory 0.05 and --damping 1.0"),
    (dict(v_memory=.2), "more than a tenth of the run"),
    (dict(v_memory=.05, v_optimizer="adam"), "choose --v-optimizer sgd"),
    (dict(v_freeze=10, v_start=20), "--v-freeze 10 comes before --v-start 20"),
    (dict(generic_rows=129), "--generic-rows 129")])
def test_settings_that_do_not_fit_are_refused_in_one_line(changes, said):
    with pytest.raises(UsageError, match=said) as refused:
        SOBA.check(change(SHORT, **changes), "float32")
    assert "\n" not in str(refused.value)


def test_a_fisher_product_by_differences_needs_float32():
    SOBA.check(change(SHORT, hvp="fisher"), "float32")
    SOBA.check(change(SHORT, hvp="fisher_exact"), "bfloat16")
    with pytest.raises(UsageError, match="--hvp fisher_exact"):
        SOBA.check(change(SHORT, hvp="fisher"), "bfloat16")
