"""Shapes and types in the package's signatures are checked; slow tests run only with --slow.

Slow tests may take turns: `--only-slow --order TEXT --budget SECONDS` runs them in an order that
follows from the text, such as a commit, and starts none after so many seconds.
"""
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int will do for a float
install_import_hook("adaptive_dist", f"{__name__}.check")

# Compiling is nearly all that a tiny run does.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
TINY = dict(
    layers=1, width=16, mlp_width=32, heads=2, length=32, batch_size=4, downsampling=4,
    weighting_width=8, weighting_embedding=8, steps=6, log_every=2, evaluate_every=6,
    evaluate_examples=16, fine_tune_steps=0, tensorboard=False)

START = time.monotonic()

def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run slow tests too")
    parser.addoption("--only-slow", action="store_true", help="run slow tests and no others")
    parser.addoption("--order", metavar="TEXT", help="run tests in an order that follows from TEXT")
    parser.addoption("--kills", type=int, default=20, metavar="COUNT",
                     help="processes that each test of kills kills [20]")
    parser.addoption("--kill-seed", type=int, default=0, metavar="SEED",
                     help="which moments they are killed at [0]")
    parser.addoption("--budget", type=float, metavar="SECONDS",
                     help="start no test after so long; what is left over is skipped")

@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    "Skip tests marked slow unless they are asked for; put tests into another order."
    if config.getoption("--only-slow"):
        items[:] = [item for item in items if "slow" in item.keywords]
    elif not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))
    order = config.getoption("--order")
    if order:
        random.Random(order).shuffle(items)

def pytest_runtest_setup(item: pytest.Item) -> None:
    "A budget that has ended is no failure: what is left has its turn another time."
    budget = item.config.getoption("--budget")
    if budget is not None and time.monotonic() - START > budget:
        pytest.skip("the time is over: it has its turn with another commit")

@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    "An empty working folder with a cache of its own, also for the processes that a test starts."
    monkeypatch.chdir(tmp_path)
    environment = {
        "ADAPTIVE_DIST_CACHE": str(tmp_path/"cache"), "JAX_PLATFORMS": "cpu",
        "HF_HUB_OFFLINE": "1", "XLA_FLAGS": QUICK, "PYTHONPATH": str(Path(__file__).parents[1])}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return tmp_path

@pytest.fixture
def float64() -> Iterator[None]:
    "Double precision, for derivatives that are compared with finite differences."
    import jax
    with jax.enable_x64(True):
        yield

@pytest.fixture
def tiny(tmp_path: Path) -> Any:
    "A small configuration of lm on a user's own texts, with a cache of its own."
    from adaptive_dist.config.settings import change
    from adaptive_dist.experiments.lm import LM
    rng = np.random.default_rng(0)
    def text(words: str) -> str: return " ".join(rng.choice(words.split(), 40))
    sea = "the cloud rain wind rises falls salt wave tide"
    (tmp_path/"sea.txt").write_text("\n\n".join(text(sea) for _ in range(60)))
    law = "a court held that law is"
    (tmp_path/"law.txt").write_text("\n\n".join(text(law) for _ in range(20)))
    return change(
        LM.presets["reduced"], **TINY, generic=str(tmp_path/"sea.txt"), generic_test=.2,
        specific=str(tmp_path/"law.txt"), cache=str(tmp_path/"cache"))
