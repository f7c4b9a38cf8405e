"Compiled work per step, as a ratio to uniform: counted by the compiler, so free of noise."
import pytest

from adaptive_dist.config.settings import change
from adaptive_dist.experiments.lm import LM
from adaptive_dist.train.experiment import step_flops

def flops(**settings):
    "Operations of a step in the benchmark's small configuration."
    return step_flops(LM.build_synthetic(change(LM.presets["bench"], **settings)))

def slow(limit, settings):
    "A case that only slow runs look at."
    return pytest.param(limit, settings, marks=pytest.mark.slow)

@pytest.fixture(scope="module")
def uniform():
    return flops(method="uniform")

@pytest.mark.parametrize("limit, settings", [
    slow(5.2, dict(method="soba", hvp="exact", curvature_rows=1.)),
    slow(3.6, dict(method="soba", hvp="finite_difference", curvature_rows=.5)),
    slow(3.5, dict(method="soba", hvp="fisher", curvature_rows=1.)),
    slow(3.9, dict(method="soba", hvp="fisher_exact", curvature_rows=1.)),
    slow(3.3, dict(method="dds", derivative="exact")),
    slow(4.0, dict(method="anograd", derivative="exact")),
    slow(2.8, dict(method="dds", derivative="finite_difference")),
    slow(3.5, dict(method="anograd", derivative="finite_difference")),
    (1.1, dict(method="mixing")),
    slow(2.2, dict(method="mixing", mixing="two_gradients")),
    slow(1.1, dict(method="cds")),
    slow(1.3, dict(method="classifier")),
    slow(1.3, dict(method="importance")),
    slow(1.3, dict(method="online_cds")),
    slow(1.3, dict(method="online_cds", propose="classifier"))])
def test_flops_per_step(limit, settings, uniform):
    assert flops(**settings)/uniform < limit
