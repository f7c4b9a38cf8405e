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

ROOT = Path(__file__).resolve().parent.parent
MODULES = [m.name for m in pkgutil.walk_packages(ad.__path__, "adaptive_dist.") if not m.name.endswith("._modidx")]

def test_version_is_that_of_settings() -> None:
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT/"settings.ini")
    assert ad.__version__ == settings["DEFAULT"]["version"] == version("adaptive_dist")

@pytest.mark.parametrize("name", ["adaptive_dist", *MODULES])
def test_exported_names_exist(name: str) -> None:
    module = importlib.import_module(name)
    for exported in getattr(module, "__all__", []): assert hasattr(module, exported), exported

def test_import_is_light() -> None:
    heavy = ("datasets", "flax", "matplotlib", "orbax", "pandas", "pyarrow", "tensorboardX")
    code = f"import sys, adaptive_dist; print(*sorted(set({heavy}) & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not found

def test_shapes_are_checked_during_tests() -> None:
    with pytest.raises(TypeCheckError): ad.weighting.entropy(jnp.zeros((2, 3)))
