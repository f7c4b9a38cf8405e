"What readers see, in headless Chromium: pages, wide and narrow, light and dark; JupyterLab, where a notebook and an interrupted run go on."
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import browser
import nbformat
import pytest
from browser import Tab, served

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not browser.CHROMIUM, reason=browser.NONE)]
LOOKS = [(width, dark) for width in (390, 1280) for dark in (False, True)]
WIDE = """[...document.querySelectorAll('body *')].filter(e => {
    if (e.getBoundingClientRect().right <= innerWidth + 1 || !e.offsetParent) return false;
    for (let p = e; p && p.tagName != 'BODY'; p = p.parentElement) if (getComputedStyle(p).overflowX != 'visible') return false;
    return true}).map(e => e.tagName + ' ' + e.textContent.trim().slice(0, 40))"""

@pytest.fixture
def tab() -> Iterator[Tab]:
    with browser.browser() as found: yield found

def ugly(tab: Tab, url: str) -> list[str]:
    "What a reader would stumble over in the page that is open: parts that stick out, formulas that failed, pictures that are not there."
    found = [f"sticks out: {e}" for e in tab.evaluate(WIDE)]
    found += [f"formula: {e}" for e in tab.evaluate("[...document.querySelectorAll('.katex-error')].map(e => e.title)")]
    found += [f"picture: {e}" for e in tab.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src.slice(0, 80))")]
    found += [f"loads {u}" for u in sorted(tab.requested()) if not u.startswith((url, "data:"))]
    return found + [f"script: {e}" for e in tab.errors()]

def test_what_is_ugly_is_found(tab: Tab, tmp_path: Path) -> None:
    parts = {"sticks out": '<p style="width: 2000px">long</p>', "formula": '<span class="katex-error" title="x">y</span>',
             "picture": '<img src="gone.png">', "script": "<script>nothing.at.all</script>", "loads": '<img src="http://127.0.0.1:9/x.png">'}
    for name, part in {"fine": '<div style="overflow: auto"><p style="width: 2000px">x</p></div>', **parts}.items():
        (tmp_path/f"{name}.html").write_text(f'<link rel="icon" href="data:,"><p>{part}</p>')
    with served(tmp_path) as url:
        tab.look(390, 844)
        for name in ("fine", *parts):
            tab.events.clear()
            tab.open(f"{url}/{name}.html".replace(" ", "%20"))
            assert {fault.split(":")[0].split(" http")[0] for fault in ugly(tab, url)} >= ({name} - {"fine"})
            assert name != "fine" or not ugly(tab, url)

def test_pages_read_well_on_a_phone_and_at_a_desk(tab: Tab, tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, ROOT/"tools/site/docs.py"], cwd=ROOT, capture_output=True).returncode == 0
    site, found = ROOT/"_docs", {}
    with served(site) as url:
        code, *_ = sorted(site.glob("source/**/*.html"))  # one stands for all
        for page in [*sorted(p for p in site.rglob("*.html") if not p.is_relative_to(site/"source")), code]:
            name = page.relative_to(site).as_posix()
            for width, dark in LOOKS:
                tab.events.clear()
                tab.look(width, 844, dark)
                tab.open(f"{url}/{name}?{width}{dark}")
                if faults := ugly(tab, url): found[name, width, dark] = faults
                light = tab.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).every(x => +x > 127)")
                assert name.startswith("source/") or light != dark, f"{name} is {'light' if light else 'dark'}"
                tab.screenshot(tmp_path/f"{name.replace('/', '_')}-{width}-{'dark' if dark else 'light'}.png", whole=True)
    assert not found

def test_search_finds_a_page(tab: Tab) -> None:
    with served(ROOT/"_docs") as url:
        tab.look(1280, 900)
        tab.open(f"{url}/index.html")
        tab.evaluate("document.querySelector('input[type=search]').focus()")
        tab.call("Input.insertText", text="Anograd")
        assert "rules.html" in str(tab.wait("[...document.querySelectorAll('.smalldocs-search-results a')].map(a => a.href)[0] && "
                                            "[...document.querySelectorAll('.smalldocs-search-results a')].map(a => a.href)"))

