"Probes look and do not touch: with a seed, a run is the same bit for bit with and without them."
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from problems import CONFIG, build, regression

from adaptive_dist.config.settings import change
from adaptive_dist.train.metrics import read_metrics
from adaptive_dist.train.run import restore, run

SHORT = replace(CONFIG, steps=60, log_every=10, evaluate_every=30, checkpoint_every=20)
BY_RULE = {"rule_correlation", "gradient_correlation", "rule_persistence", "gradient_persistence",
           "cosine"}
CARRIED = {"residual", "hessian_residual", "curvature", "memory", "old"}
TOLD = {"soba": BY_RULE | CARRIED, "dds": BY_RULE, "anograd": BY_RULE,
        "classifier": {"gradient_correlation", "gradient_persistence"}, "uniform": None}
CLOCKS = ("seconds", "per_second", "waiting", "peak_memory")


@pytest.fixture
def problem():
    return build(*regression("helps"))


def seen(folder):
    return [{k: v for k, v in r.items() if not any(clock in k for clock in CLOCKS)}
            for r in read_metrics(folder)]


def test_training_is_the_same_with_and_without_probes(problem, tmp_path):
    states = {}
    for every in (0, 10, None):
        config, folder = change(SHORT, method="soba", probe_every=every), tmp_path/str(every)
        run("toy", config, problem, folder, progress=False)
        states[every] = restore(folder, problem(config))
    for every in (10, None):
        assert jax.tree.all(jax.tree.map(jnp.array_equal, states[every], states[0]))
    without = seen(tmp_path/"0")
    often = seen(tmp_path/"10")
    assert all("probe" in r for r in often) and not any("probe" in r for r in without)
    assert [{k: v for k, v in r.items() if k != "probe"} for r in often] == without
    assert ["probe" in r for r in seen(tmp_path/"None")] == [False, False, True]*2


@pytest.mark.slow
@pytest.mark.parametrize("method", TOLD)
def test_what_each_method_tells(method, problem, tmp_path):
    run("toy", change(SHORT, method=method), problem, tmp_path/"run", progress=False)
    last = read_metrics(tmp_path/"run")[-1].get("probe")
    assert (None if last is None else set(last)) == TOLD[method]
    assert last is None or all(abs(last[name]) <= 1 + 1e-5 for name in last.keys() & BY_RULE)


@pytest.mark.slow
def test_a_run_that_goes_on_writes_the_probes_that_it_would_have_written(problem, tmp_path):
    config = change(SHORT, method="soba", probe_every=10)
    run("toy", config, problem, tmp_path/"whole", progress=False)
    def stopping(config):
        experiment, looks = problem(config), []
        def look(state, memory):
            looks.append(state.step)
            if len(looks) == 5: raise KeyboardInterrupt
            return experiment.probe.look(state, memory)
        return experiment._replace(probe=experiment.probe._replace(look=look))
    with pytest.raises(KeyboardInterrupt):
        run("toy", config, stopping, tmp_path/"stopped", progress=False)
    run("toy", config, problem, tmp_path/"stopped", progress=False)
    assert seen(tmp_path/"stopped") == seen(tmp_path/"whole")


@pytest.mark.slow
def test_frozen_v_is_old_and_waiting_v_is_nothing(problem, tmp_path):
    frozen = change(SHORT, method="soba", v_freeze=10, probe_every=10)
    run("toy", frozen, problem, tmp_path/"frozen", progress=False)
    assert seen(tmp_path/"frozen")[-1]["probe"]["old"] == pytest.approx(1, abs=1e-5)
    late = change(SHORT, method="soba", v_start=40, probe_every=10)
    run("toy", late, problem, tmp_path/"late", progress=False)
    residuals = [r["probe"]["residual"] for r in seen(tmp_path/"late")]
    assert residuals[:4] == pytest.approx([1]*4) and residuals[-1] != 1
    assert [r["effective_sample_size"] for r in seen(tmp_path/"late")][:4] == pytest.approx([128]*4)
