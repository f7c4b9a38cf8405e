"""The script that counts what makes code hard to read finds one of each kind."""
from pathlib import Path

import letters
import nbformat
import pytest

CLEAN = ["#| export\ndef double(x): return 2*x", "assert double(2) == 4"]
FAULTS = {
    "long": ["x = '" + "-"*100 + "'"],
    "body": ["for k in range(3): print(k)"],
    "walrus": ["print(y := 3)"],
    "several": ["#| export\ndef f(): return 1\ndef g(): return 2", "f() + g()"],
    "big": ["#| export\ndef f():\n" + "    x = 1\n"*20 + "    return x", "f()"],
    "unshown": ["#| export\ndef f(): return 1", "y = f()"],
    "twice": ["#| export\ndef double(x): return x + x", "double(3)"],
}
FINE = ["if not True: raise ValueError", "while (k := 3) < 2:\n    print(k)", "%matplotlib inline",
        "#| export\nclass C:\n" + "    x = 1\n"*30, "C()", "#| export\nimport os"]

@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    "An empty project with one clean notebook."
    monkeypatch.setattr(letters, "ROOT", tmp_path)
    (tmp_path/"nbs").mkdir()
    write(tmp_path, "clean", [*CLEAN, *FINE])
    return tmp_path

def write(project: Path, name: str, cells: list[str]) -> None:
    "Add a notebook of these cells."
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, project/"nbs"/f"{name}.ipynb")

@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_is_counted_once(kind: str, project: Path) -> None:
    write(project, "faulty", FAULTS[kind])
    found = letters.places(letters.sources())
    assert {k: len(found[k]) for k in letters.KINDS} == {k: int(k == kind) for k in letters.KINDS}
    assert "faulty" in found[kind][0]

def test_limits_decide_about_the_status(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert letters.main([]) == 0 and letters.main(["--limits"]) == 0
    assert "long 0" in capsys.readouterr().out
    write(project, "faulty", FAULTS["long"])
    assert letters.main([]) == 0 and letters.main(["--limits", "--list", "long"]) == 1
    said = capsys.readouterr().out
    assert "long 1 is above 0" in said and "nbs/faulty.ipynb[0]:1" in said

def test_too_few_shown_cells_are_too_few(project: Path) -> None:
    for k in range(3):
        write(project, f"quiet{k}", [f"#| export\ndef f{k}(): return {k}"])
    assert letters.main(["--limits"]) == 1
