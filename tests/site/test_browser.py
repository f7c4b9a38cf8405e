"""What readers see, in headless Chromium.

Pages, wide and narrow, light and dark; JupyterLab, where a notebook and an interrupted run go on.
"""
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
    for (let p = e; p && p.tagName != 'BODY'; p = p.parentElement)
        if (getComputedStyle(p).overflowX != 'visible') return false;
    return true}).map(e => e.tagName + ' ' + e.textContent.trim().slice(0, 40))"""

# Text of less contrast than 4.5, or 3 where it is large (WCAG 2.1, 1.4.3)
FAINT = r"""(() => {
  const parse = s => {
    const m = s.match(/[\d.]+/g).map(Number);
    return [m[0], m[1], m[2], m[3] ?? 1];
  };
  const over = (a, b) => [0, 1, 2].map(k => a[k]*a[3] + b[k]*(1 - a[3])).concat(1);
  const linear = x => x <= .03928 ? x/12.92 : ((x + .055)/1.055)**2.4;
  const light = c => [.2126, .7152, .0722].reduce((sum, w, k) => sum + w*linear(c[k]/255), 0);
  const faint = new Set(), walker = document.createTreeWalker(document.body, 4);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
    const style = getComputedStyle(e);
    if (!text || !e.getClientRects().length || style.visibility != 'visible') continue;
    if (e.closest('script, style, svg, .katex-mathml')) continue;
    const layers = [], front = parse(style.color);
    for (let p = e; p; p = p.parentElement) {
      front[3] *= getComputedStyle(p).opacity;
      layers.unshift(parse(getComputedStyle(p).backgroundColor));
    }
    if (!front[3]) continue;
    const back = layers.reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
    const [a, b] = [light(over(front, back)), light(back)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
    if ((a + .05)/(b + .05) < (large ? 3 : 4.5)) faint.add(`${style.color} ${text.slice(0, 30)}`);
  }
  return [...faint].slice(0, 5);
})()"""
# Tables wider than the box they stand in, which does not say that it scrolls
HIDDEN = """[...document.querySelectorAll('main table')].filter(t => {
    let p = t.parentElement;
    while (getComputedStyle(p).overflowX == 'visible' && p.tagName != 'MAIN') p = p.parentElement;
    return t.scrollWidth > p.clientWidth + 1 && !p.classList.contains('scrolls')
}).map(t => t.textContent.trim().slice(0, 40))"""
NAMELESS = """[...document.querySelectorAll('main img:not([alt])')]
    .map(i => i.src.slice(0, 40))"""
# Code of the first screen of which the ends of lines cannot be seen
CLIPPED = """[...document.querySelectorAll('main pre')].filter(p =>
    p.getBoundingClientRect().top < innerHeight && p.scrollWidth > p.clientWidth + 1)
    .map(p => p.textContent.trim().slice(0, 40))"""

@pytest.fixture
def tab() -> Iterator[Tab]:
    with browser.browser() as found:
        yield found

def ugly(tab: Tab, url: str, colours: bool = True) -> list[str]:
    """What a reader would stumble over in the page that is open.

    Parts that stick out, formulas that failed, pictures that are not there, scripts that failed.
    """
    failed = "[...document.querySelectorAll('.katex-error')].map(e => e.title)"
    missing = "[...document.images].filter(i => !i.naturalWidth).map(i => i.src.slice(0, 80))"
    found = [f"sticks out: {e}" for e in tab.evaluate(WIDE)]
    found += [f"formula: {e}" for e in tab.evaluate(failed)]
    found += [f"picture: {e}" for e in tab.evaluate(missing)]
    found += [f"no description: {e}" for e in tab.evaluate(NAMELESS)]
    found += [f"faint: {e}" for e in (tab.evaluate(FAINT) if colours else [])]
    found += [f"hidden columns: {e}" for e in tab.evaluate(HIDDEN)]
    found += [f"clipped code: {e}" for e in tab.evaluate(CLIPPED)]
    found += [f"loads {u}" for u in sorted(tab.requested()) if not u.startswith((url, "data:"))]
    return found + [f"script: {e}" for e in tab.errors()]

def test_what_is_ugly_is_found(tab: Tab, tmp_path: Path) -> None:
    parts = {
        "fine": '<div style="overflow: auto"><p style="width: 2000px">x</p></div>',
        "sticks out": '<p style="width: 2000px">long</p>',
        "formula": '<span class="katex-error" title="x">y</span>',
        "picture": '<img src="gone.png">', "script": "<script>nothing.at.all</script>",
        "no description": '<main><img src="data:,"></main>',
        "faint": '<p style="color: #aaa">grey on white</p>',
        "hidden columns": '<main><div style="overflow: auto"><table style="width: 2000px"><tr>'
                          "<td>x</td></tr></table></div></main>",
        "clipped code": '<main><pre style="overflow: auto">' + "long "*200 + "</pre></main>",
        "loads": '<img src="http://127.0.0.1:9/x.png">'}
    for name, part in parts.items():
        (tmp_path/f"{name}.html").write_text(f'<link rel="icon" href="data:,"><p>{part}</p>')
    with served(tmp_path) as url:
        tab.look(390, 844)
        for name in parts:
            tab.events.clear()
            tab.open(f"{url}/{name}.html".replace(" ", "%20"))
            found = {fault.split(":")[0].split(" http")[0] for fault in ugly(tab, url)}
            assert name in found if name != "fine" else not found

def shade_of(tab: Tab) -> str:
    "Whether a page is light or dark."
    colour = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3)"
    return "light" if tab.evaluate(f"{colour}.every(x => +x > 127)") else "dark"

@pytest.fixture(scope="module")
def site() -> Path:
    "The site as `make test` has built it, or built now."
    command = [sys.executable, ROOT/"tools/site/docs.py"]
    if not (ROOT/"_docs/llms.txt").exists():
        assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
    return ROOT/"_docs"

@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_pages_read_well_on_a_phone_and_at_a_desk(
        tab: Tab, site: Path, tmp_path: Path, width: int, dark: bool) -> None:
    pages = sorted(p for p in site.rglob("*.html") if not p.is_relative_to(site/"source"))
    code, *_ = sorted(site.glob("source/**/*.html"))  # one stands for all
    names, found = [p.relative_to(site).as_posix() for p in (*pages, code)], {}
    listed = (site/"llms.txt").read_text()
    tab.look(width, 844, dark)
    with served(site) as url:
        for name in names:
            tab.events.clear()
            tab.open(f"{url}/{name}")
            found[name] = ugly(tab, url, colours=width > 390)
            if not name.startswith("source/"):
                assert shade_of(tab) == ("dark" if dark else "light"), name
                # a twin in Markdown for whoever reads with a program
                assert name == "404.html" or f"{name.removesuffix('.html')}.llms.md" in listed, name
            if found[name]:
                tab.screenshot(tmp_path/f"{name.replace('/', '_')}.png", whole=True)
    assert not {at: faults for at, faults in found.items() if faults}

def test_no_script_and_no_other_theme_keeps_text_back(tab: Tab, site: Path) -> None:
    "The sheet of the other theme is asked for last, and scripts run once the text is there."
    sheets = ["cosmo.min.css", "darkly.min.css"]
    with served(site) as url:
        for dark in (False, True):
            tab.look(1280, 900, dark)
            tab.events.clear()
            tab.open(f"{url}/guides/quickstart.html?{dark}")
            asked = [e["params"]["request"] for e in tab.events
                     if e["method"] == "Network.requestWillBeSent"]
            urgent = {r["url"].rpartition("/")[2]: r["initialPriority"] for r in asked}
            assert [urgent[name] for name in sheets[::-1 if dark else 1]] == ["VeryHigh", "VeryLow"]
            assert {p for name, p in urgent.items() if name.endswith(".js")} == {"Low"}

# Pixels at 1280 wide; these two are longer: the algorithm's heart, in one piece with its examples,
# and the experiment that everything else refers to
LONGEST, LONGER = 6_000, {"method/rules.html": 9_600, "experiments/lm.html": 10_500}

def test_no_page_is_too_long(tab: Tab, site: Path) -> None:
    pages = sorted(p for p in site.rglob("*.html") if not p.is_relative_to(site/"source"))
    tab.look(1280, 900)
    heights = {}
    with served(site) as url:
        for page in pages:
            name = page.relative_to(site).as_posix()
            tab.open(f"{url}/{name}")
            heights[name] = tab.evaluate("document.documentElement.scrollHeight")
    assert {n: h for n, h in heights.items() if h > LONGER.get(n, LONGEST)} == {}
    assert all(heights[name] > LONGEST for name in LONGER)  # else it need not be named

def test_what_a_link_leads_to_is_open_and_one_button_opens_all(tab: Tab, site: Path) -> None:
    with served(site) as url:
        tab.look(1280, 900)
        tab.open(f"{url}/method/rules.html#soba_rule")
        opened = "[...document.querySelectorAll('details.entry[open] h3')].map(e => e.id)"
        assert tab.wait(f"{opened}.length") and tab.evaluate(opened) == ["soba_rule"]
        tab.evaluate("document.querySelector('.open-all').click()")  # it is out of sight
        assert not tab.evaluate("document.querySelectorAll('details.entry:not([open])').length")

FIRST = {
    "gpu": "guides/gpu_and_tpu.html", "cite": "guides/citing.html",
    "flax": "guides/your_model.html", "pytorch": "guides/your_trainer.html",
    "glossary": "guides/glossary.html", "which method": "guides/which_method.html",
    "anograd": "method/selector.html#anograd", "make_step": "method/selector.html#make_step",
    "own data": "guides/your_own_data.html", "damping_of": "train/rule_methods.html#damping_of",
    "changelog": "about/changelog.html", "quickstart": "guides/quickstart.html"}

def test_search_finds_words_and_names_first_and_can_be_read(tab: Tab, site: Path) -> None:
    links = "[...document.querySelectorAll('.smalldocs-search-results a')].map(a => a.href)"
    with served(site) as url:
        for dark in (False, True):
            tab.look(1280, 900, dark)
            found = {}
            for words in FIRST:
                tab.open(f"{url}/index.html?{dark}{words.replace(' ', '-')}")
                tab.evaluate("document.querySelector('input[type=search]').focus()")
                tab.call("Input.insertText", text=words)
                found[words] = tab.wait(f"{links}[0]").removeprefix(f"{url}/")
                assert not tab.evaluate(FAINT), words
            assert found == FIRST

def test_the_sidebar_shows_where_one_is_and_anchors_stay(tab: Tab, site: Path) -> None:
    seen = """(() => {
        const a = document.querySelector('.sidebar-link.active').getBoundingClientRect();
        const b = document.querySelector('#quarto-sidebar').getBoundingClientRect();
        return a.top >= b.top && a.bottom <= innerHeight})()"""
    with served(site) as url:
        tab.look(1280, 900)
        tab.open(f"{url}/train/scored.html")
        assert tab.wait(seen) and tab.evaluate("scrollY") == 0
        tab.open(f"{url}/method/selector.html#make_step")
        at = "document.getElementById('make_step').getBoundingClientRect().top"
        assert tab.wait(f"{seen} && scrollY > 1000") and -1 < tab.evaluate(at) < 200

def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]

def wait_for_server(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    "Wait until a server that has just been started answers."
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/api", timeout=1).close()
        except OSError:
            assert process.poll() is None, log.read_text()[-2_000:]
        else:
            return

@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """JupyterLab as `make lab` starts it, on a free port and a copy of the notebooks.

    Its address, and the folder.
    """
    folder, port, log = tmp_path/"nbs", free_port(), tmp_path/"lab.log"
    shutil.copytree(ROOT/"nbs", folder, ignore=shutil.ignore_patterns(".*", "_*"))
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
             "ADAPTIVE_DIST_CACHE")
    env = {**os.environ, **{name: str(tmp_path/name) for name in names},
           "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [Path(sys.executable).with_name("jupyter"), "lab", folder, "--no-browser",
               "--allow-root", f"--port={port}", "--IdentityProvider.token=",
               "--expose-app-in-browser"]
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=env)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for_server(url, process, log)
            yield url, folder
        finally:
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
            process.wait(60)

NOTEBOOK = "jupyterapp.shell.currentWidget"
KERNEL = f"{NOTEBOOK}.sessionContext.session.kernel"
IDLE = f"{KERNEL}.status == 'idle'"

CODE = f"{NOTEBOOK}.content.model.toJSON().cells.filter(c => c.cell_type == 'code')"
BUTTON = ".jp-NotebookPanel-toolbar [data-command='{}']"

def open_notebook(tab: Tab, url: str, name: str) -> None:
    "Open a notebook and wait for its kernel."
    tab.look(1280, 1000)
    tab.open(f"{url}/lab/tree/{name}")
    begun = f"!!{NOTEBOOK}?.content?.model && !!{NOTEBOOK}.sessionContext?.session?.kernel"
    tab.wait(f"!!window.jupyterapp && {begun} && {IDLE}", 300)

def cells(tab: Tab) -> list[nbformat.NotebookNode]:
    "The code cells of the notebook that is open, as they are now."
    return [nbformat.from_dict(cell) for cell in tab.evaluate(CODE)]

def failures(tab: Tab) -> list[str]:
    return [o.ename for c in cells(tab) for o in c.outputs if o.output_type == "error"]

def printed(cell: nbformat.NotebookNode) -> str:
    "What a cell wrote to the standard output."
    return "".join(o.text for o in cell.outputs
                   if o.output_type == "stream" and o.name == "stdout")

def test_quickstart_runs_in_jupyterlab(tab: Tab, lab: tuple[str, Path], tmp_path: Path) -> None:
    url, _ = lab
    open_notebook(tab, url, "guides/quickstart.ipynb")
    tab.click(BUTTON.format("notebook:restart-run-all"))
    tab.wait("!!document.querySelector('.jp-Dialog .jp-mod-accept')")
    tab.screenshot(tmp_path/"lab-1-restart.png")
    tab.click(".jp-Dialog .jp-mod-accept")
    tab.wait("!document.querySelector('.jp-Dialog')")
    failed = f"{CODE}.some(c => c.outputs.some(o => o.output_type == 'error'))"
    tab.wait(f"{failed} || ({CODE}.every(c => c.execution_count) && {IDLE})", 1_800)
    ran = cells(tab)
    assert not failures(tab)
    assert [c.execution_count for c in ran] == list(range(1, len(ran) + 1))
    assert any("image/png" in o.get("data", {}) for c in ran for o in c.outputs)
    assert "classifier" in "".join(map(printed, ran))
    tab.evaluate("document.querySelector('.jp-OutputArea img').scrollIntoView({block: 'center'})")
    images = "[...document.querySelectorAll('.jp-OutputArea img')]"
    assert tab.wait(f"{images}.every(i => i.naturalWidth > 100 && i.offsetParent)")
    tab.screenshot(tmp_path/"lab-2-figure.png")

SETTINGS = """from adaptive_dist.config.settings import change
from adaptive_dist.experiments.lm import LM
from adaptive_dist.train.metrics import read_metrics
from adaptive_dist.train.run import run
config = change(
    LM.presets["reduced"], generic="texts", specific="target.txt", generic_test=.2, layers=1,
    width=16, mlp_width=32, heads=2, length=32, batch_size=4, downsampling=4, weighting_width=8,
    weighting_embedding=8, steps=4_000, log_every=20, evaluate_every=2_000, checkpoint_every=200,
    fine_tune_steps=0, tensorboard=False)"""
RUN = 'result = run("lm", config, LM.build, "resumed")'
COMPARE = """whole = run("lm", config, LM.build, "whole")
begun = [r["step"] for r in read_metrics("resumed") if "compile_seconds" in r]
same = all(whole[k] == result[k] for k in ("specific_loss", "generic_loss", "picked_share"))
print("begun at", begun, "equal", same)"""

def write_inputs(folder: Path) -> None:
    "Texts for a run, and a notebook that runs it."
    rng = random.Random(0)
    def text(words: str) -> str: return " ".join(rng.choices(words.split(), k=40))
    (folder/"texts").mkdir()
    for i in range(60):
        sea = text("cloud rain wind rises falls salt wave tide")
        (folder/f"texts/{i}.txt").write_text(sea)
    law = [text("a court held that law is") for _ in range(20)]
    (folder/"target.txt").write_text("\n\n".join(law))
    code = [nbformat.v4.new_code_cell(source) for source in (SETTINGS, RUN, COMPARE)]
    kernel = {"name": "python3", "display_name": "python3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel}, cells=code)
    nbformat.write(notebook, folder/"interrupted.ipynb")

def start(tab: Tab, number: int) -> str:
    """Run a cell; what is returned is true once it has ended.

    (The kernel is idle now and then meanwhile, when a progress bar is drawn.)
    """
    before = max(c.execution_count or 0 for c in cells(tab))
    content = f"{NOTEBOOK}.content"
    tab.evaluate(f"{content}.activeCellIndex = {number}, {content}.deselectAll()")
    tab.evaluate("void jupyterapp.commands.execute('notebook:run-cell')")
    return f"{content}.model.toJSON().cells[{number}].execution_count > {before}"

def saved_steps(folder: Path) -> list[int]:
    "Steps of the checkpoints in a folder; looked up by name, since one may just be written."
    return [int(p.name) for p in folder.iterdir() if p.name.isdigit()] if folder.exists() else []

def test_a_run_is_interrupted_and_goes_on_in_jupyterlab(
    tab: Tab, lab: tuple[str, Path], tmp_path: Path,
) -> None:
    """Kernel > Interrupt, the same cell again.

    The run goes on from its checkpoint, and ends where it would have ended.
    """
    url, folder = lab
    write_inputs(folder)
    open_notebook(tab, url, "interrupted.ipynb")
    tab.wait(start(tab, 0), 300)
    ended, steps = start(tab, 1), folder/"resumed/checkpoints"
    for _ in range(600):
        if saved_steps(steps): break
        assert not failures(tab), cells(tab)
        tab.evaluate("new Promise(done => setTimeout(done, 500))")
    tab.click(BUTTON.format("notebook:interrupt-kernel"))
    tab.wait(ended, 120)
    tab.screenshot(tmp_path/"lab-3-interrupted.png")
    shown = [name for o in cells(tab)[1].outputs for name in o.get("data", {})]
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert tab.evaluate("document.querySelectorAll('.widget-hprogress').length")
    assert failures(tab) == ["KeyboardInterrupt"] and not (folder/"resumed/result.json").exists()
    saved = max(saved_steps(steps))
    for number in (1, 2):
        tab.wait(start(tab, number), 600)
    tab.screenshot(tmp_path/"lab-4-resumed.png")
    assert not failures(tab)
    assert json.loads((folder/"resumed/result.json").read_text())["steps"] == 4_000
    assert printed(cells(tab)[2]) == f"begun at [20, {saved + 20}] equal True\n"
