"""The package as it is imported: its version, its names, and what an import costs."""
import importlib
import pkgutil
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import version
from pathlib import Path

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

import adaptive_dist as ad
from adaptive_dist.config.errors import EXTRA_OF

ROOT = Path(__file__).resolve().parent.parent
FOUND = [m.name for m in pkgutil.walk_packages(ad.__path__, "adaptive_dist.")]
MODULES = [name for name in FOUND if not name.endswith("._modidx")]

def test_version_is_that_of_settings() -> None:
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT/"settings.ini")
    assert ad.__version__ == settings["DEFAULT"]["version"] == version("adaptive_dist")

@pytest.mark.parametrize("name", ["adaptive_dist", *MODULES])
def test_exported_names_exist(name: str) -> None:
    module = importlib.import_module(name)
    for exported in getattr(module, "__all__", []):
        assert hasattr(module, exported), exported

def test_imports_are_light() -> None:
    "The core needs no extra, and the command line starts without any: it says what is missing."
    method = [name for name in MODULES if name.startswith("adaptive_dist.method")]
    light = ["adaptive_dist", "adaptive_dist.cli", "adaptive_dist.commands", *method]
    code = f"import sys, {', '.join(light)}; print(*sorted({set(EXTRA_OF)} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-W", "error", "-c", code],
                           capture_output=True, text=True, check=True)
    assert not found.stdout.split()

def test_shapes_are_checked_during_tests() -> None:
    with pytest.raises(TypeCheckError):
        ad.weighting.entropy(jnp.zeros((2, 3)))
