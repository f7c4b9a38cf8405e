"""Shapes and types in the package's signatures are checked during tests; slow tests run only with --slow."""
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
