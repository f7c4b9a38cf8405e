"""What users get: the wheel, installed without extras into an empty environment."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import jax
import pytest

from adaptive_dist.method import weighting
from adaptive_dist.scorers.exported import TextNetwork, load_scorer, write_network

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ["adaptive_dist", "README.md", "LICENSE", "pyproject.toml", "settings.ini", "setup.py"]
pytestmark = pytest.mark.slow

def called(*command: str | Path, folder: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    "Run a command as a user would, who has no checkout."
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True,
                          env={**environment, "JAX_PLATFORMS": "cpu"}, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done

@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The wheel, built from a copy of the sources."
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (ROOT/name).is_dir():
            shutil.copytree(ROOT/name, copy/name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT/name, copy)
    called(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation",
           "--wheel-dir", "dist", ".", folder=copy)
    return next((copy/"dist").glob("*.whl"))

@pytest.fixture(scope="module")
def core(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The programs of an environment that holds the wheel, what it requires, and nothing else."
    folder = tmp_path_factory.mktemp("environment")
    called(sys.executable, "-m", "venv", folder, folder=folder)
    called(folder/"bin/python", "-m", "pip", "install", wheel,
           "--constraint", ROOT/"requirements/demo.txt", folder=folder)
    return folder/"bin"

def test_the_wheel_holds_types_and_no_index_of_the_documentation(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    assert "adaptive_dist/py.typed" in names and "adaptive_dist/method/rules.py" in names
    assert not [name for name in names if "_modidx" in name]
    assert all(name.startswith("adaptive_dist") for name in names)
    entry_points = next(name for name in names if name.endswith("entry_points.txt"))
    assert b"_modidx" not in ZipFile(wheel).read(entry_points)

def test_links_of_the_description_lead_to_the_repository(wheel: Path) -> None:
    files = ZipFile(wheel)
    metadata = files.read(next(n for n in files.namelist() if n.endswith("METADATA"))).decode()
    links = re.findall(r"\]\(([^)]+)\)", metadata)
    assert len(links) > 20 and all(link.startswith("https://") for link in links)
    assert any(link.endswith("/raw/main/index_files/index_2_0.png") for link in links)
    assert any("/blob/main/nbs/method/rules.ipynb" in link for link in links)

def test_nothing_heavy_is_installed(core: Path, tmp_path: Path) -> None:
    found = called(core/"python", "-m", "pip", "list", "--format=freeze", folder=tmp_path).stdout
    packages = {line.partition("==")[0].lower() for line in found.splitlines()}
    assert {"adaptive_dist", "jax", "jaxtyping", "numpy", "optax"} <= packages
    assert packages.isdisjoint({"datasets", "flax", "grain", "matplotlib", "pillow", "pyarrow"})

def test_the_loop_of_the_readme_runs(core: Path, tmp_path: Path) -> None:
    readme = (ROOT/"README.md").read_text(encoding="utf-8")
    section = readme.split("\n## In your own loop\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    (tmp_path/"loop.py").write_text("".join(blocks))
    said = called(core/"python", "-W", "error", "loop.py", folder=tmp_path).stdout
    slope = re.match(r"slope (\S+): the target has 2", said)
    assert slope and float(slope[1]) == pytest.approx(2, abs=.1)

def test_every_module_of_the_method_imports(core: Path, tmp_path: Path) -> None:
    program = """if True:
        import importlib, pkgutil, adaptive_dist.method as room
        for found in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
            print(importlib.import_module(found.name).__name__)
    """
    said = called(core/"python", "-c", program, folder=tmp_path).stdout.split()
    assert "adaptive_dist.method.selector" in said and len(said) > 8

def test_type_checkers_see_the_types(core: Path, tmp_path: Path) -> None:
    (tmp_path/"probe.py").write_text("import adaptive_dist as ad\nreveal_type(ad.soba)\n")
    said = called(sys.executable, "-m", "mypy", "--python-executable", core/"python", "--cache-dir",
                  tmp_path/"cache", "probe.py", folder=tmp_path).stdout
    revealed = re.search(r'Revealed type is "(.*)"', said)
    assert revealed, said
    for part in ("fallback=adaptive_dist.method.problem.Task]", "batch_size: int", "damping: float",
                 "fallback=adaptive_dist.method.selector.Selector]"):
        assert part in revealed[1], revealed[1]

def test_a_missing_extra_ends_with_the_line_that_installs_it(core: Path, tmp_path: Path) -> None:
    line = "this needs {}, which is not installed: pip install 'adaptive_dist[train]'\n"
    shell = called(core/"adaptive-dist", "run", "lm", folder=tmp_path, status=2)
    assert shell.stderr == "adaptive-dist: " + line.format("upath")
    python = called(core/"python", "-c", "from adaptive_dist.models import layers",
                    folder=tmp_path, status=1)
    assert python.stderr.endswith(line.format("flax"))

def test_a_scorer_that_was_exported_here_scores_with_the_core_alone(
    core: Path, tmp_path: Path,
) -> None:
    network = weighting.causal_cnn(embedding=8, width=8)
    alpha = network.init(jax.random.key(0), {})
    alpha["out"] = jax.random.normal(jax.random.key(1), 8)
    read = TextNetwork("causal_cnn", {"kind": "bytes", "length": 32})
    write_network(tmp_path/"scorer", read, alpha, {"target": "law"})
    texts = ["a text of more than thirty-two bytes, so of several pieces", "short"]
    program = "import sys, adaptive_dist as ad; print(*ad.load_scorer('scorer')(sys.argv[1:]))"
    said = called(core/"python", "-W", "error", "-c", program, *texts, folder=tmp_path).stdout
    expected = load_scorer(tmp_path/"scorer")(texts)
    assert list(map(float, said.split())) == pytest.approx(expected.tolist(), abs=1e-6)
