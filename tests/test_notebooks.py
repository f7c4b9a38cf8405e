"Notebooks with slow cells, run with those cells."
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SLOW = re.compile(r'^ *"#\| *slow', re.MULTILINE)
NOTEBOOKS = [p.relative_to(ROOT).as_posix() for p in sorted((ROOT/"nbs").rglob("*.ipynb"))
             if ".ipynb_" not in str(p) and SLOW.search(p.read_text(encoding="utf-8"))]


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_runs_with_its_slow_cells(notebook):
    command = [Path(sys.executable).with_name("nbdev_test"), "--path", notebook, "--flags", "slow",
               "--n_workers", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
