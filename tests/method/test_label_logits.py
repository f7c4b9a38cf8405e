"A weighting network of one logit a label follows the rule as the mixture of the labels."
import jax
import jax.numpy as jnp
import numpy as np
import optax

from adaptive_dist.method.problem import same_loss
from adaptive_dist.method.selector import dds
from adaptive_dist.method.weighting import label_logits

def test_one_step_meets_the_gradient_of_the_mixture_written_out():
    r"$-\partial_a\sum_iw_is_i$ with $s_i$ the alignment of row i, summed by label."
    centres, label = jnp.array([1., 2., -1., 3.]), jnp.array([0, 0, 1, 2])
    loss = same_loss(lambda theta, batch, key=None: (theta - batch["c"])**2/2)
    rate = .1
    selector = dds(loss, label_logits(most=4), batch_size=4, generic_rows=4,
                   optimizer=optax.sgd(rate))
    big = {"c": centres, "label": label}
    theta = jnp.zeros(())
    state = selector.init(jax.random.key(0), theta, big)
    found, _ = selector.update(state, jax.random.key(1), theta, big, {"c": jnp.array([2.])})
    gradient = -np.asarray(centres)           # of each row at 0
    alignment = 2.*gradient  # with u = 2, minus the specific gradient
    weights = np.full(4, 1/4)
    slope = weights*(alignment - weights @ alignment)
    by_label = np.array([slope[np.asarray(label) == k].sum() for k in range(4)])
    logits = jax.tree.leaves(found)
    assert any(x.shape == (4,) and np.allclose(x, -rate*by_label, atol=1e-5) for x in logits)
    assert -by_label[2] > 0 > -by_label[1]    # towards 3 and away from -1
