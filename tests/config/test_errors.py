"""A missing extra ends with the line that installs it; the table of extras is that of setup.py."""
import importlib.util
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import setuptools

from adaptive_dist.config.errors import EXTRA_OF, missing_extra, needs
from adaptive_dist.experiments.lm import LM
from adaptive_dist.train.run import run

ROOT = Path(__file__).resolve().parents[2]
PACKAGE_OF = {"PIL": "pillow", "orbax": "orbax-checkpoint", "resvg_py": "resvg-py",
              "upath": "universal_pathlib"}

def test_a_missing_extra_is_named() -> None:
    missing = ModuleNotFoundError("No module named 'orbax.checkpoint'", name="orbax.checkpoint")
    assert str(missing_extra(missing)) == ("this needs orbax, which is not installed: "
                          "pip install 'adaptive_dist[train]'")
    assert missing_extra(ModuleNotFoundError("No module named 'x'", name="x")) is None
    assert missing_extra(ModuleNotFoundError("no name")) is None

def test_a_door_says_which_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("flax", "orbax.checkpoint")
    for name in [n for n in sys.modules if n.partition(".")[0] == "flax"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ModuleNotFoundError, match=r"'adaptive_dist\[train\]'") as caught:
        needs("flax")
    assert caught.value.name == "flax" and missing_extra(caught.value)

@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    "What setup.py says of the package."
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **about: given.update(about))
    runpy.run_path(str(ROOT/"setup.py"))
    return given

def test_extras_bring_what_the_table_says(metadata: dict[str, Any]) -> None:
    extras = metadata["extras_require"]
    brought = {extra: {line.split(">")[0].split("=")[0] for line in lines}
               for extra, lines in extras.items()}
    for module, extra in EXTRA_OF.items():
        assert PACKAGE_OF.get(module, module) in brought[extra], module
    users = set(extras) - {"all", "dev", "licences", "cluster"}
    assert set().union(*(extras[e] for e in users)) == set(extras["all"])

def test_a_run_says_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Any,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "grain" else find(name))
    with pytest.raises(ModuleNotFoundError, match=r"needs grain, .*'adaptive_dist\[train\]'"):
        run("lm", tiny, LM.build, tmp_path/"run")
    assert not (tmp_path/"run").exists()