@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    "JupyterLab as `make lab` starts it, on a free port and a copy of the notebooks: its address, and the folder."
    folder = tmp_path/"nbs"
    shutil.copytree(ROOT/"nbs", folder, ignore=shutil.ignore_patterns(".*", "_*"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR", "ADAPTIVE_DIST_CACHE")
    env = {**os.environ, **{name: str(tmp_path/name) for name in names}, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    options = ["--no-browser", "--allow-root", f"--port={port}", "--IdentityProvider.token=", "--expose-app-in-browser"]
    log = (tmp_path/"lab.log").open("wb")
    process = subprocess.Popen([Path(sys.executable).with_name("jupyter"), "lab", folder, *options], stdout=log, stderr=log, env=env)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try: urllib.request.urlopen(f"{url}/api", timeout=1).close()
            except OSError: assert process.poll() is None, (tmp_path/"lab.log").read_text()[-2_000:]
            else: break
        yield url, folder
    finally:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        log.close()

NOTEBOOK = "jupyterapp.shell.currentWidget"
KERNEL = f"{NOTEBOOK}.sessionContext.session.kernel"
IDLE = f"{KERNEL}.status == 'idle'"

def open_notebook(tab: Tab, url: str, name: str) -> None:
    "Open a notebook and wait for its kernel."
    tab.look(1280, 1000)
    tab.open(f"{url}/lab/tree/{name}")
    tab.wait(f"!!window.jupyterapp && !!{NOTEBOOK}?.content?.model && !!{NOTEBOOK}.sessionContext?.session?.kernel && {IDLE}", 300)

def cells(tab: Tab) -> list[nbformat.NotebookNode]:
    "The code cells of the notebook that is open, as they are now."
    return [c for c in nbformat.from_dict(tab.evaluate(f"{NOTEBOOK}.content.model.toJSON()")).cells if c.cell_type == "code"]

BUTTON = ".jp-NotebookPanel-toolbar [data-command='{}']"

def failures(tab: Tab) -> list[str]: return [o.ename for c in cells(tab) for o in c.outputs if o.output_type == "error"]

def test_quickstart_runs_in_jupyterlab(tab: Tab, lab: tuple[str, Path], tmp_path: Path) -> None:
    url, _ = lab
    open_notebook(tab, url, "quickstart.ipynb")
    tab.click(BUTTON.format("notebook:restart-run-all"))
    tab.wait("!!document.querySelector('.jp-Dialog .jp-mod-accept')")
    tab.screenshot(tmp_path/"lab-1-restart.png")
    tab.click(".jp-Dialog .jp-mod-accept")
    tab.wait("!document.querySelector('.jp-Dialog')")
    code = f"{NOTEBOOK}.content.model.toJSON().cells.filter(c => c.cell_type == 'code')"
    failed = f"{code}.some(c => c.outputs.some(o => o.output_type == 'error'))"
    tab.wait(f"{failed} || ({code}.every(c => c.execution_count) && {IDLE})", 1_800)
    ran = cells(tab)
    assert not failures(tab) and [c.execution_count for c in ran] == list(range(1, len(ran) + 1))
    assert any("image/png" in o.get("data", {}) for c in ran for o in c.outputs)
    assert "soba" in "".join(o.get("text", "") for c in ran for o in c.outputs)
    tab.evaluate("document.querySelector('.jp-OutputArea img').scrollIntoView({block: 'center'})")
    assert tab.wait("[...document.querySelectorAll('.jp-OutputArea img')].every(i => i.naturalWidth > 100 && i.offsetParent)")
    tab.screenshot(tmp_path/"lab-2-figure.png")

SETTINGS = """from adaptive_dist.engine.config import change
from adaptive_dist.engine.metrics import read_metrics
from adaptive_dist.engine.run import run
from adaptive_dist.experiments import lm
config = change(lm.PRESETS["reduced"], generic="texts", specific="target.txt", generic_test=.2, layers=1, width=16, mlp_width=32, heads=2,
                length=32, batch_size=4, downsampling=4, weighting_width=8, weighting_embedding=8, steps=4_000, log_every=20,
                evaluate_every=2_000, checkpoint_every=200, fine_tune_steps=0, tensorboard=False)"""
COMPARE = """whole = run("lm", config, lm.build, "whole")
begun = [r["step"] for r in read_metrics("resumed") if "compile_seconds" in r]
print("begun at", begun, "equal", all(whole[k] == result[k] for k in ("specific_loss", "generic_loss", "picked_share")))"""

def test_a_run_is_interrupted_and_goes_on_in_jupyterlab(tab: Tab, lab: tuple[str, Path], tmp_path: Path) -> None:
    "Kernel > Interrupt, the same cell again: the run goes on from its checkpoint, and ends where it would have ended."
    url, folder = lab
    rng = random.Random(0)
    def text(*words: str) -> str: return " ".join(rng.choices(words, k=40))
    (folder/"texts").mkdir()
    for i in range(60): (folder/f"texts/{i}.txt").write_text(text("cloud", "rain", "wind", "rises", "falls", "salt", "wave", "tide"))
    (folder/"target.txt").write_text("\n\n".join(text("a", "court", "held", "that", "law", "is") for _ in range(20)))
    sources = [SETTINGS, 'result = run("lm", config, lm.build, "resumed")', COMPARE]
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(metadata=kernel, cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbformat.write(notebook, folder/"interrupted.ipynb")
    open_notebook(tab, url, "interrupted.ipynb")
    def start(number: int) -> str:
        "Run a cell; what is returned is true once it has ended. (The kernel is idle now and then meanwhile, when a progress bar is drawn.)"
        before = max(c.execution_count or 0 for c in cells(tab))
        tab.evaluate(f"{NOTEBOOK}.content.activeCellIndex = {number}, {NOTEBOOK}.content.deselectAll()")
        tab.evaluate("void jupyterapp.commands.execute('notebook:run-cell')")
        return f"{NOTEBOOK}.content.model.toJSON().cells[{number}].execution_count > {before}"
    tab.wait(start(0), 300)
    ended = start(1)
    steps = folder/"resumed/checkpoints"
    for _ in range(600):
        if steps.exists() and any(p.name.isdigit() for p in steps.iterdir()): break
        assert not failures(tab), cells(tab)
        tab.evaluate("new Promise(done => setTimeout(done, 500))")
    tab.click(BUTTON.format("notebook:interrupt-kernel"))
    tab.wait(ended, 120)
    tab.screenshot(tmp_path/"lab-3-interrupted.png")
    shown = [name for o in cells(tab)[1].outputs for name in o.get("data", {})]
    assert "application/vnd.jupyter.widget-view+json" in shown and tab.evaluate("document.querySelectorAll('.widget-hprogress').length")
    assert failures(tab) == ["KeyboardInterrupt"] and not (folder/"resumed/result.json").exists()
    saved = max(int(p.name) for p in steps.iterdir() if p.name.isdigit())
    for number in (1, 2): tab.wait(start(number), 600)
    tab.screenshot(tmp_path/"lab-4-resumed.png")
    assert not failures(tab) and json.loads((folder/"resumed/result.json").read_text())["steps"] == 4_000
    said = "".join(o.text for o in cells(tab)[2].outputs if o.output_type == "stream" and o.name == "stdout")
    assert said == f"begun at [20, {saved + 20}] equal True\n"
