"MATES: influence against a closed form, and stages against a selector without them."
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from adaptive_dist.method import rules
from adaptive_dist.method.mates import staged
from adaptive_dist.method.problem import same_loss
from adaptive_dist.method.selector import adaptive, uniform
from adaptive_dist.method.weighting import mlp

TASK = same_loss(lambda w, batch, key: (batch["features"] @ w - batch["y"])**2)


def batch_of(key, rows):
    features = jax.random.normal(jax.random.key(key), (rows, 3))
    return {"features": features, "y": features[:, 0]}


def learner():
    return adaptive(TASK, mlp(widths=()), rules.dds_rule(), batch_size=4, generic_rows=16,
                    objective=rules.squared_error, optimizer=optax.adam(.1))


@pytest.mark.parametrize("size", [.1, .01])
def test_the_influence_of_a_step_is_the_alignment_to_first_order(size, float64):
    centres, wanted = np.random.default_rng(0).normal(size=(5, 3)), np.array([1., -2., .5])
    def specific(theta): return .5*((theta - wanted)**2).sum()[None]
    def generic(theta, rows=slice(None)): return .5*((theta - centres[rows])**2).sum(1)
    losses, zero = rules.Losses(generic, specific, jnp.zeros(5)), jnp.zeros(3)
    alignments, _, _ = rules.dds_rule().judge((), zero, losses)
    gained = [float(specific(zero)[0] - specific(zero + size*c)[0]) for c in centres]
    exact = size*centres @ wanted - size**2/2*(centres**2).sum(1)
    np.testing.assert_allclose(gained, exact, rtol=1e-10)
    np.testing.assert_allclose(np.array(gained)/size + alignments, -size/2*(centres**2).sum(1),
                               rtol=1e-9, atol=1e-12)


def test_a_stage_picks_by_what_the_selector_without_stages_had_learnt_at_its_end():
    plain, big, specific, w = learner(), batch_of(0, 32), batch_of(1, 8), jnp.zeros(3)
    chosen = staged(plain, stage=3)
    state, without = (s.init(jax.random.key(2), w, big) for s in (chosen, plain))
    update, learn = jax.jit(chosen.update), jax.jit(plain.update)
    at_end = plain.score(without, big)
    for step in range(7):
        if step % 3 == 0:
            at_end = plain.score(without, big)
        np.testing.assert_array_equal(chosen.score(state, big), at_end)
        key = jax.random.key(step)
        state, _ = update(state, key, w, big, specific)
        without, _ = learn(without, key, w, big, specific)
    assert at_end.any() and not np.array_equal(plain.score(without, big), at_end)


def test_the_optimizer_is_shown_to_the_rule_and_to_no_other_selector():
    seen = []
    def precondition(direction):
        seen.append(direction)
        return direction
    rule = rules.dds_rule()
    def judge(state, params, losses):
        losses.precondition(params)
        return rule.judge(state, params, losses)
    asking = adaptive(TASK, mlp(), rule._replace(judge=judge), batch_size=4)
    chosen, big = staged(asking, stage=2), batch_of(0, 8)
    state = chosen.init(jax.random.key(0), jnp.zeros(3), big)
    jax.eval_shape(chosen.through(precondition), state, jax.random.key(0), jnp.zeros(3), big, big)
    assert seen and uniform(batch_size=2).through is None


@pytest.mark.parametrize("counts, said", [
    (dict(stage=0), "stage=0"), (dict(stage=3, look=4), "look=4 exceeds stage=3")])
def test_counts_that_do_not_fit_are_refused(counts, said):
    with pytest.raises(ValueError, match=said):
        staged(learner(), **counts)
