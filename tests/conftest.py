"""Shapes and types in the package's signatures are checked during tests; slow tests run only with --slow."""
from pathlib import Path

import pytest
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int will do for a float, as Python's numbers have it
install_import_hook("adaptive_dist", f"{__name__}.check")

def pytest_addoption(parser: pytest.Parser) -> None: parser.addoption("--slow", action="store_true", help="run slow tests too")

def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    "Skip tests marked slow unless they are asked for."
    if config.getoption("--slow"): return
    for item in items:
        if "slow" in item.keywords: item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))

QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # compiling is nearly all that a tiny run does

@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    "An empty working folder with a cache of its own, also for the processes that a test starts."
    monkeypatch.chdir(tmp_path)
    for name, value in {"ADAPTIVE_DIST_CACHE": str(tmp_path/"cache"), "JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1",
                        "XLA_FLAGS": QUICK, "PYTHONPATH": str(Path(__file__).parents[1])}.items():
        monkeypatch.setenv(name, value)
    return tmp_path
